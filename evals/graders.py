"""Graders: pure functions from an output to a score in [0, 1] and a reason that quotes nothing of the output."""

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from math import fsum
from types import MappingProxyType
from typing import Any, Final, NoReturn

from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from evals.suite import Assertion, Item

TEXT_MAX: Final = 100_000
"""Characters of an output that are looked at."""
REGEX_MAX: Final = 512
REGEX_TEXT_MAX: Final = 8_192
"""A pattern that backtracks is bounded by what it runs on; it still comes from the suite's author alone."""
JSON_STARTS_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """A score in [0, 1] and why, in words of the suite: never the model's."""

    score: float
    reason: str = ""


Check = Callable[[Assertion, str], float]


def grade(item: Item, output: str) -> Grade:
    """The weighted mean of the item's assertions; with an item threshold 1 from there on, else 0."""
    text = output[:TEXT_MAX]
    grades = [(assertion, grade_assertion(assertion, text)) for assertion in item.assertions]
    total = fsum(assertion.weight for assertion, _ in grades)
    score = fsum(assertion.weight * found.score for assertion, found in grades) / total
    if item.threshold is not None:
        score = float(score >= item.threshold)
    return Grade(score=score, reason="; ".join(found.reason for _, found in grades if found.reason))


def grade_assertion(assertion: Assertion, output: str) -> Grade:
    """1 if the assertion holds, else 0 with its name. A raw score holds from the assertion's threshold on."""
    holds = CHECKS[assertion.type](assertion, output) >= assertion.threshold
    if holds is not assertion.negated:
        return Grade(score=1.0)
    name = f"not-{assertion.type}" if assertion.negated else assertion.type
    return Grade(score=0.0, reason=f"{name} does not hold")


# --- text ----------------------------------------------------------------------------------------


def _equals(assertion: Assertion, output: str) -> float:
    return float(output.strip() == str(assertion.value).strip())


def _contains(assertion: Assertion, output: str) -> float:
    return float(str(assertion.value) in output)


def _icontains(assertion: Assertion, output: str) -> float:
    return float(str(assertion.value).casefold() in output.casefold())


def _starts_with(assertion: Assertion, output: str) -> float:
    return float(output.lstrip().startswith(str(assertion.value)))


def _contains_any(assertion: Assertion, output: str) -> float:
    return float(any(text in output for text in assertion.value))


def _contains_all(assertion: Assertion, output: str) -> float:
    """The share that is found, so that a threshold below 1 means something."""
    return sum(text in output for text in assertion.value) / len(assertion.value)


def _regex(assertion: Assertion, output: str) -> float:
    return float(re.search(assertion.value, output[:REGEX_TEXT_MAX]) is not None)


# --- JSON ----------------------------------------------------------------------------------------


def _is_json(assertion: Assertion, output: str) -> float:
    try:
        value = _DECODER.decode(output)
    except (ValueError, RecursionError):
        return 0.0
    return float(fits(assertion.value, value))


def _contains_json(assertion: Assertion, output: str) -> float:
    return float(any(fits(assertion.value, value) for value in _json_inside(output)))


def _json_inside(text: str) -> Iterator[Any]:
    """The objects and arrays that start somewhere in the text."""
    for start, _ in zip(re.finditer(r"[{\[]", text), range(JSON_STARTS_MAX), strict=False):
        try:
            yield _DECODER.raw_decode(text, start.start())[0]
        except (ValueError, RecursionError):
            continue


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant)


def fits(schema: Any, value: Any) -> bool:
    """True if the value is valid under the JSON schema, or there is none."""
    if schema is None:
        return True
    try:
        _validator(json.dumps(schema, sort_keys=True)).validate(value)
    except (ValidationError, RecursionError, Unresolvable):
        return False
    return True


def schema_fault(schema: Any) -> str:
    """What is wrong with a JSON schema; empty if nothing. References must stay inside it: nothing is fetched."""
    if not isinstance(schema, (Mapping, bool)):
        return "a JSON schema is an object"
    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        return f"is not a valid JSON schema: {error.message}"
    if any(not reference.startswith("#") for reference in _references(schema)):
        return "a $ref must begin with # (other schemas are not fetched)"
    return ""


@lru_cache(maxsize=256)
def _validator(schema_text: str) -> Any:
    schema = json.loads(schema_text)
    return validator_for(schema)(schema, registry=Registry())


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for child in schema.values():
            yield from _references(child)
    elif isinstance(schema, list):
        for child in schema:
            yield from _references(child)


# --- ours ----------------------------------------------------------------------------------------


def _label(assertion: Assertion, output: str) -> float:
    found = first_label(assertion.labels, output)
    return float(found is not None and found.casefold() == str(assertion.value).casefold())


def first_label(labels: tuple[str, ...], output: str) -> str | None:
    """The label that appears first in the output as a whole word, in any case; the longest of those at one place."""
    # A label need not begin or end with a letter, so "whole word" is: no word character beside it.
    words = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    found = re.search(rf"(?<!\w)(?:{words})(?!\w)", output, re.IGNORECASE)
    return found[0] if found else None


# A minus counts only where no digit stands before it ("10-5" is not "-5"); commas only between groups of three.
_NUMBER: Final = re.compile(r"(?<![\w.])-?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])|(?:(?<![\w.])-)?\d+(?:\.\d+)?")
_ANSWER: Final = re.compile(r"\banswer\b", re.IGNORECASE)


def _final_number(assertion: Assertion, output: str) -> float:
    found = final_number(output)
    wanted = to_number(str(assertion.value))
    return float(found is not None and wanted is not None and abs(found - wanted) <= assertion.tolerance)


def final_number(output: str) -> Decimal | None:
    """The first number after the last word "answer" that has one after it, else the last number, else None."""
    numbers = list(_NUMBER.finditer(output))
    if not numbers:
        return None
    starts = [number.start() for number in numbers]
    marks = [found.end() for found in _ANSWER.finditer(output) if found.end() <= starts[-1]]
    chosen = bisect_left(starts, marks[-1]) if marks else -1
    return to_number(numbers[chosen][0])


def to_number(text: str) -> Decimal | None:
    """The number that the text is, with or without commas between thousands; None if it is none."""
    try:
        number = Decimal(text.strip().replace(",", ""))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


CHECKS: Final[Mapping[str, Check]] = MappingProxyType(
    {
        "contains": _contains,
        "contains-all": _contains_all,
        "contains-any": _contains_any,
        "contains-json": _contains_json,
        "equals": _equals,
        "final-number": _final_number,
        "icontains": _icontains,
        "is-json": _is_json,
        "label": _label,
        "regex": _regex,
        "starts-with": _starts_with,
    }
)
"""Assertion types by name; each may be written with `not-` before it."""
