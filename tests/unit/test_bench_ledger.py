"""The bench of the ledger measures what it says, on few rows."""

import random
from pathlib import Path

import pytest

from bench import ledger as bench
from farthing.record import Outcome
from ledger import reports
from ledger.check import check
from ledger.sqlite_file import SQLiteFile


def test_the_file_it_fills_adds_up_and_can_be_asked(tmp_path: Path) -> None:
    figures = bench.on_many_rows(tmp_path, 3_000)

    path = tmp_path / "many.db"
    assert reports.totals(SQLiteFile(path), since_ns=0, until_ns=2**62).requests == 3_000
    assert check(SQLiteFile(path)).differences == ()
    assert [row["what"] for row in figures if row["unit"] == "ms"] == [
        "month by feature, 3,000 rows",
        "month by day and model, 3,000 rows",
        "one day by model, 3,000 rows",
        "month, median and p99 of cost per inference by feature, 3,000 rows",
        "month, the same by feature and tier, 3,000 rows",
    ]


def test_batches_are_settled_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "CALLS_A_BATCH_SIZE", 64)

    figures = bench.cpu_of_batches(tmp_path, 32)

    assert figures["median"] > 0
    assert reports.totals(SQLiteFile(tmp_path / "batches-32.db"), since_ns=0, until_ns=2**62).requests == 64
    assert reports.open_holds(SQLiteFile(tmp_path / "batches-32.db")) == 0


def test_only_calls_that_succeeded_cost_something() -> None:
    dice = random.Random(1)

    records = [bench.record_of(number, dice) for number in range(500)]

    assert {record.outcome for record in records} == {Outcome.SUCCESS, Outcome.HIT, Outcome.UPSTREAM_ERROR}
    assert all((record.cost > 0) == (record.outcome is Outcome.SUCCESS) for record in records)
