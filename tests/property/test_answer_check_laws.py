"""Whatever a provider or a caller sends, a check gives one of its names."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from farthing.catalog import AnswerCheck
from router_policies.checks import FAULTS, fault_of

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
NAMES = ("choices", "message", "content", "text", "finish_reason", "output", "type", "status", "tool_calls", "function")
MORE = ("arguments", "refusal", "error", "incomplete_details", "reason", "function_call", "parts")
names = st.sampled_from([*NAMES, *MORE])
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=20
)
answers = st.dictionaries(names, trees, max_size=5)
forms = st.fixed_dictionaries(
    {}, optional={"response_format": trees, "text": trees | st.fixed_dictionaries({"format": trees})}
)
checks = st.builds(
    AnswerCheck,
    json=st.booleans(),
    regex=st.sampled_from(["", "^a", "x+$"]),
    min_chars=st.integers(0, 9),
    max_chars=st.none() | st.integers(0, 9),
    refusal=st.booleans(),
)


@given(check=checks, body=forms, answer=answers)
def test_a_check_gives_one_of_its_names(check: AnswerCheck, body: dict[str, Any], answer: dict[str, Any]) -> None:
    assert fault_of(check, body, answer) in ("", *FAULTS)
