"""Deployments: in which order those of one tier are tried."""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from math import gcd, log
from typing import Final

from farthing.catalog import Affinity, Balance, Deployment
from farthing.routing import Pool

# A stride near the golden section of the total weight spreads each deployment's turns evenly, instead of
# giving them in one block.
GOLDEN_SECTION: Final = 0.618
BOUND: Final = (5, 4)
"""With affinity no deployment gets a call where it has more than 5/4 of its share of all those under way already, the
call included (consistent hashing with bounded loads, arXiv 1608.01350)."""
_WORD: Final = (1 << 64) - 1
_WORDS: Final = 1 << 64


def pool_of(
    tier: str,
    deployments: Sequence[Deployment],
    balance: Balance = Balance.WEIGHTED,
    affinity: Affinity = Affinity.NONE,
) -> Pool:
    """What choosing among these deployments needs, worked out once."""
    ids = tuple(deployment.id for deployment in deployments)
    return Pool(
        tier=tier,
        deployments=tuple(deployments),
        ids=ids,
        weights=tuple(deployment.weight for deployment in deployments),
        seeds=tuple(int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) for name in ids),
        balance=balance,
        affinity=affinity,
    )


def by_turn(weights: Sequence[int], among: list[int], turn: int) -> list[int]:
    """`among`, which are places in `weights`, begun at the one whose turn it is.

    `turn` counts the calls; over any W consecutive turns (W the total weight in lowest terms) each comes first exactly
    `weight` times.
    """
    if len(among) < 2:
        return among
    shares, total, stride = _shares(tuple([weights[place] for place in among]))
    mark = turn * stride % total
    for first, share in enumerate(shares):
        mark -= share
        if mark < 0:
            return among[first:] + among[:first]
    return among


@lru_cache(maxsize=1024)
def _shares(weights: tuple[int, ...]) -> tuple[tuple[int, ...], int, int]:
    """The weights in lowest terms, their sum, and a step coprime to it (so that it visits every remainder once), near
    its golden section."""
    unit = gcd(*weights)
    shares = tuple(weight // unit for weight in weights)
    total = sum(shares)
    start = max(1, round(total * GOLDEN_SECTION))
    return shares, total, next(step for step in range(start, start + total + 1) if gcd(step, total) == 1)


def by_load(weights: Sequence[int], among: list[int], loads: Sequence[int], turn: int) -> list[int]:
    """Fewest calls under way for its weight first; of those alike, the one whose turn it is. `loads` by place."""
    return sorted(by_turn(weights, among, turn), key=lambda place: loads[place] / weights[place])


def by_key(weights: Sequence[int], seeds: Sequence[int], among: list[int], key: int) -> list[int]:
    """The same key gives the same order, in which another place changes nothing but by being there: weighted
    rendezvous hashing (highest random weight). Over all keys each comes first as often as its weight says."""
    ranks = {}
    for place in among:
        # splitmix64 makes strangers of neighbours; the logarithm, an exponentially distributed number of the word.
        word = key ^ seeds[place]
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _WORD
        ranks[place] = -log(((word ^ (word >> 31)) + 1) / _WORDS) / weights[place]
    return sorted(among, key=ranks.__getitem__)


def within_bound(weights: Sequence[int], order: list[int], loads: Sequence[int]) -> list[int]:
    """`order`, but those come last that have too much already for one more call (see BOUND). There is always one that
    has not."""
    most, least = BOUND
    scale = most * (1 + sum([loads[place] for place in order]))
    share = least * sum([weights[place] for place in order])
    first = order[0]
    if loads[first] * share < scale * weights[first]:
        return order
    return sorted(order, key=lambda place: loads[place] * share >= scale * weights[place])
