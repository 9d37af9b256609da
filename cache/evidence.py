"""Evidence: how often hits are wrong, estimated from the few of them that were graded."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, Self

from cache.published import Interval, wilson

BOUNDS: Final = (0.8, 0.9, 0.95, 0.98, 0.99, inf)
"""Upper ends of the strata, by the probability that was given to a hit."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one scope. `wrong_per_hit` and `wrong_per_request` are shares with their intervals of 95 %."""

    requests: int
    hits: int
    graded: int
    wrong_graded: int
    wrong_per_hit: Interval
    wrong_per_request: Interval


class HitEvidence:
    """Hits by stratum, those that were graded and those that were wrong.

    Unlikely hits are graded more often than sure ones, so a stratum's share of wrong ones counts as much as the stratum
    has hits: sum W_h w_h/n_h. The interval is Wilson's, for the number of trials that a simple sample would need to be
    as sure.
    """

    def __init__(self) -> None:
        self.requests = 0
        self._hits = [0] * len(BOUNDS)
        self._graded = [0] * len(BOUNDS)
        self._wrong = [0] * len(BOUNDS)

    def request(self, p: float, *, hit: bool) -> None:
        """One request came by; `p` is the probability of its best candidate."""
        self.requests += 1
        if hit:
            self._hits[_stratum(p)] += 1

    def graded(self, p: float, *, same: bool) -> None:
        """One of the hits was graded."""
        at = _stratum(p)
        self._graded[at] += 1
        self._wrong[at] += not same

    def estimate(self) -> Estimate:
        """What all hits so far are worth."""
        hits, graded, wrong = sum(self._hits), sum(self._graded), sum(self._wrong)
        per_hit = self._per_hit()
        share = hits / self.requests if self.requests else 0.0
        per_request = Interval(per_hit.estimate * share, per_hit.low * share, per_hit.high * share)
        return Estimate(self.requests, hits, graded, wrong, per_hit, per_request)

    def _per_hit(self) -> Interval:
        # A stratum of which nothing was graded says nothing; the others stand for it.
        strata = [row for row in zip(self._hits, self._graded, self._wrong, strict=True) if row[0] and row[1]]
        hits = sum(row[0] for row in strata)
        if not hits:
            return Interval(0.0, 0.0, 1.0)
        share = sum(in_all * wrong / graded for in_all, graded, wrong in strata) / hits
        low, high = wilson(share, _trials(strata, hits))
        return Interval(share, low, high)

    def state(self) -> list[list[int]]:
        """All of it."""
        return [[self.requests], self._hits, self._graded, self._wrong]

    @classmethod
    def of_state(cls, state: Sequence[Sequence[int]]) -> Self:
        """That of a state; raises ValueError where it is of other strata."""
        found = cls()
        (found.requests,), *counts = state
        found._hits, found._graded, found._wrong = (list(map(int, row)) for row in counts)
        if any(len(row) != len(BOUNDS) for row in counts):
            raise ValueError("evidence of other strata")
        return found


def _stratum(p: float) -> int:
    return next(at for at, bound in enumerate(BOUNDS) if p < bound)


def _trials(strata: Sequence[tuple[int, int, int]], hits: int) -> float:
    """Of a simple sample with the same variance. Shares are smoothed by half a wrong one: none seen is not none."""
    smoothed = [(in_all / hits, (wrong + 0.5) / (graded + 1), graded) for in_all, graded, wrong in strata]
    share = sum(weight * p for weight, p, _ in smoothed)
    variance = sum(weight * weight * p * (1 - p) / graded for weight, p, graded in smoothed)
    return share * (1 - share) / variance
