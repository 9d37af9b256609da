"""Every grader, as a table of outputs and what they are worth."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from evals.answers import GradedAnswer
from evals.graders import TEXT_MAX, grade, grade_assertion, grader_key, graders_of, metric_of
from evals.grading import GraderTools, grade_answer
from evals.jsonchecks import schema_fault
from evals.suite import Assertion, Item, Suite
from evals.textchecks import final_number, first_label
from farthing.money import Nano

SCHEMA = {"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}}}
LABELS = ("positive", "negative", "not positive")


def said(output: str) -> GradedAnswer:
    return GradedAnswer(text=output)


@pytest.mark.parametrize(
    ("kind", "value", "output", "score"),
    [
        ("equals", "billing", " billing\n", 1),
        ("equals", "billing", "Billing", 0),
        ("equals", 7, "7", 1),
        ("equals", {"a": [1, True]}, ' {"a": [1.0, true]}', 1),
        ("equals", {"a": 1, "b": 2}, '{"b": 2, "a": 1}', 1),
        ("equals", {"a": 1}, '{"a": 1, "b": 2}', 0),
        ("equals", {"a": 1}, '{"a": true}', 0),
        ("equals", [1, 2], "[2, 1]", 0),
        ("equals", [], "none", 0),
        ("contains", "ORD-1", "your order ORD-1.", 1),
        ("contains", "ORD-1", "your order ord-1.", 0),
        ("icontains", "ORD-1", "your order ord-1.", 1),
        ("icontains", "STRASSE", "Hauptstraße", 1),
        ("icontains", "x", "", 0),
        ("starts-with", "Yes", "\n Yes, it is", 1),
        ("starts-with", "Yes", "Oh yes", 0),
        ("contains-any", ["a1", "b2"], "has b2", 1),
        ("contains-any", ["a1", "b2"], "has c3", 0),
        ("contains-all", ["a1", "b2"], "b2 and a1", 1),
        ("contains-all", ["a1", "b2"], "only b2", 0),
        ("icontains-any", ["A1", "b2"], "has a1", 1),
        ("icontains-any", ["a1", "b2"], "has c3", 0),
        ("icontains-all", ["A1", "b2"], "B2 and a1", 1),
        ("icontains-all", ["a1", "b2"], "only b2", 0),
        ("normalized", "The Eiffel Tower", "eiffel tower!", 1),
        ("normalized", ["NYC", "New York"], "  new   york.", 1),
        ("normalized", "theatre", "atre", 0),
        ("normalized", "New York", "in New York", 0),
        ("regex", r"\b\d{4}\b", "in 1984", 1),
        ("regex", r"^\d{4}$", "in 1984", 0),
        ("is-json", None, ' {"a": [1]}\n', 1),
        ("is-json", None, '{"a": 1} thanks', 0),
        ("is-json", None, "NaN", 0),
        ("is-json", None, '{"a": Infinity}', 0),
        ("is-json", None, "[" * 100_000, 0),
        ("is-json", SCHEMA, '{"total": 3}', 1),
        ("is-json", SCHEMA, '{"total": "3"}', 0),
        ("contains-json", None, 'Here: {"a": 1} thanks', 1),
        ("contains-json", None, "{ not } [json", 0),
        ("contains-json", SCHEMA, 'First {"x": 1}, then {"total": 3}.', 1),
        ("contains-json", SCHEMA, 'Only {"x": 1}.', 0),
        ("final-number", "15", "20 - 5 = 15.", 1),
        ("final-number", "15", "15 at first. Answer: 16", 0),
        ("final-number", "1234.5", "Answer: $1,234.50", 1),
        ("final-number", "15", "none", 0),
    ],
)
def test_each_assertion_type_scores_an_output(kind: str, value: Any, output: str, score: float) -> None:
    assert grade_assertion(Assertion(type=kind, value=value), said(output)).score == score


@pytest.mark.parametrize(
    ("kind", "value", "output"),
    [("contains", "sorry", "Done."), ("is-json", None, "text"), ("regex", "^I cannot", "Sure")],
)
def test_not_turns_an_assertion_round(kind: str, value: Any, output: str) -> None:
    plain, negated = (Assertion(type=kind, value=value, negated=negated) for negated in (False, True))

    assert grade_assertion(plain, said(output)).score == 0
    assert grade_assertion(negated, said(output)).score == 1


@pytest.mark.parametrize(
    ("output", "gold", "score"),
    [
        ("Positive.", "positive", 1),
        ("The review is negative, not positive", "negative", 1),
        ("The review is negative, not positive", "positive", 0),
        ("This is not positive at all", "not positive", 1),
        ("positively glowing", "positive", 0),
        ("(POSITIVE)", "Positive", 1),
        ("", "positive", 0),
    ],
)
def test_the_first_label_that_appears_as_a_whole_word_must_be_the_gold_one(
    output: str, gold: str, score: float
) -> None:
    assertion = Assertion(type="label", value=gold, labels=LABELS)

    assert grade_assertion(assertion, said(output)).score == score


def test_a_label_may_hold_signs() -> None:
    assert first_label(("C++", "C"), "I would say C++.") == "C++"


@pytest.mark.parametrize(
    ("output", "number"),
    [
        ("10-5", "5"),
        ("it is -5", "-5"),
        ("Answer: -5", "-5"),
        ("The answer is 12 (of 40)", "12"),
        ("Answer: 1, no: answer: 2 or 3", "2"),
        ("12 is my answer", "12"),
        ("1,234,567", "1234567"),
        ("1,2,3", "3"),
        ("3.14.", "3.14"),
        ("v2 costs 007", "007"),
        ("no number", None),
    ],
)
def test_the_final_number_is_that_after_answer_else_the_last(output: str, number: str | None) -> None:
    assert final_number(output) == (None if number is None else Decimal(number))


def test_a_tolerance_is_the_greatest_difference() -> None:
    near = Assertion(type="final-number", value="3.14", tolerance=Decimal("0.01"))

    assert grade_assertion(near, said("3.15")).score == 1
    assert grade_assertion(near, said("3.16")).score == 0


def test_a_relative_tolerance_is_a_share_of_the_wanted_number() -> None:
    near = Assertion(type="final-number", value=-200, relative=Decimal("0.01"), tolerance=Decimal(1))

    scores = [grade_assertion(near, said(output)).score for output in ("-202", "-198", "-202.1", "200", "none")]

    assert scores == [1, 1, 0, 0, 0]


def test_a_threshold_accepts_a_share_of_what_must_be_contained() -> None:
    half = Assertion(type="contains-all", value=["a", "b"], threshold=0.5)

    assert grade_assertion(half, said("a")).score == 1
    assert grade_assertion(half, said("c")).score == 0


def item(*assertions: Assertion, threshold: float | None = None) -> Item:
    return Item(messages=(), assertions=assertions, max_tokens=1, temperature=0, threshold=threshold)


HEAVY = Assertion(type="contains", value="a", weight=3)
LIGHT = Assertion(type="contains", value="b", weight=1)


@pytest.mark.parametrize(
    ("output", "score"),
    [("ab", 1.0), ("a", 0.75), ("b", 0.25), ("c", 0.0)],  # (3 a + 1 b) / 4
)
def test_an_item_scores_the_weighted_mean_of_its_assertions(output: str, score: float) -> None:
    assert grade(item(HEAVY, LIGHT), output).score == score


def test_an_items_threshold_makes_its_mean_a_yes_or_no() -> None:
    assert grade(item(HEAVY, LIGHT, threshold=0.7), "a").score == 1
    assert grade(item(HEAVY, LIGHT, threshold=0.7), "b").score == 0


def test_the_reason_names_the_assertion_and_quotes_nothing_of_the_output() -> None:
    found = grade(item(HEAVY, Assertion(type="contains", value="zebra", negated=True)), "secret zebra")

    assert found.reason == "not-contains does not hold"


def test_only_a_bounded_part_of_an_output_is_looked_at() -> None:
    far = item(Assertion(type="contains", value="end"))

    assert grade(far, "x" * TEXT_MAX + "end").score == 0


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        (SCHEMA, ""),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": "null"}}}, ""),
        ("text", "a JSON schema is an object"),
        ({"type": "objekt"}, "is not a valid JSON schema"),
        ({"items": [{"$ref": "https://example.com/schema.json"}]}, "not"),
        ({"items": {"$ref": "https://example.com/schema.json"}}, "a $ref must begin with #"),
    ],
)
def test_a_json_schema_is_checked_when_it_is_read(schema: Any, fault: str) -> None:
    found = schema_fault(schema)

    assert fault in found if fault else found == ""


def test_a_reference_that_leads_nowhere_does_not_hold() -> None:
    dangling = Assertion(type="is-json", value={"$ref": "#/$defs/none"})

    assert grade_assertion(dangling, said("1")).score == 0


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "limit", "score"),
    [("cost", "0.002", 1), ("cost", "0.0019", 0), ("latency", "1500", 1), ("latency", "1499", 0)],
)
def test_an_answer_may_cost_and_last_so_much(kind: str, limit: str, score: float) -> None:
    answer = GradedAnswer(text="", cost=Nano(2_000_000), latency_s=1.5)

    assert grade_assertion(Assertion(type=kind, value=Decimal(limit)), answer).score == score


@pytest.mark.parametrize("negated", [False, True])
def test_an_answer_whose_time_nobody_knows_is_not_graded(negated: bool) -> None:
    latency = Assertion(type="latency", value=Decimal(1), negated=negated, place="suite.yaml:7")

    found = grade_assertion(latency, said("x"))

    assert found.score is None
    assert found.error.startswith("suite.yaml:7: ")
    assert "nobody knows how long the answer took" in found.error


# --- tools ---------------------------------------------------------------------------------------

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "find",
            "parameters": {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}},
        },
    },
    {"type": "function", "function": {"name": "stop"}},
]
PARIS = {"name": "find", "arguments": {"city": "Paris"}}


def called(*calls: tuple[str, str]) -> GradedAnswer:
    return GradedAnswer(
        text="", tool_calls=tuple({"function": {"name": name, "arguments": text}} for name, text in calls)
    )


@pytest.mark.parametrize(
    ("wanted", "calls", "score"),
    [
        (PARIS, [("find", '{"city": "Paris"}')], 1),
        (PARIS, [("find", '{"city": "paris"}')], 0),
        (PARIS, [("seek", '{"city": "Paris"}')], 0),
        (PARIS, [("find", '{"city": "Paris", "days": 1}')], 0),
        (PARIS, [("find", "{}")], 0),
        (PARIS, [("find", "city: Paris")], 0),
        (PARIS, [("find", '{"city": "Paris"}'), ("stop", "")], 0),
        (PARIS, [], 0),
        ('{"name": "find", "arguments": {"city": "Paris"}}', [("find", '{"city": "Paris"}')], 1),
        ([], [], 1),
        ([], [("stop", "")], 0),
        ([{"name": "stop"}, PARIS], [("find", '{"city": "Paris"}'), ("stop", "")], 1),
        ([PARIS, PARIS], [("find", '{"city": "Paris"}'), ("stop", "")], 0),
        ({"name": "find", "arguments": {"n": 1, "d": 2}, "optional": ["d"]}, [("find", '{"n": 1.0}')], 1),
        ({"name": "find", "arguments": {"n": 1, "d": 2}, "optional": ["d"]}, [("find", '{"n": 1, "d": 3}')], 0),
        ({"name": "find", "accepted": {"city": ["Paris", "Paris, FR"]}}, [("find", '{"city": "Paris, FR"}')], 1),
        # Only one way round: the first wanted call takes either, the second one alone
        (
            [{"name": "f", "accepted": {"x": [1, 2]}}, {"name": "f", "arguments": {"x": 1}}],
            [("f", '{"x": 1}'), ("f", '{"x": 2}')],
            1,
        ),
    ],
)
def test_the_wanted_tools_are_called_each_once_and_no_other(
    wanted: Any, calls: list[tuple[str, str]], score: float
) -> None:
    assert grade_assertion(Assertion(type="tool-call", value=wanted), called(*calls)).score == score


@pytest.mark.parametrize(
    ("calls", "score"),
    [
        ([("find", '{"city": "Rome"}')], 1),
        ([("find", '{"city": "Rome"}'), ("stop", "")], 1),
        ([("find", '{"city": 7}')], 0),
        ([("find", "{}")], 0),
        ([("find", '{"city": "Rome"}'), ("fly", "{}")], 0),
        ([("find", "Rome")], 0),
        ([], 0),
    ],
)
def test_a_call_is_valid_where_a_tool_was_offered_and_its_arguments_fit(
    calls: list[tuple[str, str]], score: float
) -> None:
    asked = replace(item(Assertion(type="is-valid-openai-tools-call")), extras={"tools": TOOLS})

    (assertion,) = asked.assertions
    assert grade_assertion(assertion, called(*calls), asked).score == score


@pytest.mark.parametrize("raw", [{}, {"function": 7}, {"function": {"name": "find", "arguments": {"city": "Paris"}}}])
def test_a_malformed_call_is_no_call_of_the_wanted_tool(raw: dict[str, Any]) -> None:
    answer = GradedAnswer(text="", tool_calls=(raw,))

    assert grade_assertion(Assertion(type="tool-call", value=PARIS), answer).score == 0


# --- sets, breakage and patience -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("threshold", "output", "score"),
    [(1.0, "ab", 1), (1.0, "a", 0), (0.75, "a", 1), (0.75, "b", 0)],  # (3 a + 1 b) / 4
)
def test_a_set_holds_from_its_threshold_on(threshold: float, output: str, score: float) -> None:
    both = Assertion(type="assert-set", inner=(HEAVY, LIGHT), threshold=threshold)

    assert grade(item(both), output).score == score


def broken(**more: Any) -> Assertion:
    return Assertion(type="contains-all", value=7, place="suite.yaml:7", **more)


@pytest.mark.parametrize(
    "assertion", [broken(), broken(negated=True), Assertion(type="assert-set", inner=(HEAVY, broken()))]
)
async def test_a_grader_that_breaks_is_an_item_without_a_grade(assertion: Assertion) -> None:
    found = await grade_answer(item(HEAVY, assertion), said("a"), GraderTools())

    assert found.score is None
    assert "suite.yaml:7: " in found.error
    assert "the grader broke: TypeError" in found.error


async def test_a_pattern_that_backtracks_without_end_is_an_item_without_a_grade() -> None:
    endless = Assertion(type="regex", value="(a+)+$", negated=True, place="suite.yaml:7")

    found = await grade_answer(item(endless), said("a" * 60 + "b"), GraderTools(pure_s=0.05))

    assert found.score is None
    assert found.error == "suite.yaml:7: not-regex: took more than 0.05 s"


async def test_an_answer_is_graded_by_all_that_is_known_of_it() -> None:
    asked = replace(
        item(Assertion(type="tool-call", value=PARIS), Assertion(type="cost", value=Decimal("0.01"))),
        extras={"tools": TOOLS},
    )

    found = await grade_answer(asked, called(("find", '{"city": "Paris"}')), GraderTools())

    assert (found.score, found.reason, found.error) == (1, "", "")


def test_the_key_of_a_suites_graders_follows_the_types_it_uses() -> None:
    def suite(*assertions: Assertion) -> Suite:
        return Suite(name="s", task="t", bar=0.5, reference="r", candidates=("c",), items=(item(*assertions),))

    inside = suite(Assertion(type="assert-set", inner=(HEAVY, Assertion(type="latency", value=Decimal(1)))))

    assert graders_of(inside) == ("assert-set", "contains", "latency")
    assert metric_of(inside) == "accuracy, within limit"
    assert grader_key(inside) != grader_key(suite(HEAVY)) == grader_key(suite(LIGHT))
