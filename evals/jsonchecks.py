"""JSON checks: whether an output is, holds or equals a JSON value, and what is wrong with a schema."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NoReturn

from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from evals.answers import GradedAnswer
from evals.suite import Assertion

JSON_STARTS_MAX: Final = 200


def equals(assertion: Assertion, answer: GradedAnswer) -> float:
    """1 where the output is the value: as text, white space at the ends aside; as JSON where the value is a mapping
    or a list."""
    if isinstance(assertion.value, (Mapping, list)):
        found, value = read_json(answer.text)
        return float(found and json_equal(value, assertion.value))
    return float(answer.text.strip() == str(assertion.value).strip())


def is_json(assertion: Assertion, answer: GradedAnswer) -> float:
    """1 where the whole output is JSON that fits the schema."""
    found, value = read_json(answer.text)
    return float(found and fits(assertion.value, value))


def contains_json(assertion: Assertion, answer: GradedAnswer) -> float:
    """1 where an object or array somewhere in the output fits the schema."""
    return float(any(fits(assertion.value, value) for value in _json_inside(answer.text)))


def read_json(text: str) -> tuple[bool, Any]:
    """Whether the text is strict JSON, and the value."""
    try:
        return True, _DECODER.decode(text)
    except (ValueError, RecursionError):
        return False, None


def json_equal(one: Any, other: Any) -> bool:
    """True for equal JSON values: members in any order, 1 equal to 1.0, true not equal to 1."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(json_equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(json_equal, one, other))
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


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


# --- schemas -------------------------------------------------------------------------------------


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
