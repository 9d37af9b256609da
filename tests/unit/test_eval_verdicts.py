"""The rule of the verdicts, and the interval that is reported beside them."""

import pytest

from evals.report import ItemOutcome
from evals.suite import Assertion, Item
from evals.verdicts import decide, wilson
from farthing.routing import Verdict

LABEL = Assertion(type="label", value="yes", labels=("yes", "no"))
TEXT = Assertion(type="contains", value="yes")


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


def outcomes(asked: list[Item], scores: list[float | None], outputs: str = "") -> list[ItemOutcome]:
    """`outputs`: one letter an item stands for its output, a dot for an empty one; by default all differ."""
    texts = [letter.replace(".", "") for letter in outputs] or [f"o{number}" for number in range(len(asked))]
    return [
        ItemOutcome(
            item_hash=item.hash,
            tier="tiny",
            score=score,
            output_sha256=text,
            error="" if score is not None else "timeout",
        )
        for item, score, text in zip(asked, scores, texts, strict=False)
    ]


@pytest.mark.parametrize(
    ("right", "of", "bar", "verdict", "reason"),
    [
        (17, 20, 0.85, Verdict.PASS, "scored 0.850 of the bar of 0.850"),  # 17/20 is the bar exactly
        (16, 20, 0.85, Verdict.FAIL, "scored 0.800, below the bar of 0.850"),
        (6, 10, 0.6, Verdict.PASS, "scored 0.600 of the bar of 0.600"),
        (9, 9, 0.6, Verdict.UNDECIDED, "9 items are too few: a verdict needs 10"),
        (0, 0, 0.6, Verdict.UNDECIDED, "0 items are too few: a verdict needs 10"),
    ],
)
def test_the_mean_score_of_enough_items_must_reach_the_bar(
    right: int, of: int, bar: float, verdict: Verdict, reason: str
) -> None:
    asked = items(of)

    decision = decide(asked, outcomes(asked, [1.0] * right + [0.0] * (of - right)), bar=bar)

    assert (decision.verdict, decision.reason) == (verdict, reason)


def test_a_run_that_lacks_an_item_is_undecided_and_says_what_went_wrong() -> None:
    asked = items(12)

    decision = decide(asked, outcomes(asked, [1.0] * 10 + [None]), bar=0.5)

    assert decision.verdict is Verdict.UNDECIDED
    assert decision.reason == "only 10 of 12 items were answered (1 times timeout)"
    assert decision.score == 1.0


def test_many_empty_outputs_make_a_run_invalid_rather_than_failed() -> None:
    asked = items(10)

    three_empty = decide(asked, outcomes(asked, [0.0] * 10, "...abcdefg"), bar=0.5)
    two_empty = decide(asked, outcomes(asked, [0.0] * 10, "..abcdefgh"), bar=0.5)

    assert (three_empty.verdict, three_empty.reason) == (
        Verdict.UNDECIDED,
        "invalid: 3 of 10 outputs are empty",
    )
    assert two_empty.verdict is Verdict.FAIL


def test_one_text_for_most_prompts_is_no_pass_but_can_be_a_failure() -> None:
    asked = items(10)

    void = decide(asked, outcomes(asked, [1.0] * 10, "aaaaaabcde"), bar=0.5)
    failed = decide(asked, outcomes(asked, [0.0] * 10, "aaaaaaaaaa"), bar=0.5)
    half = decide(asked, outcomes(asked, [1.0] * 10, "aaaaabcdef"), bar=0.5)

    assert (void.verdict, void.reason) == (
        Verdict.UNDECIDED,
        "invalid: one output answers 60% of the prompts",
    )
    assert failed.verdict is Verdict.FAIL
    assert half.verdict is Verdict.PASS


def test_labels_may_repeat() -> None:
    asked = items(10, LABEL)

    assert decide(asked, outcomes(asked, [1.0] * 10, "a" * 10), bar=0.9).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [
        # Reference values of Wilson's score interval, 95%, no continuity correction.
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (21, 24, 0.6900, 0.9566),
        (10, 10, 0.7225, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_the_interval_is_wilsons(right: int, of: int, low: float, high: float) -> None:
    found = wilson(right / of if of else 0.0, of)

    assert found == pytest.approx((low, high), abs=5e-5)
