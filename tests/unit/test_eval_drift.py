"""The drift detector: when it speaks, when it does not, and what it keeps."""

from itertools import pairwise

import numpy as np
import pytest

from evals.drift import ALARM, LOSSES, WEIGHTS, Promise, Watch, items_until_alarm

BAR = Promise(floor=0.85, period=0)


def seen(watch: Watch, values: str) -> Watch:
    for value in values:
        watch = watch.see(float(value))
    return watch


def test_the_evidence_on_three_items_is_that_of_the_formula() -> None:
    watch = seen(Watch(promise=BAR), "010")

    bets = [loss / 0.15 for loss in LOSSES]
    first = [1 + bet * 0.85 for bet in bets]
    second = [(1 + had) * (1 - bet * 0.15) for had, bet in zip(first, bets, strict=True)]
    third = [(1 + had) * (1 + bet * 0.85) for had, bet in zip(second, bets, strict=True)]
    assert watch.evidence == pytest.approx(third)
    assert watch.level == pytest.approx(np.dot(WEIGHTS, third))


def test_answers_that_are_all_wrong_raise_the_alarm_within_ten_items() -> None:
    watch = Watch(promise=BAR)
    while not watch.alarms:
        watch = watch.see(0.0)

    assert watch.graded <= 10


def test_answers_that_are_all_right_never_raise_it() -> None:
    assert not seen(Watch(promise=BAR), "1" * 5_000).alarms


def test_after_an_alarm_the_evidence_is_used_up_and_what_was_learned_stays() -> None:
    alarmed = seen(Watch(promise=Promise(floor=0.5, period=3)), "111" + "0" * 40)

    anew = alarmed.begin_anew()

    assert alarmed.alarms
    assert (anew.level, anew.graded, anew.bound) == (0.0, alarmed.graded, alarmed.bound)


def test_once_its_period_is_over_a_tier_is_held_to_what_it_has_shown() -> None:
    watch = Watch(promise=Promise(floor=0.5, margin=0.05, period=100))

    after = seen(watch, ("1" * 19 + "0") * 5)

    assert seen(watch, "1" * 99).bound == 0.5
    assert after.bound == pytest.approx(0.9008 - 0.05, abs=1e-4)  # Wilson's lower 95 % end of 95 of 100


def test_a_bad_period_does_not_lower_what_was_promised() -> None:
    assert seen(Watch(promise=Promise(floor=0.8, period=10)), "01" * 5).bound == 0.8


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
def test_what_is_no_score_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        Watch(promise=BAR).see(value)


def test_many_runs_at_once_say_the_same_as_one_by_one() -> None:
    dice = np.random.default_rng(1)
    scores = (dice.random((20, 400)) < 0.7).astype(float)

    together = items_until_alarm(0.85, iter(scores.T))

    for run, item in zip(scores, together, strict=True):
        watch = Watch(promise=BAR)
        while not watch.alarms and watch.graded < 400:
            watch = watch.see(float(run[watch.graded]))
        assert item == (watch.graded if watch.alarms else np.inf)


def test_a_tier_exactly_at_its_bar_raises_a_false_alarm_after_more_than_a_thousand_items_in_the_mean() -> None:
    dice = np.random.default_rng(2)

    items = items_until_alarm(0.85, ((dice.random(400) < 0.85).astype(float) for _ in range(20_000)))

    mean, error = items.mean(), items.std() / 20
    assert mean - 2 * error > ALARM
    shares = [(items <= n).mean() for n in (50, 100, 200, 400)]
    assert all(share <= n / ALARM for share, n in zip(shares, (50, 100, 200, 400), strict=True))
    assert all(earlier <= later for earlier, later in pairwise(shares))
