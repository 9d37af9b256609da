"""Shares: what a number of successes says of the share behind it."""

from math import comb, sqrt
from typing import Final

Z_95: Final = 1.96


def wilson(share: float, number: float, z: float = Z_95) -> tuple[float, float]:
    """Wilson's interval of a share that was seen in `number` trials, which need not be whole (with unequal weights
    the effective number: (sum w)^2 / sum w^2). (0, 1) where there were none."""
    if number <= 0:
        return 0.0, 1.0
    square = z * z
    middle = share + square / (2 * number)
    reach = z * sqrt(share * (1 - share) / number + square / (4 * number * number))
    return max(0.0, (middle - reach) / (1 + square / number)), min(1.0, (middle + reach) / (1 + square / number))


def mcnemar(wins: int, losses: int) -> float:
    """The exact two-sided p-value of McNemar's test: how likely so uneven a split of the discordant pairs is where
    neither side is better. 1 where there are none."""
    number = wins + losses
    tail = sum(comb(number, count) for count in range(min(wins, losses) + 1))
    return min(1.0, 2 * tail / 2**number) if number else 1.0
