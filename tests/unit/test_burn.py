"""Burn rates of budgets over several windows."""

from fractions import Fraction

import pytest

from farthing.catalog import Window
from farthing.money import NANO_PER_USD, Nano
from finops.anomaly import Severity
from finops.burn import RULES, burn_rate, burning, is_spent

HOUR, DAY = 12, 288
"""Slots of five minutes."""


def slots(*parts: tuple[int, str]) -> list[Nano]:
    """So many slots, each of so many USD."""
    return [Nano(int(Fraction(usd) * NANO_PER_USD)) for count, usd in parts for _ in range(count)]


def found(spend: list[Nano], limit_usd: int, window: Window = Window.MONTH) -> list[Fraction]:
    return [burn.rule.burn for burn in burning(spend, limit=Nano(limit_usd * NANO_PER_USD), window=window)]


def test_a_budget_that_is_spent_to_plan_burns_at_one() -> None:
    assert burn_rate(Nano(10), 60, Nano(7_300), Window.MONTH) == 1
    assert burn_rate(Nano(100), 24 * 60, Nano(100), Window.DAY) == 1


def test_sixty_dollars_an_hour_of_a_thousand_a_month_is_a_page() -> None:
    burns = burning(slots((2 * HOUR, "5")), limit=Nano(1_000 * NANO_PER_USD), window=Window.MONTH)

    assert burns[0].burn == Fraction(438, 10)
    assert burns[0].severity is Severity.ALERT
    assert burns[0].per_day == 1_440 * NANO_PER_USD


def test_what_ended_ten_minutes_ago_no_longer_burns() -> None:
    spend = slots((2 * HOUR, "5"), (2, "0"))

    assert Fraction(146, 10) not in found(spend, 1_000)


def test_a_multiple_must_be_exceeded_not_just_reached() -> None:
    # 14.6 of 600 USD a month are 12 USD an hour: 1 USD each five minutes.
    assert Fraction(146, 10) not in found(slots((3 * DAY, "1")), 600)
    assert Fraction(146, 10) in found(slots((3 * DAY, "1.000000001")), 600)


def test_twice_the_plan_for_three_days_is_a_ticket_and_no_page() -> None:
    burns = burning(slots((3 * DAY, "0.5")), limit=Nano(2_190 * NANO_PER_USD), window=Window.MONTH)

    assert [burn.severity for burn in burns] == [Severity.TICKET]


def test_pennies_wake_nobody() -> None:
    assert found(slots((3 * DAY, "0.05")), 5) == []


def test_a_feature_of_yesterday_has_not_burnt_for_three_days() -> None:
    assert found(slots((DAY, "0.5")), 2_190) == []


def test_a_budget_of_nothing_or_of_runs_has_no_pace() -> None:
    assert found(slots((DAY, "5")), 0) == []
    assert found(slots((DAY, "5")), 1_000, Window.RUN) == []


def test_nothing_spent_burns_nothing() -> None:
    assert found([], 1_000) == []


def test_slots_must_fit_into_the_windows() -> None:
    with pytest.raises(ValueError, match="60 minutes cannot be told from slots of 7"):
        burning(slots((10, "1")), limit=Nano(1), window=Window.MONTH, step=7)


def test_hourly_slots_do_for_the_slow_rule() -> None:
    spend = slots((72, "6"))

    assert burning(spend, limit=Nano(2_190 * NANO_PER_USD), window=Window.MONTH, step=60, rules=RULES[2:])


def test_a_cap_is_reached_when_spend_and_holds_fill_it() -> None:
    assert is_spent(Nano(70), Nano(30), Nano(100))
    assert not is_spent(Nano(70), Nano(29), Nano(100))
