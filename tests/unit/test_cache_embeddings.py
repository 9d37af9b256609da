"""Embeddings input by input: keys, entries, answers read strictly and put together in either encoding."""

import base64
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.embeddings import (
    Vector,
    composed,
    input_keys,
    inputs_of,
    packed,
    read_answer,
    shares,
    unpacked,
    weights,
)
from cache.testing import example_call
from farthing.call import Call, Endpoint

SECRET = b"s"
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def call(**body: Any) -> Call:
    named = {name: body.pop(name) for name in ("tenant", "feature", "environment") if name in body}
    return example_call({"model": "embed", "input": "x", **body}, endpoint=Endpoint.EMBEDDINGS, **named)


def key(one: Any = "a text", *, partition: str = "p", **body: Any) -> bytes:
    (found,) = input_keys(SECRET, call(**body), partition, [one])
    return found


def f32(*numbers: float) -> bytes:
    return np.asarray(numbers, dtype="<f4").tobytes()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def answer(*embeddings: Any, **more: Any) -> dict[str, Any]:
    items = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(embeddings)]
    return {"object": "list", "data": items, "model": "embed-1", "usage": {"prompt_tokens": 3}, **more}


@pytest.mark.parametrize(
    ("given_", "found"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        ([], None),
        ([["a"]], None),
        (["a", [1]], None),
        ([1, "a"], None),
        ([[]], None),
        ([True], None),
        ([{"text": "a"}], None),
        (None, None),
    ],
)
def test_every_form_of_input_is_told_apart(given_: Any, found: Any) -> None:
    assert inputs_of({"input": given_}) == found


@pytest.mark.parametrize(("encoding", "is_known"), [(None, True), ("float", True), ("base64", True), ("int8", False)])
def test_only_encodings_that_can_be_answered_from_floats_are_looked_up_by_input(encoding: Any, is_known: bool) -> None:
    assert (inputs_of({"input": "a", "encoding_format": encoding}) is not None) is is_known


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "other"},
        {"feature": "other"},
        {"environment": "staging"},
        {"model": "other"},
        {"dimensions": 256},
        {"input_type": "query"},
        {"partition": "q"},
        {"one": "another text"},
        {"one": [1, 2]},
    ],
)
def test_whatever_decides_a_vector_is_in_its_key(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


@pytest.mark.parametrize(
    "changes",
    [{"encoding_format": "base64"}, {"user": "u"}, {"metadata": {"a": "b"}}, {"input": ["other", "texts"]}],
)
def test_encoding_user_and_the_other_inputs_are_not(changes: dict[str, Any]) -> None:
    assert key(**changes) == key()


def test_the_ids_of_a_text_are_not_the_text() -> None:
    assert key([49]) != key("[49]") != key("1")
    assert key([4, 9]) != key([49])


@given(st.text(max_size=300), st.lists(FINITE, min_size=1, max_size=20))
def test_an_entry_gives_back_its_vector(model: str, numbers: list[float]) -> None:
    found = unpacked(packed(Vector(model, f32(*numbers))))

    assert found is not None
    assert found.data == f32(*numbers)
    assert model.isascii() is False or found.model == model[:255]


@pytest.mark.parametrize("kept", [b"", b"{}", b'{"object":"list"}', b"\x01", b"\x01\x05abc", b"\x01\x00abc"])
def test_what_is_no_vector_is_not_read_as_one(kept: bytes) -> None:
    assert unpacked(kept) is None


@given(st.lists(FINITE, min_size=1, max_size=30))
def test_both_encodings_mean_the_same_float32(numbers: list[float]) -> None:
    data = f32(*numbers)

    for encoding in (None, "float", "base64"):
        said = orjson.loads(composed(answer(), [data], encoding))
        read = read_answer(said, 1)
        assert read is not None
        assert read.vectors == [data]
    # As JSON of doubles, which is how most providers write them.
    read = read_answer(answer([float(np.float32(number)) for number in numbers]), 1)
    assert read is not None
    assert read.vectors == [data]


@given(st.permutations(range(5)))
def test_answers_out_of_order_are_put_right(order: list[int]) -> None:
    items = [{"index": place, "embedding": [float(place)]} for place in order]

    read = read_answer({"data": items}, 5)

    assert read is not None
    assert read.vectors == [f32(place) for place in range(5)]
    assert read.as_sent == (order == sorted(order))


def test_without_any_index_the_order_is_that_of_the_inputs() -> None:
    read = read_answer({"data": [{"embedding": [1]}, {"embedding": [2]}]}, 2)

    assert read is not None
    assert read.vectors == [f32(1), f32(2)]


NOT_A_NUMBER = b64(f32(float("nan"), 0.0))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": "x"},
        {"data": [[1.0], [2.0]]},
        answer([1.0]),
        answer([1.0], [2.0], [3.0]),
        answer([1.0], [2.0, 3.0]),
        answer([1.0], []),
        answer([], []),
        answer([1.0], None),
        answer([1.0], ["2.0"]),
        answer([1.0], [None]),
        answer([1.0], [[2.0]]),
        answer([1.0], [1e300]),
        answer([1.0, 2.0], NOT_A_NUMBER),
        answer([1.0], "no base64!"),
        answer([1.0], "AAA="),
        answer([1.0], {"values": [1.0]}),
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [2.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [2.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"embedding": [2.0]}]},
        {"data": [{"index": True, "embedding": [1.0]}, {"index": 0, "embedding": [2.0]}]},
    ],
)
def test_an_answer_that_cannot_be_is_not_read(body: dict[str, Any]) -> None:
    assert read_answer(body, 2) is None


def test_the_other_members_of_an_answer_stay() -> None:
    said = orjson.loads(composed(answer([1.0], extra="kept"), [f32(0.1), f32(0.1)], None))

    assert said == {
        **answer([0.1], [0.1], extra="kept"),
    }


@given(st.integers(0, 10**15), st.lists(st.integers(0, 1000), min_size=1, max_size=50).filter(any))
def test_shares_sum_to_the_whole(total: int, weighed: list[int]) -> None:
    parts = shares(total, weighed)

    assert sum(parts) == total
    assert all(
        abs(part * sum(weighed) - total * weight) < sum(weighed) for part, weight in zip(parts, weighed, strict=True)
    )


def test_an_empty_text_has_a_weight_too() -> None:
    assert weights(["", "abcd", [1, 2]]) == [1, 4, 8]
