"""Deployments: in which order those of one tier are tried."""

from collections.abc import Container, Sequence
from functools import lru_cache
from math import gcd
from typing import Final

from farthing.catalog import Deployment

# A stride near the golden section of the total weight spreads each deployment's turns evenly, instead of
# giving them in one block.
GOLDEN_SECTION: Final = 0.618


def ordered(
    deployments: Sequence[Deployment], *, turn: int, cooling: Container[str] = frozenset()
) -> tuple[Deployment, ...]:
    """The deployments in the order in which they are tried.

    `turn` counts the calls; over any W consecutive turns (W the total weight) each deployment comes first exactly
    `weight` times. Those whose id is in `cooling` come last, and still come: when all are cooling, one is tried.
    """
    if len(deployments) == 1:
        return (deployments[0],)
    warm = [deployment for deployment in deployments if deployment.id not in cooling]
    cold = [deployment for deployment in deployments if deployment.id in cooling]
    return (*_rotated(warm, turn), *_rotated(cold, turn))


def _rotated(deployments: list[Deployment], turn: int) -> list[Deployment]:
    """The list, begun at the deployment whose turn it is."""
    unit = gcd(*(deployment.weight for deployment in deployments))
    if unit == 0:
        return deployments
    total = sum(deployment.weight for deployment in deployments) // unit
    mark = turn * _stride(total) % total
    for first, deployment in enumerate(deployments):
        mark -= deployment.weight // unit
        if mark < 0:
            return deployments[first:] + deployments[:first]
    return deployments


@lru_cache(maxsize=1024)
def _stride(total: int) -> int:
    """A step coprime to `total` (so that it visits every remainder once), near its golden section."""
    start = max(1, round(total * GOLDEN_SECTION))
    return next(step for step in range(start, start + total + 1) if gcd(step, total) == 1)
