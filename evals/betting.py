"""Betting: the wealth of a gambler who bets, item by item, that a mean in [0, 1] lies on one side of a bound.

Under the hypothesis that he bets against, his wealth is a non-negative supermartingale that begins at 1, so by Ville's
inequality it ever reaches 1/a with probability a at most: one may look after every item (arXiv 2010.09686).
"""

from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rows = slice | npt.NDArray[np.intp]
ALL_ROWS: Final = slice(None)

STRATEGIES: Final = 20
NEVER_ALL: Final = 0.95
"""The greatest share of his wealth that a gambler stakes on one item: whoever stakes all of it may never return."""
PRIOR_ITEMS: Final = 10
"""Items as which the variance at the bound counts, until there is enough to be seen of the true one."""
LOG_MOST: Final = 700.0
"""Logarithms are cut off here: e to more than that is no float."""


class Side(IntEnum):
    """What is bet on: that the mean is above the bound, or below it."""

    ABOVE = 1
    BELOW = -1


class Wealth:
    """The wealth of `rows` independent gamblers, each a mean of 20 strategies that bet g/20 of the most, g = 1..20.

    It does not depend on the order of the items, nor on how many there will be. `bound` lies strictly between 0 and 1.
    """

    def __init__(self, bound: float, side: Side, rows: int = 1) -> None:
        most = NEVER_ALL / (bound if side is Side.ABOVE else 1 - bound)
        self._bets: Floats = side * most * np.arange(1, STRATEGIES + 1) / STRATEGIES
        self._bound = bound
        self._logs: Floats = np.zeros((rows, STRATEGIES))

    def see(self, values: Floats, rows: Rows = ALL_ROWS) -> None:
        """One item more: `values` in [0, 1], one for each of the rows."""
        self._logs[rows] += np.log1p(np.multiply.outer(values - self._bound, self._bets))

    def log(self, rows: Rows = ALL_ROWS) -> Floats:
        """The natural logarithm of the wealth, one for each of the rows."""
        logs = self._logs[rows]
        top = logs.max(axis=1)
        return np.asarray(top + np.log(np.exp(logs - top[:, None]).mean(axis=1)))


class TargetWealth:
    """The wealth of `rows` gamblers who bet on a mean above `bound`, and know how many items there are at most.

    Each stake is the one that is likeliest to bring what is missing, with the items that are left: sqrt(2 log(missing)
    / (items left * variance)), as in STaR-Bets (arXiv 2505.22422). It is settled before the item is seen, so this is a
    supermartingale like the other one.
    """

    def __init__(self, bound: float, items: int, rows: int = 1) -> None:
        self._bound, self._items = bound, items
        self._most = NEVER_ALL / bound
        self._logs: Floats = np.zeros(rows)
        self._sums: Floats = np.zeros(rows)
        self._squares: Floats = np.full(rows, PRIOR_ITEMS * bound * (1 - bound))
        self.seen = 0

    def see(self, values: Floats, log_targets: Floats, rows: Rows = ALL_ROWS) -> None:
        """One item more for these rows, whose wealth is to reach exp(`log_targets`)."""
        left = max(1, self._items - self.seen)
        missing = np.maximum(log_targets - self._logs[rows], 0)
        stakes = np.minimum(np.sqrt(2 * missing / (left * self._variance(rows))), self._most)
        gains = values - self._bound
        self._logs[rows] += np.log1p(stakes * gains)
        self._sums[rows] += gains
        self._squares[rows] += gains * gains
        self.seen += 1

    def log(self, rows: Rows = ALL_ROWS) -> Floats:
        """The natural logarithm of the wealth, one for each of the rows."""
        return self._logs[rows]

    def chance(self, log_missing: Floats, optimism: float, rows: Rows = ALL_ROWS) -> Floats:
        """About how likely it is that wealth grows by exp(`log_missing`) until the last item, if the true mean is
        `optimism` standard errors better than what was seen: the normal distribution at
        sqrt(left) * (mean - bound) / deviation - sqrt(2 log(missing))."""
        left = max(0, self._items - self.seen)
        deviation = np.sqrt(self._variance(rows))
        mean = self._sums[rows] / max(1, self.seen) + optimism * deviation / np.sqrt(max(1, self.seen))
        return normal(np.sqrt(left) * mean / deviation - np.sqrt(2 * np.maximum(log_missing, 0)))

    def _variance(self, rows: Rows) -> Floats:
        return np.asarray(self._squares[rows] / (self.seen + PRIOR_ITEMS))


def normal(z: Floats) -> Floats:
    """The standard normal distribution function, to about 1e-5 (Abramowitz and Stegun 26.2.16)."""
    t = 1 / (1 + 0.33267 * np.abs(z))
    tail = np.exp(-z * z / 2) / np.sqrt(2 * np.pi) * t * (0.4361836 + t * (-0.1201676 + t * 0.9372980))
    return np.asarray(np.where(z > 0, 1 - tail, tail))


def e_value(log_wealth: Floats) -> Floats:
    """The wealth itself, cut off where it would be no float."""
    return np.exp(np.minimum(log_wealth, LOG_MOST))
