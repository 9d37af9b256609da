"""The gate: the wealth of its gamblers, and what follows from it."""

import numpy as np
import pytest

from evals.betting import Side, TargetWealth, Wealth, normal
from evals.gate import Gate, Rule, judge
from evals.intervals import confidence_sequence
from evals.sizes import can_promote, least_items, refusal
from farthing.routing import Verdict

TIE, WIN, LOSS = 0.5, 1.0, 0.0


def test_the_wealth_on_seven_items_is_that_of_the_worked_example() -> None:
    above, below = Wealth(0.475, Side.ABOVE), Wealth(0.475, Side.BELOW)
    seen = []

    for value in (TIE, WIN, TIE, WIN, LOSS, TIE, WIN):
        above.see(np.array([value]))
        below.see(np.array([value]))
        seen.append((float(np.exp(above.log()[0])), float(np.exp(below.log()[0]))))

    ups, downs = zip(*seen, strict=True)
    assert ups == pytest.approx((1.0262, 1.5963, 1.6430, 2.6592, 1.0411, 1.0652, 1.5874), abs=1e-4)
    assert downs == pytest.approx((0.9762, 0.4929, 0.4848, 0.3180, 0.3942, 0.3888, 0.2766), abs=1e-4)


def test_who_aims_at_a_target_stakes_what_can_still_reach_it() -> None:
    calm, pressed = TargetWealth(0.5, items=100), TargetWealth(0.5, items=10)
    target = np.log([20.0])

    calm.see(np.array([WIN]), target)
    pressed.see(np.array([WIN]), target)

    # sqrt(2 log 20 / (100 * 0.25)) = 0.4896, times a gain of 0.5; with 10 items the stake is sqrt(10) times as much.
    assert float(np.exp(calm.log()[0])) == pytest.approx(1.2448, abs=1e-4)
    assert float(np.exp(pressed.log()[0])) == pytest.approx(1.7740, abs=1e-4)


@pytest.mark.parametrize(
    ("candidates", "margins", "bars"),
    [
        (1, [230, 151, 89], [20, 21, 32, 65, 164]),
        (2, [267, 176, 104], [20, 25, 39, 79, 201]),
        (4, [305, 201, 118], [22, 30, 46, 94, 237]),
    ],
)
def test_the_smallest_suites_that_can_promote_are_those_of_the_documentation(
    candidates: int, margins: list[int], bars: list[int]
) -> None:
    by_margin = [least_items(Rule(items=400, margin=margin, candidates=candidates)) for margin in (0.02, 0.03, 0.05)]
    by_bar = [least_items(Rule(items=400, bar=bar, candidates=candidates)) for bar in (0.8, 0.85, 0.9, 0.95, 0.98)]

    assert (by_margin, by_bar) == (margins, bars)


def test_a_suite_that_is_too_small_is_refused_with_the_size_that_it_needs() -> None:
    assert refusal(Rule(items=88, margin=0.05)).endswith("with 1 candidates takes 89")
    assert refusal(Rule(items=89, margin=0.05)) == ""
    assert refusal(Rule(items=10**6, bar=1.0)).startswith("no suite of up to 5,000 items can show a bar of 1")
    assert not can_promote(Rule(items=19, bar=0.5))


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
    assert judge(rule, both_wrong_at_times).verdict is not Verdict.PASS
    assert judge(Rule(items=198, margin=0.05), both_wrong_at_times).verdict is Verdict.PASS


def test_a_candidate_that_has_become_unlikely_to_pass_is_given_up_undecided_unless_the_rule_wants_to_know() -> None:
    slightly_worse = [(float(number % 5 != 0), float(number % 10 != 0)) for number in range(400)]

    given_up = judge(Rule(items=400, margin=0.03), slightly_worse)
    to_the_end = judge(Rule(items=400, margin=0.03, gives_up=False), slightly_worse)

    assert (given_up.verdict, given_up.is_hopeless) == (Verdict.UNDECIDED, True)
    assert (
        given_up.reason == f"undecided: given up after {given_up.items} of 400 items, a promotion has become unlikely"
    )
    assert (to_the_end.verdict, to_the_end.is_hopeless) == (Verdict.FAIL, False)
    assert given_up.items < to_the_end.items


def test_evidence_carries_score_and_difference_with_intervals_that_hold_them() -> None:
    found = judge(Rule(items=60, margin=0.05), [(1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)] * 5)

    assert (found.score, found.difference) == (0.75, 0.0)
    assert found.low < 0.75 < found.high
    assert found.difference_low < 0.0 < found.difference_high


def test_more_of_the_same_makes_an_interval_narrower_and_nothing_at_all_leaves_it_open() -> None:
    few, many = confidence_sequence([1.0] * 21 + [0.0] * 3), confidence_sequence([1.0] * 875 + [0.0] * 125)

    assert few == (0.596, 0.992)
    assert many[1] - many[0] < (few[1] - few[0]) / 4
    assert confidence_sequence([]) == (0.0, 1.0)


def test_a_rule_without_bar_and_margin_and_a_margin_without_a_reference_are_refused() -> None:
    with pytest.raises(ValueError, match="a bar, a margin or both"):
        Gate(Rule(items=20))
    with pytest.raises(ValueError, match="needs the reference's score"):
        Gate(Rule(items=20, margin=0.05)).see(1.0)


def test_the_normal_distribution_is_that_of_the_tables() -> None:
    assert normal(np.array([-1.959964, 0.0, 1.644854])) == pytest.approx([0.025, 0.5, 0.95], abs=2e-5)


def test_the_pace_of_a_test_is_that_of_its_evidence() -> None:
    gate = Gate(Rule(items=60, margin=0.05, candidates=2))
    for number in range(30):
        gate.see(float(number % 7 > 0), 1.0)

    found = gate.evidence()

    assert gate.pace == (30, found.e_value, 40.0)
