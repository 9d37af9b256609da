"""Schemas of callers: what fits, and what must not take long."""

import time
from typing import Any

import pytest

from router_policies.schemas import fits

LABEL = {"type": "object", "required": ["label"], "properties": {"label": {"enum": ["a", "b"]}}}


def nested(depth: int) -> Any:
    """An array in an array, so many times."""
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("schema", "value", "does"),
    [
        (LABEL, {"label": "a"}, True),
        (LABEL, {"label": "c"}, False),
        (LABEL, [], False),
        ({"additionalProperties": False, "properties": {"a": {}}}, {"b": 1}, False),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "number"}}}, "x", False),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, None, True),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 7, False),
        ({"items": {"type": "integer"}, "minItems": 2}, [1, "2"], False),
    ],
)
def test_a_value_fits_or_does_not(schema: dict[str, Any], value: Any, does: bool) -> None:
    assert fits(schema, value) is does


@pytest.mark.parametrize(
    "schema",
    [
        {"type": 7},
        {"$ref": "http://127.0.0.1:1/none.json"},
        {"$ref": "#/nowhere"},
        {"properties": 3},
        {"multipleOf": 0},
        {"minimum": "x"},
        {"$schema": "urn:nobody:knows"},
        {"$ref": "#"},
    ],
)
def test_a_schema_that_cannot_be_used_finds_nothing(schema: dict[str, Any]) -> None:
    assert fits(schema, {"a": 5})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": "^(a+)+$"}, "a" * 40 + "!"),
        ({"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False}, {"a" * 40 + "!": 1}),
        ({"uniqueItems": True}, [[n] for n in range(30_000)]),
        ({"anyOf": [{"items": {"$ref": "#"}, "type": "array"}, {"items": {"$ref": "#"}, "type": "array"}]}, nested(60)),
        ({"items": {"type": "string"}}, [1] * 300_000),
    ],
)
def test_no_schema_takes_long(schema: dict[str, Any], value: Any) -> None:
    began = time.process_time()

    fits(schema, value)

    assert time.process_time() - began < 5  # a bound against never, not a figure
