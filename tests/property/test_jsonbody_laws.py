"""Laws of JSON bodies: what is accepted means one thing to every parser, and what is not changed keeps its bytes."""

import json
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from farthing.errors import InvalidJSON
from gateway.jsonbody import MAX_DEPTH, MAX_KEYS, parse_object, with_changes

# Few letters, so that keys repeat; those with which a key, its end or its colon could be mistaken.
TRICKY = st.text(alphabet='ab":\\ ,{}[]\n\t\r1\x00\u00e9\U0001f600', max_size=4)
WHOLE = st.integers(-(2**63), 2**64 - 1)
LONG = st.integers(2**64, 2**80) | st.integers(-(2**80), -(2**63) - 1)
SCALARS = st.none() | st.booleans() | WHOLE | LONG | st.floats(allow_nan=False, allow_infinity=False) | TRICKY
BLANKS = st.sampled_from(["", "", "", " ", "\n", "\t \r\n"])


@st.composite
def spelt_string(draw: st.DrawFn, text: str) -> str:
    """A JSON string in one of its many spellings."""
    spelling = draw(st.sampled_from(["ascii", "utf-8", "escaped"]))
    if spelling == "escaped":
        units = text.encode("utf-16-be")
        return '"' + "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)) + '"'
    return json.dumps(text, ensure_ascii=spelling == "ascii")


@st.composite
def spelt(draw: st.DrawFn, members: st.SearchStrategy[Any]) -> str:
    """A JSON value as text. Objects are lists of pairs, so that a key may come twice."""
    value = draw(members)
    before, after = draw(BLANKS), draw(BLANKS)
    return before + _spell(draw, value) + after


def _spell(draw: st.DrawFn, value: Any) -> str:
    if isinstance(value, str):
        return draw(spelt_string(value))
    if isinstance(value, tuple):
        pairs = (
            draw(BLANKS) + _spell(draw, name) + draw(BLANKS) + ":" + draw(BLANKS) + _spell(draw, member) + draw(BLANKS)
            for name, member in value
        )
        return "{" + (",".join(pairs) or draw(BLANKS)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(draw(BLANKS) + _spell(draw, member) + draw(BLANKS) for member in value) + "]"
    return json.dumps(value)


PAIRS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(st.tuples(TRICKY, inner), max_size=4).map(tuple)
    ),
    max_leaves=12,
)  # fmt: skip
OBJECTS = st.lists(st.tuples(TRICKY, PAIRS), max_size=5).map(tuple)


class Twice(Exception):
    """An object has a key twice."""


class Long(Exception):
    """A whole number does not fit 64 bits."""


def without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise Twice
    return dict(pairs)


def fitting(digits: str) -> int:
    if not -(2**63) <= int(digits) < 2**64:
        raise Long
    return int(digits)


def accepted(raw: bytes) -> dict[str, Any] | None:
    try:
        return parse_object(raw)
    except InvalidJSON as error:
        assert error.status == 400
        return None


@given(spelt(OBJECTS))
@example('{"a":"\\\\","a":1}')
@example('{"a\\\\":1,"b":": ","a\\\\":2}')
@example('{"a":"\\":","b":1}')
@example('{"a":"x" , ":" : 1}')
@example('{"a":18446744073709551616.0,"b":18446744073709551615}')
@example('{"a":-9223372036854775809e0,"b":"18446744073709551616"}')
def test_an_object_is_accepted_exactly_if_no_key_repeats_and_no_integer_is_rounded(text: str) -> None:
    try:
        expected = json.loads(text, object_pairs_hook=without_doubles, parse_int=fitting)
    except (Twice, Long):
        expected = None

    assert accepted(text.encode()) == expected


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,\\ 01e-.aNn', max_size=24).map(str.encode))
def test_any_bytes_are_read_as_orjson_reads_them_or_refused(raw: bytes) -> None:
    try:
        expected = orjson.loads(raw)
    except orjson.JSONDecodeError:
        expected = None

    body = accepted(raw)

    assert body is None or body == expected
    if isinstance(expected, dict) and body is None:
        with pytest.raises((Twice, Long)):
            json.loads(raw, object_pairs_hook=without_doubles, parse_int=fitting)


@given(st.data(), st.integers(0, MAX_DEPTH - 3), TRICKY)
def test_a_key_that_repeats_is_found_at_any_depth(data: st.DataObject, depth: int, key: str) -> None:
    first, second = data.draw(spelt_string(key)), data.draw(spelt_string(key))
    blank = data.draw(BLANKS)
    text = f"{{{first}{blank}:1,{second}:2}}"
    for _ in range(depth):
        text = data.draw(st.sampled_from(['{"outer":%s}', "[%s]", '[0,"x",%s]'])) % text

    assert accepted(b'{"top":' + text.encode() + b"}") is None


@given(st.integers(1, 300), st.sampled_from([('{"a":', "}"), ("[", "]")]))
def test_nesting_is_accepted_up_to_its_limit(depth: int, brackets: tuple[str, str]) -> None:
    left, right = brackets
    raw = ('{"top":' + left * (depth - 1) + "1" + right * (depth - 1) + "}").encode()

    assert (accepted(raw) is not None) == (depth <= MAX_DEPTH)


@pytest.mark.parametrize(("keys", "good"), [(MAX_KEYS, True), (MAX_KEYS + 1, False)])
def test_keys_are_accepted_up_to_their_limit(keys: int, good: bool) -> None:
    raw = orjson.dumps({f"{number}": 0 for number in range(keys)})

    assert (accepted(raw) is not None) == good


UNIQUE = st.dictionaries(
    TRICKY,
    st.recursive(
        st.none() | WHOLE | TRICKY, lambda inner: st.lists(inner) | st.dictionaries(TRICKY, inner), max_leaves=6
    ),
)


@given(
    st.data(),
    UNIQUE,
    st.dictionaries(st.sampled_from(["model", "max_tokens", "a", '"']), st.integers() | TRICKY, max_size=3),
)
def test_changes_are_set_and_every_other_member_keeps_its_bytes(
    data: st.DataObject, members: dict[str, Any], changes: dict[str, Any]
) -> None:
    changes = {name: value if isinstance(value, str) else value % 2**53 for name, value in changes.items()}
    spelling = {name: data.draw(spelt(st.just(as_pairs(value)))) for name, value in members.items()}
    raw = ("{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in spelling.items()) + "}").encode()

    changed = with_changes(raw, changes)

    kept = msgspec.json.decode(changed, type=dict[str, msgspec.Raw])
    assert orjson.loads(changed) == {**orjson.loads(raw), **changes}
    assert list(kept) == [*members, *(name for name in changes if name not in members)]
    for name, text in spelling.items():
        if name not in changes:
            assert bytes(kept[name]) == text.strip(" \n\t\r").encode()


def as_pairs(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((name, as_pairs(member)) for name, member in value.items())
    return [as_pairs(member) for member in value] if isinstance(value, list) else value


@given(spelt(OBJECTS))
def test_without_changes_the_body_is_itself(text: str) -> None:
    raw = text.encode()

    assert with_changes(raw, {}) is raw


@given(spelt(OBJECTS), TRICKY)
def test_what_was_accepted_can_be_changed(text: str, value: str) -> None:
    body = accepted(text.encode())

    if body is not None:
        assert orjson.loads(with_changes(text.encode(), {"model": value})) == {**body, "model": value}
