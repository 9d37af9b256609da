"""Forecast: what will have been spent when the month is over, with an interval.

The remaining days are expected to cost the median of their weekday in the last six weeks, times the level and growth
of recent weeks. The interval comes from the same forecast made on earlier days, for as many days ahead as were known
since: the spread of what it missed, which holds noise, growth that changed and levels that moved. Money is integer
nano-dollars at the edges.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from farthing.money import Nano
from finops.anomaly import SIGMA_OF_MAD, WEEKS, Floats, since_first, slope

LEAST_DAYS: Final = 7
"""With fewer there is no forecast."""
LEVEL: Final = 0.8
"""Share of months that end within the interval."""
ORIGINS: Final = 28
"""Earlier days on which the forecast is tried, at most."""
DAMPING: Final = 0.6
"""Each further week is expected to have so much of the growth of the week before."""
MOST_GROWTH: Final = 0.15
Z: Final = 1.2816
"""Sigmas of LEVEL where errors are normal."""
WIDENING: Final = 1.1
"""Earlier days overlap, so what they missed is less than what will be missed; by simulation."""
LEAST_SPREAD: Final = 0.02
UNTRIED: Final = 0.4
"""Sigma, as a share, of a forecast that could not be tried on earlier days."""
BEYOND: Final = 0.25
"""The power by which the interval grows where less far ahead was tried than is told: levels move meanwhile."""
LAST_WEEK: Final = 0.65
"""Weight of the last week in the level; the week before has the rest."""
MOST_OF_A_DAY: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Nano-dollars at the end of the month, `spent` so far included."""

    spent: Nano
    expected: Nano
    low: Nano
    high: Nano

    def exceeds(self, limit: Nano) -> bool:
        """Whether the month is expected to end above the limit."""
        return self.expected > limit

    def surely_exceeds(self, limit: Nano) -> bool:
        """Whether even the lower end of the interval lies above it."""
        return self.low > limit


def forecast(days: Sequence[Nano], *, spent: Nano, remaining: int) -> Forecast | None:
    """The month's end from whole days (oldest first, the latest is yesterday or today's end), what of them and since
    was `spent` this month, and how many whole days remain. None with less than a week of days."""
    values = since_first(np.asarray(days, dtype=np.float64))
    if len(values) < LEAST_DAYS:
        return None
    middle = float(ahead(values, remaining).sum())
    half = middle * spread(values, remaining)
    return Forecast(
        spent=spent,
        expected=Nano(spent + round(middle)),
        low=Nano(spent + round(max(middle - half, 0.0))),
        high=Nano(spent + round(middle + half)),
    )


def ahead(days: Floats, count: int) -> Floats:
    """What is expected of each of the next `count` days; `days` holds a week at least."""
    weeks = min(len(days) // 7, WEEKS)
    table = days[-weeks * 7 :].reshape(weeks, 7)
    usual = np.median(table, axis=0)
    levels = _levels(table, usual)
    level = LAST_WEEK * levels[-1] + (1 - LAST_WEEK) * levels[-2] if weeks > 1 else 1.0
    # That level was there so many weeks before the middle of the next one.
    before, later = 2 - LAST_WEEK, np.arange(count) // 7
    grown = np.exp(_growth(levels) * (before + DAMPING * (1 - DAMPING**later) / (1 - DAMPING)))
    return np.asarray(np.resize(usual, count) * level * grown) if count else np.zeros(0)


def spread(days: Floats, count: int, tell: Callable[[Floats, int], Floats] = ahead) -> float:
    """Half of the interval for the sum of the next `count` days as `tell` tells it, as a share of it."""
    if not count:
        return 0.0
    tried = _tried(len(days), count)
    errors = [_missed(days, origin, count, tell) for origin in _origins(len(days), tried)]
    scale = SIGMA_OF_MAD * float(np.median(np.abs(errors))) if errors else UNTRIED
    return Z * WIDENING * max(scale, LEAST_SPREAD) * float((count / tried) ** BEYOND)


def _levels(table: Floats, usual: Floats) -> Floats:
    """Each week over what is usual. A day counts as twice its week's median at most: one day is no level."""
    ratios = np.where(usual > 0, table / np.where(usual > 0, usual, 1.0), 1.0)
    kept = np.minimum(ratios, MOST_OF_A_DAY * np.median(ratios, axis=1, keepdims=True))
    return np.asarray((kept * usual).sum(axis=1) / max(float(usual.sum()), 1e-9))


def _growth(levels: Floats) -> float:
    """The growth of a week, as a logarithm, where nearly all pairs of weeks agree on its sign; else 0."""
    if len(levels) < 4 or not (levels > 0).all():
        return 0.0
    logs = np.log(levels)
    first, second = np.triu_indices(len(logs), 1)
    agree = abs(float(np.sign(logs[second] - logs[first]).mean()))
    return float(np.clip(slope(logs), -MOST_GROWTH, MOST_GROWTH)) if agree >= 0.8 else 0.0


def _tried(length: int, count: int) -> int:
    """The days ahead for which the forecast can be tried on earlier days."""
    return min(count, max((length - _least(length)) // 2, 1))


def _least(length: int) -> int:
    """The days that it is to have seen then."""
    return min(3 * 7, length // 2)


def _origins(length: int, tried: int) -> range:
    last = length - tried
    return range(max(last - ORIGINS + 1, _least(length), LEAST_DAYS), last + 1)


def _missed(days: Floats, origin: int, count: int, tell: Callable[[Floats, int], Floats]) -> float:
    known = days[origin : origin + count]
    told = float(tell(days[:origin], len(known)).sum())
    return float(known.sum()) / told - 1 if told > 0 else 1.0
