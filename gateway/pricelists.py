"""Price lists: prices from a CSV or JSON file, in the words of `prices:` in the configuration."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from farthing.errors import InvalidParameter
from gateway.periods import printed
from gateway.settings.forms import PriceForm

FIELDS: Final = tuple(PriceForm.model_fields)
"""The columns of the CSV and the members of the JSON."""


def read_price_list(path: Path, valid_from: str) -> list[dict[str, str]]:
    """The entries of a file, as texts by the names of the settings; those without a date get `valid_from`.

    CSV has a first line with the names; JSON is a list of objects, or an object with such a list under `prices`.
    Raises InvalidParameter with every entry that cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = _json_rows(text) if text.lstrip()[:1] in ("[", "{") else _csv_rows(text)
    except (OSError, ValueError, csv.Error) as error:
        raise InvalidParameter(f"{path} cannot be read as CSV or JSON: {error}.", param="file") from None
    entries = [(place, _entry(row, valid_from)) for place, row in rows]
    problems = [f"{path}:{place}: {problem}" for place, entry in entries for problem in _problems(entry)]
    if not entries:
        problems = [f"{path} has no price."]
    if problems:
        raise InvalidParameter("\n".join(problems), param="file")
    return [entry for _, entry in entries]


def _csv_rows(text: str) -> list[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="", strict=True)
    return [(reader.line_num, row) for row in reader]


def _json_rows(text: str) -> list[tuple[int, Mapping[str, Any]]]:
    """Numbers stay as they are written."""
    members = json.loads(text, parse_float=str, parse_int=str)
    rows = members.get("prices") if isinstance(members, dict) else members
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it must be a list of objects, or an object with one under `prices`")
    return list(enumerate(rows, start=1))


def _entry(row: Mapping[str, Any], valid_from: str) -> dict[str, str]:
    texts = {str(name).strip().lower(): _text(value) for name, value in row.items()}
    entry = {name: text for name, text in texts.items() if text}
    entry.setdefault("valid_from", valid_from)
    return {name: entry[name] for name in (*FIELDS, *entry) if name in entry}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else _plain(str(value).strip())


def _plain(text: str) -> str:
    """`1e-05`, as some programs write a price, in digits."""
    try:
        return f"{Decimal(text):f}" if "e" in text.lower() else text
    except ArithmeticError:
        return text


def _problems(entry: Mapping[str, str]) -> Iterable[str]:
    for name in entry:
        if name not in FIELDS:
            yield f"'{printed(name)}' is no member of a price; known: {', '.join(FIELDS)}"
            return
    try:
        PriceForm.model_validate(dict(entry))
    except ValidationError as error:
        for found in error.errors():
            context = found.get("ctx", {})
            at = ".".join(map(str, (*found["loc"], *context.get("at", ()))))
            problem = str(context.get("problem", found["msg"])).replace("{given}", f"'{printed(entry.get(at, ''))}'")
            yield f"{at or 'price'}: {problem}"
