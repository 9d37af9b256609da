"""JSON bodies: parsed once and strictly, and changed without touching what was not understood."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import orjson

from farthing.errors import InvalidJSON, InvalidParameter

MAX_DEPTH: Final = 128
MAX_KEYS: Final = 100_000

# Every string of the text, and the colon after it if it is a key. Possessive, so that no input can make it backtrack.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"(\s*+:)?', re.DOTALL)
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODE: Final = msgspec.json.Encoder().encode


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`.

    Raises InvalidJSON for what parsers read differently: NaN, Infinity, a byte order mark, lone surrogates,
    duplicate keys (one parser takes the first, another the last: what we checked must be what upstream reads),
    and for nesting or key counts that only an attacker sends.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        # Position only: the parser's own text may quote the body.
        raise InvalidJSON(
            f"{InvalidJSON.__doc__} Parsing stopped at line {error.lineno}, column {error.colno}."
        ) from None
    if type(body) is not dict:
        raise InvalidJSON('The body must be one JSON object, like {"model": …, "messages": […]}.')
    if _count_keys(body) != sum(1 for match in _STRING.findall(raw) if match):
        raise InvalidJSON("The body has an object with the same key twice: send each key once.")
    return body


def _count_keys(body: dict[str, Any]) -> int:
    keys = 0
    level: list[Any] = [body]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for node in level:
            if type(node) is dict:
                keys += len(node)
                deeper += [value for value in node.values() if type(value) is dict or type(value) is list]
            else:
                deeper += [value for value in node if type(value) is dict or type(value) is list]
        if not deeper:
            return keys
        if keys > MAX_KEYS:
            raise InvalidJSON(f"The body has more than {MAX_KEYS} keys.")
        level = deeper
    raise InvalidJSON(f"The body is nested deeper than {MAX_DEPTH} levels.")


def with_changes(raw: bytes, changes: Mapping[str, Any]) -> bytes:
    """`raw` with some top-level members set; every other member keeps its bytes. Without changes: `raw` itself."""
    if not changes:
        return raw
    try:
        fields: dict[str, Any] = _FIELDS.decode(raw)
    except msgspec.DecodeError:
        raise InvalidParameter("The body cannot be rewritten for the chosen model: send plain UTF-8 JSON.") from None
    fields.update(changes)
    return _ENCODE(fields)
