"""What makes the gate sound: no bet has an advantage under the hypothesis that it is against."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.betting import Side, Wealth
from evals.gate import Gate, Rule, Trials, judge
from farthing.routing import Verdict

BOUNDS = st.floats(0.05, 0.95)
SCORES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=60)


def every_outcome(values: tuple[float, ...], items: int) -> np.ndarray:
    """Shape (sequences, items)."""
    return np.array(list(product(values, repeat=items)))


@given(bar=st.floats(0.1, 0.9), items=st.integers(2, 9), candidates=st.integers(1, 5))
def test_at_the_bar_the_mean_wealth_over_all_outcomes_is_one_and_the_bound_on_promotions_holds(
    bar: float, items: int, candidates: int
) -> None:
    outcomes = every_outcome((0.0, 1.0), items)
    chances = np.prod(np.where(outcomes == 1, bar, 1 - bar), axis=1)
    trials = Trials(Rule(items=items, bar=bar, candidates=candidates, items_min=1), rows=len(outcomes))
    ever = np.zeros(len(outcomes), dtype=bool)

    for item in range(items):
        trials.see(outcomes[:, item])
        ever |= trials.standings().promoted

    assert float(chances @ np.exp(trials.standings().log_for)) == pytest.approx(1.0)
    assert float(chances @ ever) <= 0.05 / candidates + 1e-12


@given(
    margin=st.floats(0.01, 0.5),
    ties=st.floats(0, 1),
    items=st.integers(2, 6),
)
def test_a_candidate_that_is_worse_by_the_margin_gains_nothing_by_its_ties(
    margin: float, ties: float, items: int
) -> None:
    # Wins and losses share what the ties leave, with a difference of exactly -margin.
    rest = margin + (1 - margin) * (1 - ties)
    chance = {1.0: (rest - margin) / 2, 0.0: (rest + margin) / 2, 0.5: 1 - rest}
    outcomes = every_outcome((0.0, 0.5, 1.0), items)
    chances = np.prod(np.vectorize(chance.__getitem__)(outcomes), axis=1)
    trials = Trials(Rule(items=items, margin=margin, items_min=1), rows=len(outcomes))

    for item in range(items):
        trials.see(2 * outcomes[:, item] - 1, np.zeros(len(outcomes)))

    assert float(chances @ np.exp(trials.standings().log_for)) == pytest.approx(1.0)


@given(values=SCORES, bound=BOUNDS, side=st.sampled_from(list(Side)), seed=st.randoms(use_true_random=False))
def test_wealth_does_not_depend_on_the_order_of_the_items(
    values: list[float], bound: float, side: Side, seed: object
) -> None:
    shuffled = list(values)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = Wealth(bound, side), Wealth(bound, side)

    for one, other in zip(values, shuffled, strict=True):
        first.see(np.array([one]))
        second.see(np.array([other]))

    assert float(first.log()[0]) == pytest.approx(float(second.log()[0]), abs=1e-9)


@given(scores=SCORES, references=SCORES, margin=st.floats(0.01, 0.4), bar=st.floats(0.1, 0.9))
def test_a_test_that_goes_on_after_an_interruption_stands_where_it_would_have_stood(
    scores: list[float], references: list[float], margin: float, bar: float
) -> None:
    pairs = list(zip(scores, references, strict=False))
    rule = Rule(items=len(pairs), margin=margin, bar=bar, items_min=5)
    resumed = Gate(rule)
    for pair in pairs:
        if resumed.is_decided:
            break
        resumed.see(*pair)

    assert resumed.evidence() == judge(rule, pairs)


@given(wins=st.integers(0, 80), margin=st.floats(0.02, 0.3), candidates=st.integers(1, 4), more=st.integers(1, 4))
def test_more_candidates_never_make_a_promotion_easier(wins: int, margin: float, candidates: int, more: int) -> None:
    pairs = [(1.0, 0.0)] * wins + [(1.0, 1.0)] * (80 - wins)

    few = judge(Rule(items=80, margin=margin, candidates=candidates), pairs)
    many = judge(Rule(items=80, margin=margin, candidates=candidates + more), pairs)

    assert few.verdict is Verdict.PASS or many.verdict is not Verdict.PASS
