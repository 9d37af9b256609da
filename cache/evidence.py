"""Evidence: how often hits are wrong, estimated from the few of them that were graded."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final, Self

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
    has hits: sum W_h p_h. Early hits are graded more often than later ones, so within a stratum a grade weighs one over
    the share that was graded when it was given. The interval is Wilson's, for the number of trials that a simple sample
    would need to be as sure.
    """

    def __init__(self) -> None:
        self.requests = 0
        self._hits = [0] * len(BOUNDS)
        self._strata = [_Stratum() for _ in BOUNDS]

    def request(self, p: float, *, hit: bool) -> None:
        """One request came by; `p` is the probability of its best candidate."""
        self.requests += 1
        if hit:
            self._hits[_stratum(p)] += 1

    def graded(self, p: float, *, same: bool, weight: float) -> None:
        """One of the hits was graded, as one of so many."""
        self._strata[_stratum(p)].add(same, weight)

    def estimate(self) -> Estimate:
        """What all hits so far are worth."""
        hits = sum(self._hits)
        per_hit = self._per_hit()
        share = hits / self.requests if self.requests else 0.0
        per_request = Interval(per_hit.estimate * share, per_hit.low * share, per_hit.high * share)
        graded, wrong = (sum(number) for number in zip(*((one.graded, one.wrong) for one in self._strata), strict=True))
        return Estimate(self.requests, hits, graded, wrong, per_hit, per_request)

    def _per_hit(self) -> Interval:
        # A stratum of which nothing was graded says nothing; the others stand for it.
        strata = [
            (hits, stratum) for hits, stratum in zip(self._hits, self._strata, strict=True) if hits and stratum.graded
        ]
        hits = sum(hits for hits, _ in strata)
        if not hits:
            return Interval(0.0, 0.0, 1.0)
        share = sum(number * stratum.share for number, stratum in strata) / hits
        low, high = wilson(share, _trials([(number / hits, stratum) for number, stratum in strata]))
        return Interval(share, low, high)

    def state(self) -> list[Any]:
        """All of it."""
        return [self.requests, self._hits, [one.state() for one in self._strata]]

    @classmethod
    def of_state(cls, state: Sequence[Any]) -> Self:
        """That of a state; raises ValueError where it is of other strata."""
        found = cls()
        found.requests, hits, strata = state
        if len(hits) != len(BOUNDS) or len(strata) != len(BOUNDS):
            raise ValueError("evidence of other strata")
        found._hits, found._strata = list(hits), [_Stratum(*one) for one in strata]
        return found


@dataclass(slots=True)
class _Stratum:
    """Grades of hits of about one probability: their number, and sums of their weights."""

    graded: int = 0
    wrong: int = 0
    weight: float = 0.0
    wrong_weight: float = 0.0
    squares: float = 0.0

    def add(self, same: bool, weight: float) -> None:
        """One grade."""
        self.graded += 1
        self.weight += weight
        self.squares += weight * weight
        if not same:
            self.wrong += 1
            self.wrong_weight += weight

    @property
    def share(self) -> float:
        """Of wrong ones."""
        return self.wrong_weight / self.weight

    @property
    def trials(self) -> float:
        """Equally weighted grades that would be as sure."""
        return self.weight**2 / self.squares

    def state(self) -> list[float]:
        """All of it, in the order of its fields."""
        return [self.graded, self.wrong, self.weight, self.wrong_weight, self.squares]


def _stratum(p: float) -> int:
    return next(at for at, bound in enumerate(BOUNDS) if p < bound)


def _trials(strata: Sequence[tuple[float, _Stratum]]) -> float:
    """Of a simple sample with the same variance. Shares are smoothed by half a wrong one: none seen is not none."""
    smoothed = [(weight, (one.share * one.trials + 0.5) / (one.trials + 1), one.trials) for weight, one in strata]
    share = sum(weight * p for weight, p, _ in smoothed)
    variance = sum(weight * weight * p * (1 - p) / trials for weight, p, trials in smoothed)
    return share * (1 - share) / variance
