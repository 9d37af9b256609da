"""Templates: `{{name}}` in prompts and expected values, and nothing else of Nunjucks."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_SLOT: Final = re.compile(r"\{\{-?\s*([^{}]*?)\s*-?\}\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*")


class TemplateError(ValueError):
    """A template asks for something that is not there."""


def render(template: str, variables: Mapping[str, Any]) -> str:
    """The text with each `{{name}}` (or `{{name.field}}`) filled in; what is filled in is not looked at again.

    Text goes in as it is, any other value as JSON. Raises TemplateError for an unknown name, a filter or a `{%` tag.
    """
    if "{%" in template or "{#" in template:
        raise TemplateError("only {{name}} is understood, not '{%' tags or '{#' comments: write the text out")
    return _SLOT.sub(lambda slot: _filled(slot[1], variables), template)


def render_value(value: Any, variables: Mapping[str, Any]) -> Any:
    """The value with every text inside it rendered."""
    if isinstance(value, str):
        return render(value, variables)
    if isinstance(value, list):
        return [render_value(child, variables) for child in value]
    if isinstance(value, Mapping):
        return {name: render_value(child, variables) for name, child in value.items()}
    return value


def _filled(expression: str, variables: Mapping[str, Any]) -> str:
    if not _NAME.fullmatch(expression):
        raise TemplateError(f"only {{{{name}}}} is understood, not {{{{{expression}}}}}")
    value: Any = variables
    for part in expression.split("."):
        if not isinstance(value, Mapping) or part not in value:
            known = ", ".join(sorted(variables)) or "none"
            raise TemplateError(f"there is no variable {expression!r}; known: {known}")
        value = value[part]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
