"""The gate: the wealth of both gamblers, and what follows from it."""

import numpy as np
import pytest

from evals.betting import Side, Wealth
from evals.gate import Gate, Rule, judge
from evals.sizes import least_items, refusal
from farthing.routing import Verdict

TIE, WIN, LOSS = 0.5, 1.0, 0.0


def test_the_wealth_on_seven_items_is_that_of_the_worked_example() -> None:
    above, below = Wealth(0.475, Side.ABOVE), Wealth(0.475, Side.BELOW)
    seen = []

    for value in (TIE, WIN, TIE, WIN, LOSS, TIE, WIN):
        above.see(np.array([value]))
        below.see(np.array([value]))
        seen.append((float(np.exp(above.log[0])), float(np.exp(below.log[0]))))

    ups, downs = zip(*seen, strict=True)
    assert ups == pytest.approx((1.0262, 1.5963, 1.6430, 2.6592, 1.0411, 1.0652, 1.5874), abs=1e-4)
    assert downs == pytest.approx((0.9762, 0.4929, 0.4848, 0.3180, 0.3942, 0.3888, 0.2766), abs=1e-4)


@pytest.mark.parametrize(
    ("candidates", "margins", "bars"),
    [
        (1, [228, 151, 90], [21, 28, 44, 90, 228]),
        (2, [272, 180, 107], [25, 34, 52, 107, 272]),
        (4, [314, 209, 124], [28, 39, 60, 124, 314]),
    ],
)
def test_a_faultless_candidate_needs_as_many_items_as_the_table_of_sizes_says(
    candidates: int, margins: list[int], bars: list[int]
) -> None:
    by_margin = [least_items(Rule(items=400, margin=margin, candidates=candidates)) for margin in (0.02, 0.03, 0.05)]
    by_bar = [least_items(Rule(items=400, bar=bar, candidates=candidates)) for bar in (0.8, 0.85, 0.9, 0.95, 0.98)]

    assert (by_margin, by_bar) == (margins, bars)


def test_a_suite_that_is_too_small_is_refused_with_the_size_that_it_needs() -> None:
    assert refusal(Rule(items=89, margin=0.05)).endswith("with 1 candidates takes 90")
    assert refusal(Rule(items=90, margin=0.05)) == ""
    assert refusal(Rule(items=10**6, bar=1.0)).startswith("no suite of up to 20,000 items can show a bar of 1")


def test_straight_wins_promote_and_straight_losses_fail_at_the_twentieth_item_and_not_before() -> None:
    rule = Rule(items=100, margin=0.05)

    wins, losses = judge(rule, [(1.0, 0.0)] * 100), judge(rule, [(0.0, 1.0)] * 100)

    assert (wins.verdict, wins.items) == (Verdict.PASS, 20)
    assert (losses.verdict, losses.items) == (Verdict.FAIL, 20)


def test_a_candidate_must_show_margin_and_bar_where_both_are_given() -> None:
    rule = Rule(items=200, margin=0.05, bar=0.9)
    both_right = [(1.0, 1.0)] * 200
    both_wrong_at_times = [(0.0, 0.0), (1.0, 1.0), (1.0, 1.0)] * 66

    assert judge(rule, both_right).verdict is Verdict.PASS
    assert judge(rule, both_wrong_at_times).verdict is Verdict.FAIL
    assert judge(Rule(items=200, margin=0.05), both_wrong_at_times).verdict is Verdict.PASS


def test_a_rule_without_bar_and_margin_and_a_margin_without_a_reference_are_refused() -> None:
    with pytest.raises(ValueError, match="a bar, a margin or both"):
        Gate(Rule(items=20))
    with pytest.raises(ValueError, match="needs the reference's score"):
        Gate(Rule(items=20, margin=0.05)).see(1.0)
