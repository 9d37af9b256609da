"""How good a router is: quality for every share of calls that the strong model answers (APGR, CPT, AIQ).

Definitions: RouteLLM (arXiv 2406.18665) for PGR, APGR and CPT; RouterBench (2403.12031) for AIQ.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SHARES: Final = np.linspace(0, 1, 11)
"""Of calls that go to the strong model."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Recorded scores of the same prompts, one value a prompt: of the weak model, of the strong one; and the assumed
    cost of each, in any one unit."""

    weak: Floats
    strong: Floats
    weak_cost: Floats
    strong_cost: Floats

    @property
    def gap(self) -> Floats:
        """What the strong model is better by."""
        return self.strong - self.weak

    def at(self, rows: NDArray[np.intp]) -> "Outcomes":
        """Those of some prompts."""
        return Outcomes(self.weak[rows], self.strong[rows], self.weak_cost[rows], self.strong_cost[rows])


@dataclass(frozen=True, slots=True)
class Curve:
    """PGR (performance gap recovered: 0 is the weak model's quality, 1 the strong one's), quality and mean cost at
    each of SHARES."""

    pgr: Floats
    quality: Floats
    cost: Floats

    @property
    def apgr(self) -> float:
        """Mean PGR over all shares (trapezoid). A router that knows nothing has 0.5."""
        return float(np.trapezoid(self.pgr, SHARES))

    def cpt(self, wanted: float) -> float:
        """Percent of calls to the strong model at which PGR first reaches what is wanted; between points a line."""
        at = int(np.argmax(self.pgr >= wanted - 1e-12))
        if at == 0:
            return 0.0
        low, high = self.pgr[at - 1], self.pgr[at]
        return float(100 * (SHARES[at - 1] + (SHARES[at] - SHARES[at - 1]) * (wanted - low) / (high - low)))

    @property
    def aiq(self) -> float:
        """Area under the non-decreasing convex hull of (cost, quality), over the width in cost."""
        cost, quality = _hull(self.cost, self.quality)
        return float(np.trapezoid(quality, cost) / (cost[-1] - cost[0]))


def curve(outcomes: Outcomes, scores: Floats) -> Curve:
    """Send the prompts with the highest scores to the strong model, for every share. Ties go as they come: break them
    before (`untied`)."""
    order = np.argsort(-scores, kind="stable")
    sizes = np.rint(SHARES * len(order)).astype(np.intp)
    quality = outcomes.weak.mean() + _gained(outcomes.gap[order], sizes)
    cost = outcomes.weak_cost.mean() + _gained((outcomes.strong_cost - outcomes.weak_cost)[order], sizes)
    return Curve((quality - quality[0]) / (quality[-1] - quality[0]), quality, cost)


def untied(scores: Floats, dice: np.random.Generator) -> Floats:
    """Equal scores in random order: noise too small to change the order of others."""
    return scores + 1e-9 * dice.standard_normal(len(scores))


def _gained(differences: Floats, sizes: NDArray[np.intp]) -> Floats:
    return np.concatenate([[0.0], np.cumsum(differences)])[sizes] / len(differences)


def _hull(cost: Floats, quality: Floats) -> tuple[Floats, Floats]:
    """Corners of the upper hull from the cheapest point on; beyond its best quality it is level."""
    points = sorted(zip(cost.tolist(), np.maximum.accumulate(quality).tolist(), strict=True))
    corners: list[tuple[float, float]] = []
    for x, y in points:
        while len(corners) > 1 and _below(corners[-2], corners[-1], (x, y)):
            corners.pop()
        corners.append((x, y))
    found = np.array(corners)
    return found[:, 0], found[:, 1]


def _below(first: tuple[float, float], middle: tuple[float, float], last: tuple[float, float]) -> bool:
    across = (middle[0] - first[0]) * (last[1] - first[1]) - (middle[1] - first[1]) * (last[0] - first[0])
    return across >= 0
