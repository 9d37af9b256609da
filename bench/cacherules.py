"""Rules of semantic caches to compare: one threshold for all, a threshold an entry (vCache), and Farthing's own."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.cachestreams import Near
from cache.calibration import Calibration, Candidate

Right = Callable[[Near], bool]


@dataclass(frozen=True, slots=True)
class StaticRule:
    """The nearest entry at or above a cosine; with guards, the nearest that no guard objects to."""

    threshold: float
    guards: bool

    def serve(self, asked: int, near: Sequence[Near], right: Right) -> Near | None:
        """See the port."""
        return next(
            (one for one in near if one.cosine >= self.threshold and not (self.guards and one.score is None)), None
        )


@dataclass(frozen=True, slots=True)
class CertainRule:
    """What Farthing does before there is evidence: a fixed high score of the verifier."""

    certain: float

    def serve(self, asked: int, near: Sequence[Near], right: Right) -> Near | None:
        """See the port."""
        best = max((one for one in near if one.score is not None), key=lambda one: one.score or 0.0, default=None)
        return best if best is not None and (best.score or 0.0) >= self.certain else None


class CalibratedRule:
    """Farthing's: `cache.calibration`, with misses and a share of hits graded at once and without error."""

    def __init__(self, max_wrong: float, seed: int, *, certain: float | None = None) -> None:
        self.calibration = Calibration(max_wrong)
        self._dice = random.Random(seed)
        self._certain = None if certain is None else CertainRule(certain)

    def serve(self, asked: int, near: Sequence[Near], right: Right) -> Near | None:
        """See the port."""
        places = {one.entry: one for one in near if one.score is not None}
        candidates = [Candidate(one.entry, one.cosine, one.score) for one in near if one.score is not None]
        tau = self.calibration.tau
        choice = self.calibration.choose(candidates)
        if choice is None:
            self.calibration.note_request(0.0, hit=False)
            return None
        if tau is None and self._certain is not None:
            served = self._certain.serve(asked, near, right)
        else:
            served = places[choice.entry] if tau is not None and choice.p >= tau else None
        self.calibration.note_request(choice.p, hit=served is not None)
        if served is not None:
            self._shadow(candidates, served, choice.p if tau is not None else 0.0, right)
        elif choice.evidence.cosine > 0.5 or choice.evidence.score > 0.2:
            same = right(places[choice.entry])
            self.calibration.learn(choice.entry, choice.evidence, same, kept=asked)
        return served

    def _shadow(self, candidates: Sequence[Candidate], served: Near, p: float, right: Right) -> None:
        share = self.calibration.grading_share(p)
        if self._dice.random() < share:
            candidate = next(one for one in candidates if one.entry == served.entry)
            evidence = self.calibration.weigh(candidate, candidates)
            self.calibration.learn(served.entry, evidence, right(served), 1 / share, served=True)


# --- vCache ----------------------------------------------------------------------------------------

SLOPES: Final = (16.0, 32.0, 64.0, 128.0)
_THRESHOLDS: Final = np.linspace(0.3, 1.0, 71)
_EPSILONS: Final = np.linspace(0.001, 0.5, 50)


@dataclass(slots=True)
class _Observed:
    cosines: list[float] = field(default_factory=list)
    same: list[bool] = field(default_factory=list)


class VCacheRule:
    """Re-implemented from the paper alone (arXiv 2502.03771), without its code.

    Each entry has P(right | s) = 1/(1 + exp(-g (s - t))). With confidence 1 - e in t and g its likelihood of being
    right is at least a(e) = (1 - e) L(s, t_e, g_e); a request explores (asks upstream) with probability
    min_e (1 - d - a(e))/(1 - a(e)). The bounds of the confidence sets are taken from the posterior over a grid, where
    the paper has a table of variances. How well it does in some thousands of requests depends on how much is known of
    the slopes beforehand, so there are two: g anything from 16 to 128, and g known.
    """

    def __init__(self, delta: float, seed: int, slopes: Sequence[float] = SLOPES, least: int = 1) -> None:
        """`least`: observations of an entry before it may serve."""
        self._delta, self._least = delta, least
        self._dice = random.Random(seed)
        self._observed: dict[int, _Observed] = {}
        self._posteriors: dict[int, NDArray[np.float64]] = {}
        grid = np.array(list(product(slopes, _THRESHOLDS)))
        self._slopes, self._thresholds = grid[:, 0], grid[:, 1]

    def serve(self, asked: int, near: Sequence[Near], right: Right) -> Near | None:
        """See the port."""
        if not near:
            return None
        nearest = near[0]
        if self._dice.random() >= self._exploring(nearest):
            return nearest
        seen = self._observed.setdefault(nearest.entry, _Observed())
        seen.cosines.append(nearest.cosine)
        seen.same.append(right(nearest))
        self._posteriors.pop(nearest.entry, None)
        return None

    def _exploring(self, near: Near) -> float:
        seen = self._observed.get(near.entry)
        if seen is None or len(seen.cosines) < self._least:
            return 1.0
        posterior = self._posteriors.get(near.entry)
        if posterior is None:
            posterior = self._posteriors[near.entry] = self._posterior(seen)
        chances = 1 / (1 + np.exp(-self._slopes * (near.cosine - self._thresholds)))
        order = np.argsort(chances)
        cumulated = np.cumsum(posterior[order])
        # The chance that all but e of the posterior exceeds.
        bounds = chances[order][np.minimum(np.searchsorted(cumulated, _EPSILONS), len(order) - 1)]
        right_at_least = np.minimum((1 - _EPSILONS) * bounds, 1 - 1e-9)
        explore = (1 - self._delta - right_at_least) / (1 - right_at_least)
        return float(max(0.0, explore.min()))

    def _posterior(self, seen: _Observed) -> NDArray[np.float64]:
        """Over the grid, from a flat prior."""
        odds = self._slopes[:, None] * (np.array(seen.cosines)[None, :] - self._thresholds[:, None])
        likelihood = -np.logaddexp(0, np.where(seen.same, -odds, odds)).sum(axis=1)
        weights = np.exp(likelihood - likelihood.max())
        return np.asarray(weights / weights.sum(), np.float64)
