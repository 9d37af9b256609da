"""The benchmark of alerts: its generators are deterministic, its tables whole."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import anomalies
from bench.anomaly_days import day_figures, hour_figures, series
from bench.anomaly_months import month_figures
from bench.proportions import mean_interval, share_interval
from bench.surprise_hours import SURPRISES, UNTIL, healthy, world
from bench.surprises import _found
from finops.findings import What
from finops.hours import FIGURES


def test_a_seed_gives_the_same_series_and_another_gives_others() -> None:
    one, again, other = (series("12 % noise", seed, 3, 50) for seed in (1, 1, 2))

    assert (one == again).all()
    assert (one != other).any()


def test_a_share_has_wilsons_interval() -> None:
    assert share_interval(9, 10) == "90.0 [59.6, 98.2]"
    assert share_interval(0, 0) == ""


def test_the_mean_of_shares_has_an_interval_over_series() -> None:
    assert mean_interval(np.array([0.0, 0.0])) == "0.000 [0.000, 0.000]"


def test_ten_times_the_spend_is_always_found_on_the_first_day() -> None:
    (row,) = [
        row for row in day_figures(60) if (row["series"], row["rule"], row["change"]) == ("12 % noise", "ours", "x10")
    ]

    assert row["on the first day, %"] == 100


def test_hours_and_months_have_a_row_for_each_case() -> None:
    assert len(hour_figures(4)) == 4
    assert len({tuple(list(row.values())[:4]) for row in month_figures(4)}) == 48


def test_a_part_is_written_as_a_result(tmp_path: Path) -> None:
    anomalies._write(tmp_path / "anomalies.json", "hours", [{"change": "x10"}])

    result = json.loads((tmp_path / "anomalies_hours.json").read_text())
    assert result["figures"] == [{"change": "x10"}]


def test_a_company_is_the_same_for_a_seed_and_its_surprise_begins_in_what_is_watched() -> None:
    (one, began), (again, _) = (world((5,), What.RETRIES) for _ in range(2))

    assert UNTIL - 21 * 24 <= began < UNTIL - 14 * 24
    assert all((again.tables[key] == table).all() for key, table in one.tables.items())


@pytest.mark.parametrize("what", SURPRISES)
def test_a_surprise_changes_no_calls_before_it_begins(what: What) -> None:
    usual = healthy(np.random.default_rng((6,)), 1.0)
    hours, began = world((6,), what)
    requests = FIGURES.index("requests")

    for key, table in hours.before(began).tables.items():
        if key in usual:
            assert (table[requests] == usual[key][requests, : table.shape[1]]).all()


def test_a_retry_storm_is_found_within_hours() -> None:
    delay, _ = _found(What.RETRIES, (7,), 1.0)

    assert delay is not None
    assert delay <= 12
