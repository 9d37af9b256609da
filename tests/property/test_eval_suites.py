"""Whatever a file holds, it is a suite or a finding with its place, never a crash."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from evals.answers import GradedAnswer
from evals.assertions import KEYS
from evals.graders import ASKING, grade
from evals.importers import Head, import_suite
from evals.items import TEST_KEYS
from evals.jsonchecks import json_equal
from evals.loader import SUITE_KEYS, load_suite
from evals.suite import Assertion, Suite
from evals.textchecks import normalize
from evals.toolchecks import tool_call
from farthing.errors import ConfigError

ODD = [
    "",
    "a",
    "{{a}}",
    "{{a.b}}",
    "{% x",
    "file://x",
    "file://../y",
    "(",
    "large",
    "tiny",
    "label",
    "0.5",
    "é\u2028",
    "\0",
]
WORDS = st.sampled_from(ODD)
SCALARS = st.one_of(WORDS, st.integers(-2, 400), st.floats(), st.booleans(), st.none())
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=6,
)
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
FINE: list[dict[str, Any]] = [
    {"type": "equals", "value": "{{a}} x"},
    {"type": "equals", "value": {"a": [1]}},
    {"type": "not-contains", "value": "x"},
    {"type": "contains-all", "value": ["x", "y"], "threshold": 0.5},
    {"type": "icontains-any", "value": ["x", "y"]},
    {"type": "normalized", "value": ["The x"]},
    {"type": "regex", "value": "^x+"},
    {"type": "is-json", "value": {"type": "object"}},
    {"type": "contains-json"},
    {"type": "label", "labels": ["x", "y"], "value": "x"},
    {"type": "final-number", "value": 7, "relative_tolerance": 0.1},
    {"type": "tool-call", "value": {"name": "f", "arguments": {"x": 1}}},
    {"type": "is-valid-openai-tools-call"},
    {"type": "cost", "threshold": 1},
    {"type": "latency", "threshold": 1, "weight": 2},
    {"type": "code", "value": "assert f(1)"},
    {"type": "assert-set", "assert": [{"type": "starts-with", "value": "x"}], "threshold": 0.5},
]


def spoiled(fine: st.SearchStrategy[dict[str, Any]], keys: frozenset[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Mostly as it is; at times with anything under some of its keys."""
    faults = st.dictionaries(st.sampled_from(sorted(keys)), ANYTHING, min_size=1, max_size=2)
    return st.one_of(fine, fine, fine, st.tuples(fine, faults).map(lambda parts: {**parts[0], **parts[1]}))


def rows_of(assertions: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    variables = st.fixed_dictionaries({"a": st.text(max_size=5)})
    return st.fixed_dictionaries({"vars": variables, "assert": st.lists(assertions, min_size=1, max_size=2)})


FINE_TESTS = rows_of(st.sampled_from(FINE))
TESTS = spoiled(rows_of(spoiled(st.sampled_from(FINE), KEYS)), TEST_KEYS)
SOUND = {"task": "t", "bar": 0.5, "reference": "large", "candidates": ["tiny"], "prompts": ["{{a}}"], "tools": TOOLS}
HEADS = spoiled(st.lists(TESTS, min_size=1, max_size=3).map(lambda tests: {**SOUND, "tests": tests}), SUITE_KEYS)


def read(content: str, suffix: str) -> Suite | str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"suite{suffix}"
        file.write_text(content, encoding="utf-8")
        try:
            return load_suite(file, may_promote=False, allow_code=True)
        except ConfigError as error:
            return error.message


@given(HEADS)
@settings(max_examples=150, deadline=None)
def test_whatever_a_file_holds_is_a_suite_or_findings_with_their_place(head: dict[str, Any]) -> None:
    found = read(json.dumps(head), ".json")

    if isinstance(found, Suite):
        assert found.items
        assert found.hash
        assert found.clusters()
    else:
        assert all(":1" in line or "suite.json" in line for line in found.split("\n")[1:])


@given(st.lists(FINE_TESTS, min_size=1, max_size=4, unique_by=str), st.text(max_size=50))
@settings(max_examples=150, deadline=None)
def test_what_was_read_can_be_graded(tests: list[dict[str, Any]], output: str) -> None:
    found = read("\n".join(map(json.dumps, [SOUND, *tests])), ".jsonl")

    assert isinstance(found, Suite) or "constant answer" in found
    for item in found.items if isinstance(found, Suite) else ():
        graded = grade(item, output)
        needs_more = not {"latency", *ASKING}.isdisjoint(kinds(item.assertions))
        assert (graded.score is None) is needs_more
        assert 0 <= (graded.score or 0) <= 1


def kinds(assertions: tuple[Assertion, ...]) -> list[str]:
    return [kind for one in assertions for kind in (one.type, *kinds(one.inner))]


@given(st.lists(st.one_of(ANYTHING, st.fixed_dictionaries({"input": WORDS, "ideal": ANYTHING})), max_size=4))
@settings(max_examples=150, deadline=None)
def test_whatever_samples_hold_they_become_a_suite_or_nothing_is_written(rows: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "samples.jsonl", Path(folder) / "suite.yaml"
        source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        head = Head(task="t", reference="large", candidates=("tiny",), margin=0.05)

        try:
            count = import_suite("openai-evals", source, target, head)
        except ConfigError:
            assert not target.exists()
        else:
            assert len(load_suite(target, may_promote=False).items) == count

        assert {file.name for file in Path(folder).iterdir()} <= {"samples.jsonl", "suite.yaml"}


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=2), inner, max_size=3)),
    max_leaves=8,
)


@given(JSON, JSON)
def test_equality_of_json_is_that_of_its_text(one: Any, other: Any) -> None:
    assert json_equal(one, json.loads(json.dumps(one)))
    assert json_equal(one, other) == json_equal(other, one)


@given(st.text())
def test_a_normalised_text_is_its_own_norm(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)


@given(st.lists(st.integers(0, 2), max_size=5), st.randoms(use_true_random=False))
def test_calls_are_the_wanted_ones_in_any_order(numbers: list[int], random: Any) -> None:
    wanted = [{"name": "f", "arguments": {"n": number}} for number in numbers]
    made = [{"function": {"name": "f", "arguments": json.dumps({"n": number})}} for number in numbers]
    random.shuffle(made)

    answer = GradedAnswer(text="", tool_calls=tuple(made))

    assert tool_call(Assertion(type="tool-call", value=wanted), answer) == 1
    other = {"name": "f", "arguments": {"n": 9}}
    assert tool_call(Assertion(type="tool-call", value=[*wanted, other]), answer) == 0
