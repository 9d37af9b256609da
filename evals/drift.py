"""Drift: whether the graded answers of a tier have become worse than was promised, at whatever moment that began.

The detector is an e-process of Shiryaev-Roberts form (Shin, Ramdas and Rinaldo, E-detectors, arXiv 2203.03532). For
each bet b it keeps

    R_t = (1 + R_{t-1}) (1 + b (bound - x_t)),    R_0 = 0,

the sum, over every item s up to now, of the wealth of a gambler who began at s and bets that the mean of x in [0, 1]
lies below the bound; it raises the alarm when the mean of R over the bets reaches 1,000.

Why it holds: while E[x_t | what came before] >= bound, each factor is 1 at most in the mean, so E[R_t | before] <=
1 + R_{t-1}, that is, R_t - t is a supermartingale from 0. Stopped at the alarm T, or at n: 1000 P(T <= n) <= E[R] <=
E[min(T, n)] <= n. So a false alarm comes after 1,000 items or more in the mean, and within n items with probability
n/1000 at most; nothing is assumed of the distribution of x. A CUSUM, which restarts the gambler instead of adding up
those who began at each item, never exceeds R: it has the same bound, leaves much of it unused, and sees drift later.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import fsum, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ALARM: Final = 1000.0
"""Items in the mean, at least, until an alarm while nothing is wrong."""
LOSSES: Final = (1 / 16, 1 / 8, 1 / 4, 3 / 4)
"""The share of the bound that is lost, for which each bet is best: slow drift to collapse."""
WEIGHTS: Final = (0.32, 0.32, 0.32, 0.04)
"""They sum to 1. Chosen by simulation: a collapse shows soon even where little is staked on it."""
MOST: Final = 1e12
"""Where evidence is cut off: far beyond the alarm, far below overflow."""
NEVER_BELOW: Final = 0.05
NEVER_ABOVE: Final = 0.99
"""Bounds are kept between these: at 0 or 1 there is nothing to bet on."""
_Z: Final = 1.644854
"""Of a one-sided 95 % bound."""
_NOTHING: Final = (0.0,) * len(LOSSES)
_ONES: Final = (1.0,) * len(LOSSES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What graded answers are held to: a mean of `floor`; from `period` items on also that of these, less `margin`.

    The mean of the period counts with the lower end of its one-sided 95 % interval, for it is an estimate.
    """

    floor: float
    margin: float = 0.05
    period: int = 100

    def bound(self, graded: int, total: float) -> float:
        """The mean that is promised after `graded` items, of which those of the period scored `total` together."""
        bound = self.floor
        if graded >= self.period > 0:
            bound = max(bound, _lower(total / self.period, self.period) - self.margin)
        return min(max(bound, NEVER_BELOW), NEVER_ABOVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is known of one signal of a tier: `graded` items, `total` the sum over those of the promise's period,
    `evidence` the R of each bet since the last alarm, `wealth` that of a gambler who began at the first item and bets
    by the floor alone: it exceeds 1/a ever with probability a at most, while the mean is at the floor or above."""

    promise: Promise
    graded: int = 0
    total: float = 0.0
    evidence: tuple[float, ...] = _NOTHING
    wealth: tuple[float, ...] = _ONES

    @property
    def bound(self) -> float:
        """The mean that is promised now."""
        return self.promise.bound(self.graded, self.total)

    @property
    def level(self) -> float:
        """The evidence for drift; the alarm is at 1,000."""
        return _weighted(self.evidence)

    @property
    def alarms(self) -> bool:
        """True where it is time to act."""
        return self.level >= ALARM

    @property
    def e_worse(self) -> float:
        """The e-value for a mean below the floor since the first item."""
        return _weighted(self.wealth)

    def see(self, value: float) -> "Watch":
        """One item more, which scored `value` in [0, 1]. Raises ValueError for anything else."""
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"a graded item scores from 0 to 1, not {value}")
        factors = _factors(self.bound, value)
        staked = factors if self.bound == self.promise.bound(0, 0.0) else _factors(self.promise.bound(0, 0.0), value)
        return Watch(
            promise=self.promise,
            graded=self.graded + 1,
            total=self.total + value if self.graded < self.promise.period else self.total,
            evidence=tuple(min((1 + had) * one, MOST) for had, one in zip(self.evidence, factors, strict=True)),
            wealth=tuple(min(had * one, MOST) for had, one in zip(self.wealth, staked, strict=True)),
        )

    def begin_anew(self) -> "Watch":
        """After an alarm: the evidence is used up, what was learned stays."""
        return replace(self, evidence=_NOTHING)


def items_until_alarm(bound: float, columns: Iterable[Floats]) -> Floats:
    """For many runs at once: the item at which each raises the alarm, counted from 1; infinity where `columns` end
    before. Each column is one item of every run: scores of shape (runs,)."""
    bets, weights = np.array(LOSSES)[:, None] / (1 - bound), np.array(WEIGHTS)
    evidence: Floats = np.zeros((len(LOSSES), 1))
    found: Floats = np.full(1, np.inf)
    for item, column in enumerate(columns, start=1):
        evidence = np.minimum((1 + evidence) * (1 + bets * (bound - column)), MOST)
        found = np.where(np.isinf(found) & (weights @ evidence >= ALARM), item, found)
        if np.isfinite(found).all():
            break
    return found


def _factors(bound: float, value: float) -> tuple[float, ...]:
    """By what the wealth of each bet is multiplied. The greatest bet is 3/4 of all: no factor is below 1/4."""
    gain = (bound - value) / (1 - bound)
    return tuple(1 + loss * gain for loss in LOSSES)


def _weighted(values: tuple[float, ...]) -> float:
    return fsum(weight * value for weight, value in zip(WEIGHTS, values, strict=True))


def _lower(share: float, n: int) -> float:
    """The lower end of Wilson's one-sided 95 % interval of a share of n."""
    spread = _Z * sqrt(share * (1 - share) / n + _Z * _Z / (4 * n * n))
    return (share + _Z * _Z / (2 * n) - spread) / (1 + _Z * _Z / n)
