"""Ledger gauges: the file's state and what a worker counted."""

from collections.abc import Callable
from pathlib import Path

from gateway.ledger_gauges import LedgerCounts, ledger_lines
from ledger.database import Database
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import SQLiteFile
from ledger.testing import ManualClock, example_account, example_intent
from tests.ledgers import Engine
from tests.unit.test_metrics_requests import make_metrics, value

COUNTS = LedgerCounts(recovered=1, overages=5, late=2, failures=3, unwritten=4, dropped=6)


def page_of(database: Database) -> bytes:
    metrics = make_metrics()
    metrics.add_source(lambda: ledger_lines(database, COUNTS))
    return metrics.render()


async def test_open_holds_and_the_size_are_those_of_the_database(engine: Engine) -> None:
    ledger = await engine.open(ManualClock())
    await ledger.reserve(example_intent("h", 5, example_account(limit=100)))

    page = page_of(engine.database)

    await ledger.close()
    assert value(page, "farthing_ledger_open_holds") == 1
    assert value(page, "farthing_ledger_file_bytes") == engine.database.sizes()[0] > 0


async def test_a_ledger_without_a_log_of_its_own_has_no_figure_for_one(engine_named: Callable[[str], Engine]) -> None:
    page = page_of(engine_named("postgres").database)

    assert b"farthing_ledger_log_bytes" not in page
    assert b"farthing_ledger_file_bytes" in page


async def test_open_holds_and_sizes_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = await SQLiteLedger.open(path, ManualClock())
    for number in range(3):
        await ledger.reserve(example_intent(f"h{number}", 5, example_account(limit=100)))

    page = page_of(SQLiteFile(path))
    size, log = path.stat().st_size, path.with_name("ledger.db-wal").stat().st_size

    await ledger.close()
    assert value(page, "farthing_ledger_open_holds") == 3
    assert value(page, "farthing_ledger_file_bytes") == size
    assert value(page, "farthing_ledger_log_bytes") == log > 0
    assert value(page_of(SQLiteFile(path)), "farthing_ledger_log_bytes") == 0


def test_a_file_that_cannot_be_read_leaves_what_the_worker_counted(tmp_path: Path) -> None:
    page = page_of(SQLiteFile(tmp_path / "nowhere.db"))

    counted = ("recovered_holds", "overages", "late_settlements", "failed_batches")
    names = (*counted, "unwritten_records", "dropped_answers")
    assert [value(page, f"farthing_ledger_{name}") for name in names] == [1, 5, 2, 3, 4, 6]
    assert b"open_holds" not in page
