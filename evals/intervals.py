"""Intervals: what is known of a mean in [0, 1] from what was seen, valid whenever one looks."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from evals.betting import NEVER_ALL, STRATEGIES, Floats

LEVEL: Final = 0.95
STEPS: Final = 500
"""Means that are tried: the interval's ends are as exact as that."""


def confidence_sequence(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """The means that neither gambler of `evals.betting.Wealth` has become rich against, (0, 1) for no values.

    With probability `level` at least the true mean is never outside, after however many values one looks: each side is
    a test at half of the error (arXiv 2010.09686).
    """
    if not values:
        return 0.0, 1.0
    seen, times = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    counts = times.astype(np.float64)
    bounds = (np.arange(STEPS) + 0.5) / STEPS
    limit = np.log(2 / (1 - level))
    above = _log_wealth(seen, counts, bounds, bounds) < limit
    below = _log_wealth(1 - seen, counts, 1 - bounds, 1 - bounds) < limit
    kept = np.flatnonzero(above & below)
    if not len(kept):
        centre = float(np.average(seen, weights=counts))
        return centre, centre
    half = 0.5 / STEPS
    return max(0.0, float(bounds[kept[0]]) - half), min(1.0, float(bounds[kept[-1]]) + half)


def _log_wealth(seen: Floats, counts: Floats, bounds: Floats, stakes: Floats) -> Floats:
    """Of the gambler who bets on a mean above each of the bounds."""
    bets = np.multiply.outer(NEVER_ALL / stakes, np.arange(1, STRATEGIES + 1) / STRATEGIES)
    logs = sum(count * np.log1p(bets * (value - bounds)[:, None]) for value, count in zip(seen, counts, strict=True))
    top = logs.max(axis=1)
    return np.asarray(top + np.log(np.exp(logs - top[:, None]).mean(axis=1)))
