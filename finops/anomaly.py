"""Anomalies: whether a feature spends more than it used to on this day of the week, at this hour.

What is expected is the median of the same weekday (or hour of the week) in the six weeks before, times the level of
the last fourteen days. How much it may differ is 1.4826 times the median absolute deviation of the hour's relative
residuals, each against the median of the other weeks, and taken over all weekdays: six values alone would tell little
of their spread. Values are floats of any unit inside, nano-dollars at the edges; series run along the last axis, so
that many are judged at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from farthing.money import NANO_PER_USD, Nano

Floats = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]

WEEKS: Final = 6
LEAST_WEEKS: Final = 3
"""With fewer there is no verdict."""
RECENT_DAYS: Final = 14
LEVELS: Final = (0.5, 2.0)
"""The level that recent days can lend to what is expected."""
MOST_GROWTH: Final = 0.1
"""The growth of a week, up or down, that is carried on; a logarithm."""
SIGMA_OF_MAD: Final = 1.4826
LEAST_SPREAD: Final = 0.10
"""Sigma is at least this share of what is expected."""
LEAST_SHARE: Final = 0.05
"""Residuals are told as shares of what is expected, or of so much of a usual value where that is more: at night
nothing may be expected."""
ALLOWANCE: Final = 1.5
"""Sigmas of each day that are not counted: what is beyond them adds up (a CUSUM), what falls short is taken off."""
ALERT_SUM: Final = {1: 2.75, 24: 6.0}
"""The sum that is an alert, by values a day: hours of one day err together, and there are more of them."""
JUDGED: Final = 7
"""So many values are added up."""
ALONE_Z: Final = 8.0
"""Below it one value alone is no alert, however high."""
TICKET_Z: Final = 4.0
"""One day beyond this is a ticket."""
LEAST_EXCESS: Final = Nano(25 * NANO_PER_USD)
LEAST_EXCESS_SHARE: Final = 0.20
"""Nothing is said of less than this a day, nor of less than this share of what was expected."""


class Severity(StrEnum):
    """How much is to be made of it."""

    NONE = "none"
    TICKET = "ticket"
    """One day that stands out."""
    ALERT = "alert"
    """Several do, or one by far."""


class Moved(StrEnum):
    """What made the spend higher."""

    VOLUME = "volume"
    COST_PER_REQUEST = "cost per request"
    BOTH = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is to be said of the last day of a series: nano-dollars, `z` in sigmas."""

    severity: Severity
    actual: Nano
    expected: Nano
    z: float

    @property
    def excess(self) -> Nano:
        """What was spent beyond what was expected; never negative."""
        return Nano(max(self.actual - self.expected, 0))


def judge(spend: Sequence[Nano], per_day: int = 1) -> Verdict | None:
    """The verdict on the last of these days, or with `per_day` 24 of these hours (oldest first, none left out).

    None before there are three weeks and one value: those before the feature's first spend do not count.
    """
    values = since_first(np.asarray(spend, dtype=np.float64))
    judged = min(JUDGED, len(values) - 7 * per_day * LEAST_WEEKS)
    if judged < 1:
        return None
    expected, sigma = outlooks(values, judged, per_day)
    found = scores(values[-judged:], expected, sigma, LEAST_EXCESS / per_day)
    return Verdict(
        severity=_severity(found, per_day),
        actual=Nano(int(spend[-1])),
        expected=Nano(round(float(expected[-1]))),
        z=float(found[-1]),
    )


def outlooks(values: Floats, last: int, per_day: int = 1) -> tuple[Floats, Floats]:
    """What was expected of each of the `last` values, and its sigma, both (..., last), each from what came before it.

    `values` is (..., n) with `per_day` values a day; each judged one needs three weeks before it.
    """
    pairs = [outlook(values[..., : values.shape[-1] - back], per_day) for back in range(last, 0, -1)]
    return np.stack([pair[0] for pair in pairs], axis=-1), np.stack([pair[1] for pair in pairs], axis=-1)


def outlook(past: Floats, per_day: int = 1) -> tuple[Floats, Floats]:
    """What is expected of the value that follows `past` (..., n), and its sigma."""
    weeks = min(WEEKS, past.shape[-1] // (7 * per_day))
    if weeks < LEAST_WEEKS:
        raise ValueError(f"an outlook needs {LEAST_WEEKS} weeks of values, not {past.shape[-1] / per_day / 7:.1f}")
    # The first slot of a week that ends now is the one that the next value will have.
    table = past[..., -weeks * 7 * per_day :].reshape(*past.shape[:-1], weeks, 7, per_day)
    usual = np.median(table, axis=-3)
    level, weekly = _level(table, usual)
    expected = usual[..., 0, 0] * level
    floor = LEAST_SHARE * usual.mean(axis=(-2, -1))
    # Growth is not spread.
    steady = table[..., 0] * np.exp(-weekly[..., None] * np.arange(1 - weeks, 1))[..., None]
    spread = _spread(steady, floor[..., None])
    return expected, np.maximum(spread, LEAST_SPREAD) * np.maximum(expected, floor)


def scores(values: Floats, expected: Floats, sigma: Floats, least_excess: float = float(LEAST_EXCESS)) -> Floats:
    """How many sigmas each value lies above what was expected of it; 0 where too little money is at stake."""
    excess = values - expected
    matters = excess >= np.maximum(least_excess, LEAST_EXCESS_SHARE * expected)
    certain = np.where(sigma > 0, sigma, 1.0)
    return np.where(matters, np.where(sigma > 0, excess / certain, np.inf), np.minimum(excess / certain, 0.0))


def alerts(found: Floats, per_day: int = 1) -> Truths:
    """Whether the last of some scores (..., n) is an alert."""
    limit = ALERT_SUM[per_day]
    total = np.zeros(found.shape[:-1])
    for score in np.moveaxis(found[..., -JUDGED:], -1, 0):
        counted = np.minimum(score, np.where(score >= ALONE_Z, np.inf, np.nextafter(ALLOWANCE + limit, 0)))
        total = np.maximum(total + counted - ALLOWANCE, 0.0)
    return np.asarray((total >= limit) & (found[..., -1] > 0))


def what_moved(cost_ratio: float, requests_ratio: float) -> Moved:
    """What made the cost `cost_ratio` times as high while there were `requests_ratio` times as many requests: the one
    that explains three quarters of it, on a scale of logarithms."""
    if cost_ratio <= 1 or requests_ratio <= 0:
        return Moved.BOTH
    share = float(np.log(requests_ratio) / np.log(cost_ratio))
    return Moved.VOLUME if share > 0.75 else Moved.COST_PER_REQUEST if share < 0.25 else Moved.BOTH


def _severity(found: Floats, per_day: int) -> Severity:
    if bool(alerts(found, per_day)):
        return Severity.ALERT
    return Severity.TICKET if found[-1] >= TICKET_Z else Severity.NONE


def _level(table: Floats, usual: Floats) -> tuple[Floats, Floats]:
    """The median of recent days over what is usual on their weekday, carried on for the week that the middle of these
    days lies back; and the growth of a week that it is carried on by, as a logarithm."""
    weeks, days = table.shape[-3], table.sum(axis=-1)
    usual_days = usual.sum(axis=-1)[..., None, :]
    ratios = np.where(usual_days > 0, days / np.where(usual_days > 0, usual_days, 1.0), 1.0)
    recent = ratios.reshape(*ratios.shape[:-2], weeks * 7)[..., -RECENT_DAYS:]
    weekly = np.clip(slope(np.log(np.maximum(np.median(ratios, axis=-1), 1e-9))), -MOST_GROWTH, MOST_GROWTH)
    return np.clip(np.median(recent, axis=-1) * np.exp(weekly), *LEVELS), weekly


def slope(values: Floats) -> Floats:
    """The median of the slopes between any two of the values along the last axis (Theil and Sen)."""
    first, second = np.triu_indices(values.shape[-1], 1)
    return np.asarray(np.median((values[..., second] - values[..., first]) / (second - first), axis=-1))


def _spread(table: Floats, floor: Floats) -> Floats:
    """The relative spread of values (..., weeks, 7) about the medians of the other weeks."""
    weeks = table.shape[-2]
    others = [np.median(np.delete(table, week, axis=-2), axis=-2) for week in range(weeks)]
    residuals = []
    for week, other in enumerate(others):
        base = np.maximum(other, floor)
        residuals.append(np.abs(table[..., week, :] - other) / np.where(base > 0, base, 1.0))
    return SIGMA_OF_MAD * np.median(np.concatenate(residuals, axis=-1), axis=-1)


def since_first(days: Floats) -> Floats:
    """From the first value that is not 0 on: before it there was no such feature."""
    spent = np.flatnonzero(days)
    return days[spent[0] :] if len(spent) else days
