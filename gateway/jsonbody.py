"""JSON bodies: parsed once and strictly, and changed without touching what was not understood."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import orjson

from farthing.errors import InvalidJSON, InvalidParameter

MAX_DEPTH: Final = 128
MAX_KEYS: Final = 100_000
LIGHT_BYTES: Final = 2**20
"""Bodies up to this size are not weighed before they are parsed."""
MAX_CONTAINERS: Final = 500_000
"""Opening brackets and braces, those in texts included: each may become an object fifty times its size."""
MAX_QUOTES: Final = 4_000_000

# All possessive, so that no input can make them backtrack. A quote before a colon ends a key, or else begins a text.
_LIKE_A_KEY: Final = re.compile(rb'"(?<!\\")[ \t\n\r]*+:')
# Every string of the text, and the colon after it if it is a key.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"(\s*+:)?', re.DOTALL)
# A whole number, written without fraction and exponent, that may be too long for 64 bits.
_LONG_NUMBER: Final = re.compile(rb"(?<![0-9.eE+-])-?+[0-9]{19,}+(?![.eE])")
_ROUNDED: Final = 2.0**63
"""From here on a number may have been too long for 64 bits; below, whole numbers stay whole."""
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODE: Final = msgspec.json.Encoder().encode


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`.

    Raises InvalidJSON for what parsers read differently: NaN, Infinity, a byte order mark, lone surrogates, whole
    numbers beyond 64 bits, duplicate keys (one parser takes the first, another the last: what we checked must be
    what upstream reads), and for nesting or counts that only an attacker sends.
    """
    if len(raw) > LIGHT_BYTES:
        _weigh(raw)
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        # Position only: the parser's own text may quote the body.
        raise InvalidJSON(
            f"{InvalidJSON.__doc__} Parsing stopped at line {error.lineno}, column {error.colno}."
        ) from None
    if type(body) is not dict:
        raise InvalidJSON('The body must be one JSON object, like {"model": …, "messages": […]}.')
    keys, rounded = _survey(body)
    if _repeats_a_key(raw, keys):
        raise InvalidJSON("The body has an object with the same key twice: send each key once.")
    if rounded and any(not -(2**63) <= int(number) < 2**64 for number in _LONG_NUMBER.findall(_STRING.sub(b"", raw))):
        raise InvalidJSON("The body has a whole number beyond 64 bits, which parsers round: send it as a string.")
    return body


def _weigh(raw: bytes) -> None:
    """Refuse what would take seconds to parse or a multiple of its size in memory."""
    if raw.count(b"[") + raw.count(b"{") > MAX_CONTAINERS or raw.count(b'"') > MAX_QUOTES:
        raise InvalidJSON("The body has more arrays, objects or strings than any call needs: split it.")


def _survey(body: dict[str, Any]) -> tuple[int, bool]:
    """How many keys the parsed body has, and whether a number in it is so large that it may have been rounded."""
    keys, rounded = 0, False
    level: list[Any] = [body]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for node in level:
            values = node
            if type(node) is dict:
                keys += len(node)
                values = node.values()
            for value in values:
                kind = type(value)
                if kind is dict or kind is list:
                    deeper.append(value)
                elif kind is float and not -_ROUNDED < value < _ROUNDED:
                    rounded = True
        if keys > MAX_KEYS:
            raise InvalidJSON(f"The body has more than {MAX_KEYS} keys.")
        if not deeper:
            return keys, rounded
        level = deeper
    raise InvalidJSON(f"The body is nested deeper than {MAX_DEPTH} levels.")


def _repeats_a_key(raw: bytes, different: int) -> bool:
    """True where the text has more keys than the `different` ones that the parser kept."""
    if b'\\\\"' not in raw and len(_LIKE_A_KEY.findall(raw)) == different:
        return False
    # Some text begins with a colon or ends with a backslash: read whole strings, which takes ten times as long.
    return sum(1 for colon in _STRING.findall(raw) if colon) != different


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
