"""The second stage of calibration: from log odds that were told to those that grades bear out."""

from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from cache.logistic import fit_logistic, sigmoid

Told = tuple[float, bool, float]
"""Log odds that were told before a grade was known, whether it was the same answer, and its weight."""
RECENT: Final = 3000
"""Grades that count: the newest."""
SECOND_STAGE_EVERY: Final = 100
_Z: Final = 2.0
"""Standard errors by which probabilities are told lower than they seem."""
_BENDS: Final = (1.0, 2.5)
"""Log odds at which the second stage may bend: what is told to be right in 73 % and 92 %."""
_SECOND_PRIOR: Final = np.array([0.0, 1.0, 0.0, 0.0])
_SECOND_PRECISION: Final = np.array([2.0, 20.0, 5.0, 5.0])
"""Of offset, slope and what each bend adds to the slope."""
_LEAST_SLOPE: Final = 0.3
"""Of the second stage: below it, p hardly tells right from wrong."""
_PER_UNIT: Final = 16
_LEAST_TOLD: Final = -9
_TOLD: Final = np.arange(_LEAST_TOLD * _PER_UNIT, 9 * _PER_UNIT + 1) / _PER_UNIT


class SecondStage:
    """Platt's scaling, with bends, of the log odds that were told before each grade, less two standard errors.

    It corrects what the first stage, fitted to all pairs, gets wrong about those near the threshold and above it, and
    what groups' own terms overdo.
    """

    def __init__(self) -> None:
        self._told: list[Told] = []
        self._number = 0
        self._set(_SECOND_PRIOR, np.diag(1 / _SECOND_PRECISION))

    @property
    def sure(self) -> bool:
        """True once it has been fitted."""
        return self._number >= SECOND_STAGE_EVERY

    @property
    def tells(self) -> bool:
        """False where likelier pairs are not right more often."""
        return bool(self._weights[1] >= _LEAST_SLOPE)

    def learn(self, told: float, same: bool, weight: float) -> None:
        """A grade of a pair of which these log odds had been told."""
        self._told.append((told, same, weight))
        if len(self._told) > RECENT + SECOND_STAGE_EVERY:
            del self._told[:SECOND_STAGE_EVERY]
        self._number += 1
        if self._number % SECOND_STAGE_EVERY == 0:
            self._fit()

    def log_odds(self, told: float) -> float:
        """Corrected, and two standard errors low; never falls where what was told rises."""
        at = (told - _LEAST_TOLD) * _PER_UNIT
        place = min(len(self._table) - 2, max(0, int(at)))
        low, high = self._table[place], self._table[place + 1]
        return low + (high - low) * min(1.0, max(0.0, at - place))

    def p(self, told: float) -> float:
        """The same as a probability."""
        return sigmoid(self.log_odds(told))

    def _fit(self) -> None:
        told, same, weights = np.array(self._told[-RECENT:], np.float64).T
        found, covariance = fit_logistic(
            _bent(told), same, weights, prior=_SECOND_PRIOR, precision=_SECOND_PRECISION, start=self._weights
        )
        self._set(found, covariance)

    def _set(self, weights: NDArray[np.float64], covariance: NDArray[np.float64]) -> None:
        self._weights, self._covariance = weights, covariance
        rows = _bent(_TOLD)
        errors = np.sqrt(np.einsum("ij,jk,ik->i", rows, covariance, rows))
        self._table: list[float] = np.maximum.accumulate(rows @ weights - _Z * errors).tolist()

    def state(self) -> list[Any]:
        """All of it but what the labels hold."""
        return [self._number, self._weights.tolist(), self._covariance.tolist()]

    @classmethod
    def of_state(cls, state: Sequence[Any], told: Sequence[Told]) -> Self:
        """That of a state, with the grades of which something had been told."""
        found = cls()
        found._number, weights, covariance = state
        found._set(np.array(weights), np.array(covariance))
        found._told = list(told)
        return found


def _bent(told: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([np.ones(len(told)), told, *(np.maximum(0, told - bend) for bend in _BENDS)])
