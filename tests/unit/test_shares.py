"""Shares: Wilson's interval, and McNemar's exact test."""

import pytest

from farthing.shares import mcnemar, wilson


@pytest.mark.parametrize(("right", "items", "interval"), [(0, 0, (0.0, 1.0)), (95, 100, (0.8882, 0.9785))])
def test_wilsons_interval(right: int, items: int, interval: tuple[float, float]) -> None:
    share = right / items if items else 0.0

    assert tuple(round(bound, 4) for bound in wilson(share, items)) == interval


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (6, 0, 0.03125),  # 2 / 2**6
        (2, 8, 0.109375),  # 2 * (1 + 10 + 45) / 2**10
    ],
)
def test_mcnemars_exact_p_value_counts_the_discordant_pairs_alone(wins: int, losses: int, p: float) -> None:
    assert (mcnemar(wins, losses), mcnemar(losses, wins)) == (p, p)
