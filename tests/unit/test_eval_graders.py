"""Every grader, as a table of outputs and what they are worth."""

from decimal import Decimal
from typing import Any

import pytest

from evals.graders import TEXT_MAX, final_number, first_label, grade, grade_assertion, schema_fault
from evals.suite import Assertion, Item

SCHEMA = {"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}}}
LABELS = ("positive", "negative", "not positive")


@pytest.mark.parametrize(
    ("kind", "value", "output", "score"),
    [
        ("equals", "billing", " billing\n", 1),
        ("equals", "billing", "Billing", 0),
        ("equals", 7, "7", 1),
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
    assert grade_assertion(Assertion(type=kind, value=value), output).score == score


@pytest.mark.parametrize(
    ("kind", "value", "output"),
    [("contains", "sorry", "Done."), ("is-json", None, "text"), ("regex", "^I cannot", "Sure")],
)
def test_not_turns_an_assertion_round(kind: str, value: Any, output: str) -> None:
    plain, negated = (Assertion(type=kind, value=value, negated=negated) for negated in (False, True))

    assert grade_assertion(plain, output).score == 0
    assert grade_assertion(negated, output).score == 1


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

    assert grade_assertion(assertion, output).score == score


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

    assert grade_assertion(near, "3.15").score == 1
    assert grade_assertion(near, "3.16").score == 0


def test_a_threshold_accepts_a_share_of_what_must_be_contained() -> None:
    half = Assertion(type="contains-all", value=["a", "b"], threshold=0.5)

    assert grade_assertion(half, "a").score == 1
    assert grade_assertion(half, "c").score == 0


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

    assert grade_assertion(dangling, "1").score == 0
