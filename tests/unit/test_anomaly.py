"""Anomalies: what is expected of a day, when it stands out, and what moved."""

import numpy as np
import pytest

from farthing.money import NANO_PER_USD, Nano
from finops.anomaly import Moved, Severity, judge, outlook, what_moved

WEEK = [230, 240, 240, 230, 220, 130, 110]
WOBBLE = [0, 6, -6, 12, -12, 3, -3, 9]


def usd(*amounts: float) -> list[Nano]:
    return [Nano(int(amount * NANO_PER_USD)) for amount in amounts]


def weeks(count: int) -> list[float]:
    return [day + WOBBLE[(3 * index) % 8] for index, day in enumerate(WEEK * count)]


def test_a_day_is_expected_to_cost_the_median_of_its_weekday() -> None:
    expected, _ = outlook(np.array(WEEK * 6, dtype=float))

    assert expected == pytest.approx(WEEK[0])


def test_a_level_that_rose_two_weeks_ago_is_what_is_expected() -> None:
    past = np.array(WEEK * 4 + [day * 1.4 for day in WEEK * 2], dtype=float)

    expected, _ = outlook(past)

    assert 1.35 * WEEK[0] < expected < 1.6 * WEEK[0]


def test_an_hour_is_compared_with_the_same_hour_of_the_week() -> None:
    hours = np.array(([1.0] * 20 + [9.0] * 4) * 7 * 6)

    night, _ = outlook(hours, per_day=24)
    evening, _ = outlook(np.concatenate([hours, hours[:20]]), per_day=24)

    assert (float(night), float(evening)) == pytest.approx((1.0, 9.0))


def test_an_ordinary_day_is_no_anomaly() -> None:
    verdict = judge(usd(*weeks(7), 235))

    assert verdict is not None
    assert verdict.severity is Severity.NONE
    assert abs(verdict.expected - 230 * NANO_PER_USD) < 12 * NANO_PER_USD


def test_ten_times_as_much_is_an_alert_on_the_first_day() -> None:
    verdict = judge(usd(*weeks(7), 2300))

    assert verdict is not None
    assert verdict.severity is Severity.ALERT
    assert verdict.excess == verdict.actual - verdict.expected


def test_sixty_percent_more_is_a_ticket_at_first_and_an_alert_on_the_second_day() -> None:
    days = weeks(7)

    first, second = judge(usd(*days, 230 * 1.6)), judge(usd(*days, 230 * 1.6, 240 * 1.6))

    assert (first and first.severity, second and second.severity) == (Severity.TICKET, Severity.ALERT)


def test_a_day_after_the_change_ended_is_no_alert() -> None:
    verdict = judge(usd(*weeks(7), 230 * 1.6, 240 * 1.6, 240))

    assert verdict is not None
    assert verdict.severity is Severity.NONE


def test_ten_times_of_pennies_is_nothing() -> None:
    verdict = judge(usd(*(day / 1000 for day in weeks(7)), 2.3))

    assert verdict is not None
    assert verdict.severity is Severity.NONE


def test_less_than_three_weeks_of_a_feature_get_no_verdict() -> None:
    assert judge(usd(*[0] * 40, *weeks(3))) is None
    assert judge(usd(*[0] * 40, *weeks(3), 230)) is not None


def test_a_weekday_with_a_weekly_job_is_expected_to_have_it() -> None:
    week = [*WEEK[:6], 900]

    verdict = judge(usd(*(week * 8)))

    assert verdict is not None
    assert verdict.severity is Severity.NONE


@pytest.mark.parametrize(
    ("cost", "requests", "moved"),
    [
        (3.0, 3.0, Moved.VOLUME),
        (3.0, 1.0, Moved.COST_PER_REQUEST),
        (4.0, 2.0, Moved.BOTH),
        (0.5, 0.5, Moved.BOTH),
        (3.0, 0.0, Moved.BOTH),
    ],
)
def test_it_is_said_whether_volume_or_the_cost_of_a_request_moved(cost: float, requests: float, moved: Moved) -> None:
    assert what_moved(cost, requests) is moved
