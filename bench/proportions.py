"""Intervals of measured shares, as text in percent: `94.8 [94.0, 95.6]`."""

from math import sqrt

import numpy as np
import numpy.typing as npt

_Z = 1.959964


def share_interval(found: int, tried: int) -> str:
    """A share of independent trials with Wilson's 95 % interval; empty where nothing was tried."""
    if not tried:
        return ""
    share, size = found / tried, _Z**2 / tried
    middle, half = (share + size / 2) / (1 + size), sqrt(share * (1 - share) * size + size**2 / 4) / (1 + size)
    return _text(share, middle - half, middle + half, 1)


def mean_interval(shares: npt.NDArray[np.float64]) -> str:
    """The mean of shares, one for each independent series, with its 95 % interval."""
    mean, half = float(shares.mean()), _Z * float(shares.std()) / sqrt(len(shares))
    return _text(mean, mean - half, mean + half, 3)


def _text(share: float, low: float, high: float, places: int) -> str:
    low, high = max(100 * low, 0.0), min(100 * high, 100.0)
    return f"{100 * share:.{places}f} [{low:.{places}f}, {high:.{places}f}]"
