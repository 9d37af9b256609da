"""Evidence: how often hits are wrong, estimated from the few of them that were graded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from cache.published import Interval, share_of_grades
from farthing.shares import wilson

FADES_AT: Final = 20_000
"""Requests at which all sums are halved: what was served long ago neither lends to what is served now nor takes."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one scope and its last 10,000 to 20,000 requests. `wrong_per_hit` and `wrong_per_request` are shares with
    their intervals of 95 %."""

    requests: int
    hits: int
    graded: int
    wrong_graded: int
    wrong_per_hit: Interval
    wrong_per_request: Interval


@dataclass(slots=True)
class HitEvidence:
    """Hits, and sums over those that were graded.

    Unlikely hits are graded more often than sure ones, early ones more often than late ones, so a grade weighs one over
    the share that was graded when it was given: the same estimate that is published (`cache.published`).
    """

    requests: int = 0
    hits: int = 0
    _graded: int = 0
    _wrong: int = 0
    _weight: float = 0.0
    _squares: float = 0.0
    _wrong_weight: float = 0.0

    def request(self, *, hit: bool) -> None:
        """One request came by."""
        self.requests += 1
        self.hits += hit
        if self.requests >= FADES_AT:
            self._fade()

    def graded(self, *, same: bool, weight: float) -> None:
        """One of the hits was graded, as one of so many."""
        self._graded += 1
        self._weight += weight
        self._squares += weight * weight
        if not same:
            self._wrong += 1
            self._wrong_weight += weight

    def estimate(self) -> Estimate:
        """How often hits were wrong."""
        per_hit = share_of_grades(self._weight, self._squares, self._wrong_weight)
        share = self.hits / self.requests if self.requests else 0.0
        return Estimate(self.requests, self.hits, self._graded, self._wrong, per_hit, per_hit.times(share))

    def spent(self, z: float) -> float:
        """Wrong answers per request that were served, at most: so many standard errors above the estimate. Where all
        hits were graded this is known, so sums count only as far as grades stand for more than themselves."""
        if not self._weight or not self.requests:
            return 0.0
        estimate = self._wrong_weight / self._weight
        beyond = self._squares - self._weight
        upper = wilson(estimate, self._weight**2 / beyond, z)[1] if beyond > 0 else estimate
        return upper * self.hits / self.requests

    def _fade(self) -> None:
        self.requests, self.hits = self.requests // 2, self.hits // 2
        self._graded, self._wrong = self._graded // 2, self._wrong // 2
        self._weight, self._squares, self._wrong_weight = self._weight / 2, self._squares / 2, self._wrong_weight / 2

    def state(self) -> list[float]:
        """All of it, in the order of its fields."""
        return [
            self.requests, self.hits, self._graded, self._wrong, self._weight, self._squares, self._wrong_weight,
        ]  # fmt: skip

    @classmethod
    def of_state(cls, state: Sequence[float]) -> Self:
        """That of a state; raises TypeError where it is none."""
        requests, hits, graded, wrong, *sums = state
        return cls(int(requests), int(hits), int(graded), int(wrong), *sums)
