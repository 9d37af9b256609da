"""The forecast of a month's end."""

import numpy as np
import pytest

from farthing.money import Nano
from finops.forecast import ahead, forecast, spread

WEEK = [100, 100, 100, 100, 100, 40, 30]


def nanos(*days: int) -> list[Nano]:
    return [Nano(day) for day in days]


def test_a_steady_week_goes_on_as_it_was() -> None:
    told = forecast(nanos(*(WEEK * 6)), spent=Nano(1_000), remaining=10)

    assert told is not None
    assert told.expected == 1_000 + sum(WEEK) + sum(WEEK[:3])


def test_a_doubled_level_is_carried_on() -> None:
    days = np.array(WEEK * 4 + [day * 2 for day in WEEK * 2], dtype=float)

    assert ahead(days, 7).sum() == pytest.approx(2 * sum(WEEK), rel=0.25)


def test_growth_is_carried_on_and_dampened() -> None:
    days = np.array([day * 1.05**week for week in range(6) for day in WEEK])

    weeks = ahead(days, 28).reshape(4, 7).sum(axis=1) / sum(WEEK)

    assert 1.05**5 < weeks[0] < weeks[1] < weeks[2] < 1.05**9


def test_one_dear_day_is_no_level() -> None:
    days = np.array(WEEK * 6, dtype=float)
    days[-3] *= 50

    assert ahead(days, 7).sum() < 1.15 * sum(WEEK)


def test_a_noisier_past_makes_a_wider_interval() -> None:
    calm, wild = (np.array(WEEK * 8) * (1 + size * np.sin(np.arange(56.0) ** 2)) for size in (0.05, 0.4))

    assert spread(calm, 14) < spread(wild, 14)


def test_further_ahead_than_was_ever_tried_the_interval_is_wider() -> None:
    days = np.array(WEEK * 3) * (1 + 0.1 * np.sin(np.arange(21.0) ** 2))

    assert spread(days, 28) > 1.1 * spread(days, 7)


def test_a_week_is_the_least() -> None:
    assert forecast(nanos(*[0] * 30, *WEEK[:6]), spent=Nano(5), remaining=3) is None
    assert forecast(nanos(*[0] * 30, *WEEK), spent=Nano(5), remaining=3) is not None


def test_on_the_last_day_the_forecast_is_what_was_spent() -> None:
    told = forecast(nanos(*(WEEK * 4)), spent=Nano(777), remaining=0)

    assert told is not None
    assert (told.low, told.expected, told.high) == (777, 777, 777)


def test_a_budget_is_exceeded_as_expected_or_surely() -> None:
    told = forecast(nanos(*(WEEK * 6)), spent=Nano(1_000), remaining=7)

    assert told is not None
    assert told.exceeds(Nano(told.expected - 1))
    assert not told.exceeds(told.expected)
    assert not told.surely_exceeds(Nano(told.expected - 1))
    assert told.surely_exceeds(Nano(told.low - 1))
