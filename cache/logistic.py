"""Logistic regression of few columns, by damped Newton steps towards a normal prior."""

from math import exp
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_STEPS: Final = 30
_SETTLED: Final = 1e-6


def fit_logistic(
    rows: Floats, same: Floats, weights: Floats, *, prior: Floats, precision: Floats, start: Floats
) -> tuple[Floats, Floats]:
    """The most likely coefficients and their covariance (inverse of the curvature there).

    `rows` is n x k, `same` 0 or 1; the prior is normal, independent by column, with this mean and precision.
    """
    found, cost = start, _cost(rows, same, weights, prior, precision, start)
    for _ in range(_STEPS):
        slope, curvature = _derivatives(rows, same, weights, prior, precision, found)
        step = np.linalg.solve(curvature, slope)
        size, tried, lower = 1.0, found + step, _cost(rows, same, weights, prior, precision, found + step)
        while lower > cost and size > 1e-3:
            size /= 2
            tried = found + size * step
            lower = _cost(rows, same, weights, prior, precision, tried)
        gained = cost - lower
        if gained <= 0:
            break
        found, cost = tried, lower
        if gained < _SETTLED * (1 + abs(cost)):
            break
    _, curvature = _derivatives(rows, same, weights, prior, precision, found)
    return found, np.asarray(np.linalg.inv(curvature), np.float64)


def _cost(rows: Floats, same: Floats, weights: Floats, prior: Floats, precision: Floats, at: Floats) -> float:
    odds = rows @ at
    fit = weights @ (np.logaddexp(0, odds) - same * odds)
    return float(fit + 0.5 * precision @ (at - prior) ** 2)


def _derivatives(
    rows: Floats, same: Floats, weights: Floats, prior: Floats, precision: Floats, at: Floats
) -> tuple[Floats, Floats]:
    p = 1 / (1 + np.exp(-np.clip(rows @ at, -30, 30)))
    slope = rows.T @ (weights * (same - p)) - precision * (at - prior)
    curvature = (rows * (weights * p * (1 - p))[:, None]).T @ rows + np.diag(precision)
    return slope, curvature


def sigmoid(odds: float) -> float:
    """The probability of these log odds."""
    return 1 / (1 + exp(-max(-30.0, min(30.0, odds))))
