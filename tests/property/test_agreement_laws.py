"""Agreement bears whatever two providers answer, and every answer that can be compared agrees with itself."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from evals.agreement import agreement
from evals.revisions import read_revision, read_tested, revision_of

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
parts = st.sampled_from(
    ["choices", "message", "content", "tool_calls", "function", "name", "arguments", "output", "text"]
)
hostile = st.dictionaries(
    parts, st.recursive(values, lambda inner: st.dictionaries(parts, inner, max_size=3)), max_size=4
)


def chat(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


def said(value: Any) -> str:
    return json.dumps(value, indent=1)


@given(hostile, hostile)
def test_whatever_two_providers_answer_there_is_a_grade_or_none(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert agreement(one, other) in (None, 0.0, 1.0)
    assert agreement(chat("yes"), other) in (0.0, 1.0)


@given(values)
def test_json_agrees_with_itself_in_any_layout(value: Any) -> None:
    assert agreement(chat(json.dumps([value])), chat(said([value]))) == 1


@given(st.text(max_size=60))
def test_a_text_that_can_be_compared_agrees_with_itself(text: str) -> None:
    assert agreement(chat(text), chat(f" {text}\n")) in (None, 1.0)


def test_what_is_nested_beyond_reason_is_no_grade() -> None:
    deep = chat("[" * 900 + "]" * 900)

    assert agreement(deep, deep) in (None, 1.0)


@given(st.dictionaries(st.sampled_from(["model", "system_fingerprint"]), values | st.text(max_size=200), max_size=2))
def test_a_revision_that_was_tested_is_no_change(answer: dict[str, Any]) -> None:
    found = revision_of(answer)

    assert read_revision(found.text) == found
    assert read_tested([found.text]).change(found) == ""
