"""The breaker: stops on evidence, not on one wrong answer, and lets go when it would have kept the budget."""

import random

from cache.breaker import Breaker


def _fold(breaker: Breaker, grades: list[bool], *, weight: float = 1.0, hit_share: float = 1.0) -> list[bool]:
    stopped = []
    for same in grades:
        breaker.note(same=same, weight=weight, hit_share=hit_share)
        stopped.append(breaker.stopped)
    return stopped


def test_two_wrong_answers_are_no_rate() -> None:
    assert _fold(Breaker(0.01), [False] * 2) == [False] * 2


def test_three_wrong_answers_of_a_few_stop_it() -> None:
    assert _fold(Breaker(0.01), [True] * 10 + [False] * 3)[-1]


def test_three_wrong_answers_of_many_do_not() -> None:
    assert not any(_fold(Breaker(0.02), ([True] * 60 + [False]) * 3))


def test_a_small_share_of_hits_may_be_wrong_more_often() -> None:
    grades = [True] * 30 + [False] * 3

    assert _fold(Breaker(0.02), grades)[-1]
    assert not _fold(Breaker(0.02), grades, hit_share=0.1)[-1]


def test_it_goes_on_after_fifty_that_would_have_kept_the_budget() -> None:
    breaker = Breaker(0.01)
    _fold(breaker, [False] * 3)

    stopped = _fold(breaker, [True] * 50)

    assert stopped == [True] * 49 + [False]


def test_it_stays_stopped_while_every_tenth_would_be_wrong() -> None:
    breaker = Breaker(0.01)

    assert all(_fold(breaker, [False] * 3 + ([True] * 9 + [False]) * 30)[2:])


def test_a_domain_at_its_budget_is_rarely_stopped() -> None:
    dice = random.Random(7)
    ever = [
        any(_fold(Breaker(0.02), [dice.random() >= 0.016 for _ in range(200)])) for _ in range(100)
    ]  # eight tenths of the budget: what calibration aims at

    assert sum(ever) < 15


def test_a_domain_that_turns_hostile_is_stopped_within_a_few_wrong_answers() -> None:
    dice = random.Random(7)
    breaker = Breaker(0.01)
    _fold(breaker, [True] * 200)

    wrong = 0
    while not breaker.stopped:
        same = dice.random() >= 0.3
        wrong += not same
        breaker.note(same=same, weight=1.0, hit_share=1.0)

    assert wrong <= 12
