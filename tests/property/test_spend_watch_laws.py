"""Laws of anomaly, forecast and burn: any series is borne, and units do not matter."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.catalog import Window
from farthing.money import Nano
from finops.anomaly import Severity, judge, outlook
from finops.burn import RULES, burning
from finops.forecast import forecast

amounts = st.one_of(st.just(0), st.integers(0, 10**15))
series = st.one_of(
    st.lists(amounts, max_size=80), st.builds(lambda value, n: [value] * n, amounts, st.integers(0, 80))
).map(lambda values: [Nano(value) for value in values])
positive = st.lists(st.floats(1, 1_000), min_size=42, max_size=49).map(np.array)


@given(series)
@settings(max_examples=60)
def test_any_days_are_judged_or_not_known(days: list[Nano]) -> None:
    verdict = judge(days)

    assert verdict is None or verdict.severity in Severity
    assert verdict is None or (verdict.expected >= 0 and verdict.excess >= 0)


@given(amounts, st.integers(22, 80))
@settings(max_examples=40)
def test_a_constant_series_is_never_an_anomaly(value: int, count: int) -> None:
    verdict = judge([Nano(value)] * count)

    assert verdict is None or verdict.severity is Severity.NONE


@given(positive, st.floats(1e-6, 1e6))
@settings(max_examples=40)
def test_what_is_expected_scales_with_the_unit(days: np.ndarray, unit: float) -> None:
    for part, scaled in zip(outlook(days), outlook(days * unit), strict=True):
        assert scaled == pytest.approx(part * unit, rel=1e-6)


@given(series, amounts, st.integers(0, 31))
@settings(max_examples=60)
def test_the_interval_holds_the_forecast_and_is_never_below_what_was_spent(
    days: list[Nano], spent: int, remaining: int
) -> None:
    told = forecast(days, spent=Nano(spent), remaining=remaining)

    assert told is None or spent <= told.low <= told.expected <= told.high


@given(st.lists(st.integers(1, 10**12), min_size=7, max_size=60), st.integers(1, 31), st.integers(2, 1_000))
@settings(max_examples=40)
def test_a_forecast_scales_with_the_unit(days: list[int], remaining: int, unit: int) -> None:
    one = forecast([Nano(day) for day in days], spent=Nano(0), remaining=remaining)
    many = forecast([Nano(day * unit) for day in days], spent=Nano(0), remaining=remaining)

    assert one is not None
    assert many is not None
    for name in ("expected", "low", "high"):
        assert getattr(many, name) == pytest.approx(getattr(one, name) * unit, rel=1e-6, abs=2 * unit)


@given(st.lists(amounts, max_size=900), st.integers(0, 10**15), st.sampled_from(Window))
def test_a_larger_limit_never_burns_faster(spend: list[int], limit: int, window: Window) -> None:
    nanos = [Nano(value) for value in spend]

    tight = {burn.rule for burn in burning(nanos, limit=Nano(limit), window=window)}
    wide = {burn.rule for burn in burning(nanos, limit=Nano(limit * 2), window=window)}

    assert wide <= tight or limit == 0


@given(st.lists(amounts, max_size=100))
def test_a_rule_at_a_higher_multiple_holds_less_often(spend: list[int]) -> None:
    nanos, higher = [Nano(value) for value in spend], replace(RULES[0], burn=Fraction(30))

    fired = burning(nanos, limit=Nano(10**12), window=Window.MONTH, rules=[higher])

    assert not fired or burning(nanos, limit=Nano(10**12), window=Window.MONTH, rules=RULES[:1])
