"""The breaker: stops a domain of the semantic cache while its hits are wrong more often than its budget allows."""

from collections import deque
from typing import Final

from farthing.shares import wilson

RECENT: Final = 200
"""Graded hits that count; older ones were given under another calibration."""
_LEAST_WRONG: Final = 3
"""One wrong answer is no rate, and two may be chance."""
_Z: Final = 2.0
"""By simulation a domain that is wrong as often as calibration aims at is stopped within 400 graded hits in one of
eight cases, one that turns hostile (30 % wrong) after 200 right ones within eight wrong answers."""
_PROBATION: Final = 50
"""Answers that would have been served, and are graded, before a stopped domain goes on."""


class Breaker:
    """Folds graded hits, in order, into whether the domain may serve.

    It stops where even the lower bound of wrong answers per request lies above `max_wrong`. While it is stopped every
    hit it would have given goes upstream and is graded all the same: once enough of those would have kept the budget,
    it goes on. Wrong answers per request are those per hit times `hit_share`, the share of requests that are hits.
    """

    def __init__(self, max_wrong: float) -> None:
        self._max_wrong = max_wrong
        self._recent: deque[tuple[bool, float]] = deque(maxlen=RECENT)
        self.stopped = False

    def note(self, *, same: bool, weight: float, hit_share: float) -> None:
        """A hit, or what would have been one, was graded; `weight` is one over the share that is."""
        self._recent.append((same, weight))
        if self.stopped:
            self._go_on(hit_share)
        elif self._is_over(hit_share):
            self.stopped = True
            self._recent.clear()

    def _is_over(self, hit_share: float) -> bool:
        if sum(not same for same, _ in self._recent) < _LEAST_WRONG:
            return False
        share, number = self._wrong()
        return wilson(share, number, _Z)[0] * hit_share > self._max_wrong

    def _go_on(self, hit_share: float) -> None:
        share, _ = self._wrong()
        if len(self._recent) >= _PROBATION and share * hit_share <= self._max_wrong:
            self.stopped = False
            self._recent.clear()

    def _wrong(self) -> tuple[float, float]:
        """The weighted share of wrong ones, and how many trials it is worth."""
        weight = sum(weight for _, weight in self._recent)
        squares = sum(weight * weight for _, weight in self._recent)
        return sum(weight for same, weight in self._recent if not same) / weight, weight * weight / squares
