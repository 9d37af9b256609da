"""Schema: the JSON Schema with which an editor completes and checks the YAML, and the table of all settings."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.settings.providers import KINDS
from gateway.settings.routing_forms import TreeForm

FILE_NAME: Final = "farthing.schema.json"


def document() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one file; any file may hold any section."""
    schema = TreeForm.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Farthing configuration",
    }


def text() -> str:
    """The schema as it is written to disk."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def write(directory: Path) -> None:
    """Write the schema into a directory, which is made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / FILE_NAME).write_text(text(), encoding="utf-8")


def table() -> str:
    """The rows as a Markdown table."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for path, default, about in rows():
        lines.append(f"| `{path}` | {f'`{default}`' if default else ''} | {about} |")
    return "\n".join(lines)


def kinds_table() -> str:
    """The kinds of providers as a Markdown table."""
    lines = ["| kind | base_url | usual key | priced as | spoken by |", "|---|---|---|---|---|"]
    for name, kind in KINDS.items():
        url = f"`{kind.base_url}`" if kind.base_url else "you give it" if kind.needs_base_url else ""
        key = f"`{kind.key_variable}`" if kind.key_variable else ""
        spoken = "litellm" if kind.adapter == "litellm" else "Farthing"
        lines.append(f"| `{name}` | {url} | {key} | {kind.price_provider or 'its own name'} | {spoken} |")
    return "\n".join(lines)


def rows() -> Iterator[tuple[str, str, str]]:
    """Every setting as path, default (as in YAML, `required` if there is none) and the sentence about it."""
    return _rows(TreeForm, "")


def _rows(form: type[BaseModel], above: str) -> Iterator[tuple[str, str, str]]:
    for name, field in form.model_fields.items():
        path = f"{above}{name}"
        yield path, _default(field), field.description or ""
        below, step = _form_within(field.annotation)
        if below is not None:
            yield from _rows(below, f"{path}{step}.")


def _form_within(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The form that a field holds, and how a path goes to it: directly, `.NAME` or `[]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    arguments = get_args(annotation)
    if getattr(annotation, "__origin__", None) in {dict, list}:
        inner, step = _form_within(arguments[-1])
        return inner, (".NAME" if annotation.__origin__ is dict else "[]") + step
    return None, ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None or value in ({}, []) else str(value).replace("'", "")
