"""Whether the answers of a run say anything about the model at all."""

import pytest

from evals.report import ItemOutcome
from evals.suite import Assertion, Item
from evals.verdicts import broken, flaw_of, mean_score, monotonous

LABEL = Assertion(type="label", value="yes", labels=("yes", "no"))
TEXT = Assertion(type="contains", value="yes")
JSON = Assertion(type="is-json")
CALL = Assertion(type="tool-call", value={"name": "f"})


def items(count: int, check: Assertion = TEXT) -> list[Item]:
    return [
        Item(
            messages=({"role": "user", "content": f"q{number}"},),
            assertions=(check,),
            max_tokens=8,
            temperature=0,
        )
        for number in range(count)
    ]


def outcomes(asked: list[Item], outputs: str, flaw: str = "") -> list[ItemOutcome]:
    """One letter an item stands for its output, a dot for one with the flaw."""
    return [
        ItemOutcome(
            item_hash=item.hash,
            tier="tiny",
            score=1.0,
            output_sha256=letter.replace(".", ""),
            flaw=flaw if letter == "." else "",
        )
        for item, letter in zip(asked, outputs, strict=True)
    ]


@pytest.mark.parametrize(
    ("outputs", "flaw", "found"),
    [
        ("..cdefghij", "empty", ""),  # 2 of 10 are a fifth
        ("...defghij", "empty", "invalid: 3 of 10 outputs are empty"),
        ("...defghij", "unparseable", "invalid: 3 of 10 outputs are not the JSON that was asked for"),
        ("...defghij", "uncalled", "invalid: 3 of 10 outputs are without the call of a tool that was asked for"),
        ("", "empty", ""),
    ],
)
def test_more_than_a_fifth_of_flawed_outputs_says_nothing_about_the_model(outputs: str, flaw: str, found: str) -> None:
    asked = items(len(outputs))

    assert broken(outcomes(asked, outputs, flaw)) == found


@pytest.mark.parametrize(
    ("outputs", "check", "found"),
    [
        ("aaaaabcdef", TEXT, ""),  # 5 of 10 are half
        ("aaaaaabcde", TEXT, "invalid: one output answers 60% of the prompts"),
        ("aaaaaaaaab", LABEL, ""),  # labels repeat by nature
    ],
)
def test_one_text_for_most_prompts_voids_a_pass(outputs: str, check: Assertion, found: str) -> None:
    asked = items(len(outputs), check)

    assert monotonous(asked, outcomes(asked, outputs)) == found


def test_the_same_text_to_the_same_prompt_is_no_constant_answer() -> None:
    one = items(1)[0]

    assert monotonous([one], outcomes([one] * 4, "aaaa")) == ""


@pytest.mark.parametrize(
    ("check", "text", "calls", "flaw"),
    [
        (TEXT, "hello", (), ""),
        (TEXT, " \n", (), "empty"),
        (TEXT, "", ({"function": {"name": "f"}},), ""),  # a call of a tool is an answer
        (JSON, "{}", (), ""),
        (JSON, "certainly: {}", (), "unparseable"),
        (Assertion(type="is-json", negated=True), "certainly", (), ""),
        (Assertion(type="assert-set", inner=(JSON,)), "certainly", (), "unparseable"),
        (CALL, "I would call f.", (), "uncalled"),
        (CALL, "", ({"function": {"name": "g"}},), ""),
        (Assertion(type="is-valid-openai-tools-call"), "certainly", (), "uncalled"),
        (Assertion(type="tool-call", value=[]), "certainly", (), ""),
        (Assertion(type="tool-call", value="[]"), "certainly", (), ""),
        (Assertion(type="tool-call", value={"name": "f"}, negated=True), "certainly", (), ""),
    ],
)
def test_an_answer_may_be_none_at_all(check: Assertion, text: str, calls: tuple[object, ...], flaw: str) -> None:
    assert flaw_of(items(1, check)[0], text, calls) == flaw


def test_the_mean_is_that_of_the_graded_items() -> None:
    graded = [ItemOutcome(item_hash="i", tier="t", score=score) for score in (1.0, 0.0, 1.0, None)]

    assert mean_score(graded) == pytest.approx(2 / 3)
    assert mean_score([]) == 0.0
