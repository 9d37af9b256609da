"""The metrics of routers, on outcomes that can be counted by hand."""

import numpy as np
import pytest

from bench.routing_curves import Outcomes, curve, untied


def outcomes(weak: list[float], strong: list[float], weak_cost: float = 1, strong_cost: float = 11) -> Outcomes:
    ones = np.ones(len(weak))
    return Outcomes(np.array(weak, float), np.array(strong, float), ones * weak_cost, ones * strong_cost)


TEN = outcomes([1, 1, 1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1, 1, 1, 0])
"""The strong model is better on four of ten, prompts 5 to 8."""


def test_an_oracle_recovers_the_gap_with_the_share_of_prompts_that_have_one() -> None:
    found = curve(TEN, TEN.gap)

    assert found.pgr[:5] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert found.cpt(0.5) == pytest.approx(20)
    assert found.cpt(0.8) == pytest.approx(32)  # 0.05 of the 0.25 between 30 and 40 %
    assert found.apgr == pytest.approx((0.25 + 0.5 + 0.75 + 1) / 10 + 0.6 - 0.05)


def test_the_worst_order_recovers_nothing_until_the_end() -> None:
    found = curve(TEN, -TEN.gap)

    assert found.pgr[:7] == pytest.approx(np.zeros(7))
    assert found.cpt(0.5) == pytest.approx(80)


def test_an_order_and_its_reverse_make_one() -> None:
    scores = np.arange(10.0)

    assert curve(TEN, scores).apgr + curve(TEN, -scores).apgr == pytest.approx(1)


def test_who_knows_nothing_has_half_of_the_gap_on_average() -> None:
    dice = np.random.default_rng(1)

    found = [curve(TEN, untied(np.zeros(10), dice)).apgr for _ in range(2000)]

    assert np.mean(found) == pytest.approx(0.5, abs=0.01)


def test_ties_are_broken_without_changing_the_order_of_others() -> None:
    scores = np.array([0.2, 0.1, 0.2, 0.3])

    found = untied(scores, np.random.default_rng(1))

    assert found[0] != found[2]
    assert np.argsort(found)[[0, 3]].tolist() == [1, 3]


def test_aiq_is_the_area_under_the_hull_over_the_width_in_cost() -> None:
    found = curve(TEN, TEN.gap)

    # Quality 0.5 at cost 1, 0.9 at cost 5 (40 % strong), level to cost 11.
    assert found.aiq == pytest.approx((4 * 0.7 + 6 * 0.9) / 10)


def test_a_router_below_the_line_between_both_models_has_the_line_as_its_hull() -> None:
    assert curve(TEN, -TEN.gap).aiq == pytest.approx(0.7)
