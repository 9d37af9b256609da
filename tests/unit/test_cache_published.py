"""Published figures: intervals by Wilson's formula, and the exact cases of the notes on proof."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.published import Interval, semantic_report
from farthing.shares import wilson


@pytest.mark.parametrize(("wrong", "number", "high"), [(0, 381, 0.01), (1, 563, 0.01), (2, 726, 0.01)])
def test_so_many_graded_hits_show_one_per_cent_by_the_two_sided_bound(wrong: int, number: int, high: float) -> None:
    assert wilson(wrong / number, number)[1] == pytest.approx(high, rel=0.01)
    assert wilson(wrong / (number - 20), number - 20)[1] > high


def test_nothing_is_known_without_trials() -> None:
    assert wilson(0.0, 0) == (0.0, 1.0)
    (report,) = semantic_report({"search": {"requests": 4}}, {})
    assert report.wrong_per_hit == Interval(0.0, 0.0, 1.0)


@given(st.floats(0, 1), st.floats(0.5, 1e6))
def test_the_interval_holds_the_share(share: float, number: float) -> None:
    low, high = wilson(share, number)

    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1


def test_a_wrong_share_of_hits_is_one_of_requests_by_the_share_of_hits() -> None:
    sums = {"requests": 1000, "hits": 250, "graded": 100, "weight": 200, "squares": 400, "wrong_weight": 4}

    (report,) = semantic_report({"search": sums}, {"search": (3, 2, 1)})

    assert report.wrong_per_hit.estimate == 0.02
    assert report.wrong_per_request.estimate == 0.005
    assert (report.domains, report.calibrated, report.stopped) == (3, 2, 1)
