"""Laws of the drift detector: it bears any scores, and is a fair game while the promise is kept."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.drift import MOST, Promise, Watch

scores = st.lists(st.floats(0, 1), max_size=60)
promises = st.builds(Promise, floor=st.floats(0, 1), margin=st.floats(0.001, 0.3), period=st.integers(0, 30))


def seen(promise: Promise, values: list[float]) -> Watch:
    watch = Watch(promise=promise)
    for value in values:
        watch = watch.see(value)
    return watch


@given(promises, scores)
def test_evidence_stays_finite_and_positive_whatever_is_seen(promise: Promise, values: list[float]) -> None:
    watch = seen(promise, values)

    assert 0 < watch.bound < 1
    assert 0 <= watch.level <= MOST
    assert 0 < watch.e_worse <= MOST
    assert watch.graded == len(values)


@given(promises, scores, st.floats(0, 1))
def test_a_worse_answer_never_lowers_the_evidence(promise: Promise, values: list[float], value: float) -> None:
    watch = seen(promise, values)

    assert watch.see(value / 2).level >= watch.see(value).level - 1e-6 * watch.level


@given(promises, scores)
def test_evidence_never_falls_behind_the_wealth_of_one_who_began_at_the_first_item(
    promise: Promise, values: list[float]
) -> None:
    fixed = Promise(floor=promise.floor, period=0)

    watch = seen(fixed, values)

    if values:
        assert watch.level >= watch.e_worse * (1 - 1e-9)


@pytest.mark.parametrize("floor", [0.05, 0.3, 0.5, 0.85, 0.99])
def test_at_the_bound_the_expected_evidence_is_the_number_of_items_and_the_expected_wealth_one(floor: float) -> None:
    """The mean over every sequence of six right or wrong answers, exactly: R_t - t and W_t are martingales."""
    promise = Promise(floor=floor, period=0)
    items = 6

    level = wealth = 0.0
    for values in product((0.0, 1.0), repeat=items):
        chance = floor ** sum(values) * (1 - floor) ** (items - sum(values))
        watch = seen(promise, list(values))
        level, wealth = level + chance * watch.level, wealth + chance * watch.e_worse

    assert level == pytest.approx(items)
    assert wealth == pytest.approx(1)


@pytest.mark.parametrize("above", [0.01, 0.1])
def test_above_the_bound_the_expected_evidence_is_less(above: float) -> None:
    promise = Promise(floor=0.8, period=0)

    level = 0.0
    for values in product((0.0, 1.0), repeat=8):
        right = 0.8 + above
        chance = right ** sum(values) * (1 - right) ** (8 - sum(values))
        level += chance * seen(promise, list(values)).level

    assert level < 8
