"""Month ends of made-up features, forecast on several days: how far off, and how often within the interval."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from bench.anomaly_days import KINDS, series
from bench.proportions import share_interval
from finops.anomaly import Floats
from finops.forecast import LEVEL, ahead, spread

SERIES: Final = 400
ORIGINS: Final = ((20, 20), (35, 20), (56, 25), (70, 20), (70, 10), (70, 3))
"""Days that were seen, days that remain."""
Row = Mapping[str, Any]
NOTE: Final = f"""{SERIES} months of each kind of series, seeds that nothing was chosen on. `error` is the mean of
|forecast/actual - 1| of the days that remain; `pinball` the mean loss of the interval's two ends, as a share of the
actual (lower is better); `within` the share of months within the interval, which promises {LEVEL:.0%}. Seasonal naive
says that each day costs what it cost a week before; its interval is made as ours is."""


def naive(days: Floats, count: int) -> Floats:
    """Each day costs what it cost a week before, or what the last such day did."""
    return np.resize(days[-7:], count)


FORECASTS: Final[Mapping[str, Callable[[Floats, int], Floats]]] = {"ours": ahead, "seasonal naive": naive}


def month_figures(count: int = SERIES) -> list[Row]:
    """A row for each kind of series, day of forecast and forecaster."""
    rows: list[Row] = []
    for kind in KINDS:
        for seen, remaining in ORIGINS:
            days = series(kind, 1_000 + seen, count, seen + remaining)
            rows += [_row(kind, name, days, seen) for name in FORECASTS]
    return rows


def _row(kind: str, name: str, days: Floats, seen: int) -> Row:
    tell, remaining = FORECASTS[name], days.shape[1] - seen
    actual = days[:, seen:].sum(axis=1)
    told = np.array([tell(past, remaining).sum() for past in days[:, :seen]]) / actual
    half = told * np.array([spread(past, remaining, tell) for past in days[:, :seen]])
    within = np.abs(told - 1) <= half
    return {
        "series": kind,
        "days seen": seen,
        "days ahead": remaining,
        "forecast": name,
        "error, %": round(100 * float(np.abs(told - 1).mean()), 2),
        "pinball, %": round(100 * float((_pinball(told - half, 0.1) + _pinball(told + half, 0.9)).mean() / 2), 2),
        "within, %": share_interval(int(within.sum()), within.size),
        "half width, %": round(100 * float(half.mean()), 1),
    }


def _pinball(told: Floats, quantile: float) -> Floats:
    short = 1 - told
    return np.asarray(np.maximum(quantile * short, (quantile - 1) * short))
