"""Messages: what pydantic found, said with the place in the file, the field and what to do."""

import re
from collections.abc import Callable
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from gateway.settings.findings import Findings, Path, quoted, suggestion
from gateway.settings.forms import BudgetForm
from gateway.settings.routing_forms import TreeForm
from gateway.settings.scalars import FAULT
from gateway.settings.tree import Tree, is_secret

_CURRENCY: Final = re.compile(r"(?:limit|limit_[a-z]{3}|max_run_[a-z]{3}|currency|amount|cap)", re.IGNORECASE)
"""What an operator writes who thinks of another currency."""
_SHAPES: Final = {
    "model_type": "must hold named values; write `name: value` lines below it",
    "dict_type": "must hold named values; write `name: value` lines below it",
    "list_type": "must be a list; write [a, b], or one line with - for each",
}


def explain(error: ValidationError, tree: Tree, findings: Findings) -> None:
    """Add a finding for every error, except where one has been made about the same value already."""
    for item in error.errors(include_url=False, include_input=False):
        if findings.full:
            return
        _explain_one({**item}, tree, findings)


def _explain_one(item: dict[str, Any], tree: Tree, findings: Findings) -> None:
    is_name = bool(item["loc"]) and item["loc"][-1] == "[key]"
    loc: Path = item["loc"][:-1] if is_name else item["loc"]
    if loc in tree.faulty:
        return
    if item["type"] == FAULT:
        _explain_fault(loc, item["ctx"], tree, findings, is_name=is_name)
        return
    say = _OTHERS.get(item["type"])
    problem = say(loc) if say else _SHAPES.get(item["type"], "cannot be used; see docs/settings.md")
    findings.add(tree.key_place(loc) if item["type"] == "extra_forbidden" else tree.place(loc), loc, problem)


def _explain_fault(loc: Path, context: dict[str, Any], tree: Tree, findings: Findings, *, is_name: bool) -> None:
    path: Path = (*loc, *context["at"])
    word = str(loc[-1]) if is_name else tree.texts.get(path, "")
    problem = context["problem"].replace("{given}", quoted(word) if is_name else tree.given(path), 1)
    # Where the message lists the options anyway, only a near miss is worth a word.
    hint = "" if is_secret(path) else suggestion(word, context["options"]())
    if hint.startswith("did"):
        problem += f"; {hint}"
    findings.add(tree.key_place(path) if is_name else tree.place(path), path, problem)


def _say_unknown(loc: Path) -> str:
    form = form_at(loc[:-1])
    if form is BudgetForm and _CURRENCY.fullmatch(str(loc[-1])):
        return "amounts are in USD, the currency of every price; convert it and write limit_usd"
    hint = suggestion(str(loc[-1]), form.model_fields if form else ())
    return f"there is no such setting; {hint or 'delete it'}"


def _say_missing(loc: Path) -> str:
    form = form_at(loc[:-1])
    field = form.model_fields.get(str(loc[-1])) if form else None
    about = f" ({field.description})" if field and field.description else ""
    return f"is missing; write `{loc[-1]}: ...`{about}"


_OTHERS: Final[dict[str, Callable[[Path], str]]] = {"extra_forbidden": _say_unknown, "missing": _say_missing}


def form_at(path: Path) -> type[BaseModel] | None:
    """The form of the mapping at a path of the tree, None where there is none."""
    kind: Any = TreeForm
    for part in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            kind = field.annotation if field else None
        else:  # dict[name, form] or list[form]
            kind = (get_args(kind) or (None,))[-1]
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
