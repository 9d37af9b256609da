"""Roll-ups: written with the records, built for files that are older than they are."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from farthing.errors import LedgerUnavailable
from farthing.money import Nano
from farthing.record import Outcome
from farthing.tags import Tags
from ledger import reports, rollups, sqlite_file
from ledger.check import check
from ledger.database import Database
from ledger.rows import COLUMNS, row_of
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import SQLiteFile
from ledger.testing import ManualClock, example_account, example_intent, example_record
from tests.ledgers import Engine

HOUR_NS = 3_600 * 10**9
DAY_NS = 24 * HOUR_NS
TABLES = ("rollup_hours", "rollup_days", "cost_histogram")
FIRST = Path(sqlite_file.__file__).parent / "migrations" / "sqlite" / "0001_initial.sql"


def old_file(path: Path, records: int) -> Path:
    """A ledger of the first schema, one record every nine hours."""
    connection = sqlite3.connect(path)
    connection.executescript(FIRST.read_text(encoding="utf-8"))
    connection.executescript(
        "CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL);"
        "INSERT INTO meta VALUES ('schema', '1')"
    )
    names = COLUMNS[: COLUMNS.index("service_tier")]
    insert = f"INSERT INTO records ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    for number in range(records):
        record = example_record(
            f"r{number:03}",
            received_ns=20_000 * DAY_NS + number * 9 * HOUR_NS,
            tags=Tags(tenant="acme", key_id="key-1", feature=("search", "chat")[number % 2]),
            cost=Nano(number * 1_000),
        )
        connection.execute(insert, row_of(record)[: len(names)])
    connection.commit()
    connection.close()
    return path


def catch_up(database: Database) -> int:
    with database.working() as session:
        return rollups.catch_up(session)


def read(path: Path, statement: str) -> list[tuple[int, ...]]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute(statement).fetchall()
    connection.close()
    return rows


async def test_opening_an_old_file_builds_what_writing_would_have_built(tmp_path: Path) -> None:
    old = old_file(tmp_path / "old.db", 30)
    sqlite_file.prepare(old)
    written = await SQLiteLedger.open(tmp_path / "new.db", ManualClock())
    for record in reversed(reports.recent(SQLiteFile(old), 100)):
        await written.settle(None, record)
    await written.close()

    opened = await SQLiteLedger.open(old, ManualClock())
    await opened.close()

    for table in TABLES:
        assert len(read(old, f"SELECT * FROM {table}")) > 10
        assert read(old, f"SELECT * FROM {table}") == read(tmp_path / "new.db", f"SELECT * FROM {table}")


async def test_a_report_on_an_old_file_needs_no_roll_ups(tmp_path: Path) -> None:
    path = old_file(tmp_path / "old.db", 30)

    whole = reports.totals(SQLiteFile(path), since_ns=0, until_ns=2**62)

    assert (whole.requests, whole.cost) == (30, sum(range(30)) * 1_000)


async def test_building_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    path = old_file(tmp_path / "old.db", 30)
    sqlite_file.prepare(path)
    with SQLiteFile(path).working() as session, session.transaction():
        rollups.rebuild_day(session, 20_000)
        session.execute("INSERT OR REPLACE INTO meta VALUES ('rollups_pending', '20001')")
    during = reports.totals(SQLiteFile(path), since_ns=0, until_ns=2**62)

    days = catch_up(SQLiteFile(path))

    assert days == 10
    assert reports.totals(SQLiteFile(path), since_ns=0, until_ns=2**62) == during
    assert sum(row[0] for row in read(path, "SELECT requests FROM rollup_hours")) == 30
    assert catch_up(SQLiteFile(path)) == 0


async def test_a_new_ledger_has_nothing_to_build(engine: Engine) -> None:
    assert catch_up(engine.database) == 0


async def test_a_batch_that_fails_leaves_no_key_behind_that_others_could_get(engine: Engine) -> None:
    ledger = await engine.open(ManualClock())
    chat = Tags(tenant="acme", key_id="key-1", feature="chat")
    bad = ledger.settle(None, example_record("bad", tags=chat, cost=Nano(2**63)))
    with pytest.raises(LedgerUnavailable):
        await bad

    await ledger.settle(None, example_record("a", cost=Nano(3)))
    await ledger.settle(None, example_record("b", tags=chat, cost=Nano(5)))
    await ledger.close()

    rows = reports.spend(engine.database, by=["feature"], since_ns=0, until_ns=2**62)
    assert [(row.keys, row.cost) for row in rows] == [(("chat",), 5), (("search",), 3)]


async def test_a_sum_that_fits_no_integer_is_refused_and_never_rounded(engine: Engine) -> None:
    ledger = await engine.open(ManualClock())
    await ledger.settle(None, example_record("a", cost=Nano(2**62)))

    with pytest.raises(LedgerUnavailable, match="cannot store this row"):
        await ledger.settle(None, example_record("b", cost=Nano(2**62)))

    await ledger.settle(None, example_record("c", cost=Nano(1)))
    await ledger.close()
    assert reports.totals(engine.database, since_ns=0, until_ns=2**62).cost == 2**62 + 1


async def test_two_processes_with_one_ledger_count_under_the_same_keys(engine: Engine) -> None:
    ledgers = [await engine.open(ManualClock()) for _ in range(2)]

    for number in range(4):
        await ledgers[number % 2].settle(None, example_record(f"r{number}", cost=Nano(7)))

    for ledger in ledgers:
        await ledger.close()
    assert engine.rows("SELECT count(*) FROM rollup_keys") == [(1,)]
    assert engine.rows("SELECT requests, cost FROM rollup_hours") == [(4, 28)]


async def test_a_lost_call_is_in_the_roll_ups(engine: Engine) -> None:
    clock = ManualClock()
    ledger = await engine.open(clock)
    account = example_account(limit=1_000)
    await ledger.reserve(example_intent("a", 80, account, expires_ns=clock.wall_ns() + 1))
    clock.advance(1)

    await ledger.recover()

    await ledger.close()
    assert engine.rows("SELECT requests, cost FROM rollup_hours") == [(1, 80)]
    assert engine.rows("SELECT outcome FROM rollup_keys") == [(Outcome.LOST.value,)]


async def test_a_record_that_was_there_already_is_counted_once(engine: Engine) -> None:
    ledger = await engine.open(ManualClock())

    await asyncio.gather(*(ledger.settle(None, example_record("a", cost=Nano(9))) for _ in range(3)))

    await ledger.close()
    assert engine.rows("SELECT requests, cost FROM rollup_hours") == [(1, 9)]


async def test_a_day_is_summed_up_when_it_is_over_and_what_comes_later_is_added(engine: Engine) -> None:
    clock = ManualClock(20_000 * DAY_NS + 5)
    ledger = await engine.open(clock)
    first = example_record("a", received_ns=20_000 * DAY_NS + 1, cost=Nano(3))
    await ledger.settle(None, first)
    during = engine.rows("SELECT requests, cost FROM rollup_days")

    clock.advance(3 * 86_400)
    await ledger.recover()
    over = engine.rows("SELECT requests, cost FROM rollup_days")
    await ledger.settle(None, example_record("late", received_ns=20_000 * DAY_NS + 2, cost=Nano(4)))
    await ledger.settle(None, example_record("today", received_ns=20_003 * DAY_NS, cost=Nano(5)))

    await ledger.close()
    assert during == []
    assert over == [(1, 3)]
    assert engine.rows("SELECT requests, cost FROM rollup_days") == [(2, 7)]
    assert engine.rows("SELECT value FROM meta WHERE name = 'days_until'") == [("20003",)]
    assert reports.totals(engine.database, since_ns=0, until_ns=2**62).cost == 12
    assert check(engine.database).differences == ()


async def test_a_clock_that_steps_back_over_midnight_counts_nothing_twice(engine: Engine) -> None:
    clock = ManualClock(20_001 * DAY_NS + 5)
    ledger = await engine.open(clock)
    clock.advance(-10)
    await ledger.settle(None, example_record("a", received_ns=clock.wall_ns(), cost=Nano(3)))

    await ledger.recover()
    clock.advance(86_400)
    await ledger.recover()

    await ledger.close()
    assert reports.totals(engine.database, since_ns=0, until_ns=2**62).cost == 3
    assert check(engine.database).differences == ()
