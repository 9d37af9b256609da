"""Betting: the wealth of a gambler who bets, item by item, that a mean in [0, 1] lies on one side of a bound.

Under the hypothesis that he bets against, his wealth is a non-negative supermartingale that begins at 1, so by Ville's
inequality it ever reaches 1/a with probability a at most: one may look after every item (arXiv 2010.09686).
"""

from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

STRATEGIES: Final = 20
NEVER_ALL: Final = 0.95
"""The greatest share of his wealth that a strategy can lose on one item: whoever bets all of it may never return."""


class Side(IntEnum):
    """What is bet on: that the mean is above the bound, or below it."""

    ABOVE = 1
    BELOW = -1


class Wealth:
    """The wealth of `rows` independent gamblers, each a mean of 20 strategies that bet g/20 of the most, g = 1..20.

    It does not depend on the order of the items. `bound` lies strictly between 0 and 1.
    """

    def __init__(self, bound: float, side: Side, rows: int = 1) -> None:
        most = NEVER_ALL / (bound if side is Side.ABOVE else 1 - bound)
        self._bets: Floats = side * most * np.arange(1, STRATEGIES + 1) / STRATEGIES
        self._bound = bound
        self._logs: Floats = np.zeros((rows, STRATEGIES))

    def see(self, values: Floats, rows: slice | npt.NDArray[np.intp] = slice(None)) -> None:
        """One item more: `values` in [0, 1], one for each of the rows."""
        self._logs[rows] += np.log1p(np.multiply.outer(values - self._bound, self._bets))

    @property
    def log(self) -> Floats:
        """The natural logarithm of the wealth, shape (rows,)."""
        top = self._logs.max(axis=1)
        shares = np.exp(self._logs - top[:, None])
        return np.asarray(top + np.log(shares.mean(axis=1)))
