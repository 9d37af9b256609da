"""Archives on both engines: runs that leave off anywhere, and files that go back into the ledger they came from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from farthing.errors import ConfigError, InvalidParameter
from farthing.money import Nano
from farthing.tags import Tags
from ledger import reports
from ledger.archive import ArchiveBusy, Archived, Pause, Sizes, alone, archive, archived_until, oldest_record
from ledger.archivefiles import draft_of
from ledger.check import check
from ledger.database import Database
from ledger.restore import Restored, kept_until, restore
from ledger.rows import row_of
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import SQLiteFile
from ledger.testing import ManualClock, example_record

pytest.importorskip("arro3.io", reason="needs the extra archive")
HOUR_NS = 3_600 * 10**9
DAY_NS = 24 * HOUR_NS
DAY = 20_831
"""2027-01-13."""
EVER: dict[str, Any] = {"since_ns": 0, "until_ns": 2**62}
RECORDS = [
    example_record(
        f"r{number:02}",
        tags=Tags(tenant="acme", key_id="key-1", feature=("search", "chat")[number % 2], run="r1"),
        received_ns=DAY * DAY_NS + number * 5 * HOUR_NS + 7,
        cost=Nano(number * 1_000),
        first_byte_seconds=None if number % 2 else 0.25,
        stated_cost=None if number % 3 else Nano(number),
    )
    for number in range(15)
]
"""Five on each of three days."""


async def written(database: Database, records: Sequence[Any] = RECORDS) -> Database:
    """The database, with these records settled in it."""
    if isinstance(database, SQLiteFile):
        ledger: Any = await SQLiteLedger.open(database.path, ManualClock())
    else:
        from ledger.postgres import PostgresLedger

        ledger = await PostgresLedger.open(database, ManualClock())  # type: ignore[arg-type]
    for record in records:
        await ledger.settle(None, record)
    await ledger.close()
    return database


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return await written(SQLiteFile(tmp_path / "ledger.db"))
    url = request.getfixturevalue("postgres_url")
    from ledger.postgres_database import PostgresDatabase

    return await written(PostgresDatabase(url))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return tmp_path / "old"


def run(database: Database, old: Path, *, days: int = 2, pause: Pause = lambda: False) -> list[Archived]:
    sizes = Sizes(file=4, batch=2)
    return list(archive(database, before_ns=(DAY + days) * DAY_NS, folder=old, sizes=sizes, pause=pause))


def put_back(database: Database, files: Sequence[Path]) -> list[Restored]:
    return list(restore(database, files, keep_until_ns=5, sizes=Sizes(batch=2)))


def ids(database: Database) -> list[str]:
    return sorted(record.id for record in reports.recent(database, 100))


def test_no_total_changes_on_any_engine(database: Database, old: Path) -> None:
    before = reports.spend(database, by=["feature", "day"], **EVER)

    run(database, old)

    assert reports.spend(database, by=["feature", "day"], **EVER) == before
    assert check(database).differences == ()
    assert (archived_until(database), oldest_record(database)) == ((DAY + 2) * DAY_NS, RECORDS[10].received_ns)


@pytest.mark.parametrize("transactions", range(8))
def test_a_run_that_leaves_off_anywhere_is_gone_on_with(database: Database, old: Path, transactions: int) -> None:
    left = iter([False] * transactions + [True])
    before = reports.totals(database, **EVER)

    files = run(database, old, pause=lambda: next(left))
    between = reports.totals(database, **EVER)
    files += run(database, old)

    assert between == before == reports.totals(database, **EVER)
    assert sum(file.records for file in files) == 10
    assert len({file.path for file in files}) == len(list(old.iterdir())) == 4
    assert ids(database) == ["r10", "r11", "r12", "r13", "r14"]


def test_a_run_that_was_killed_before_its_file_had_a_name_is_finished(database: Database, old: Path) -> None:
    left = iter([False, True])
    assert run(database, old, pause=lambda: next(left)) == []
    (file,) = old.iterdir()
    file.rename(draft_of(file))

    files = run(database, old, days=1)

    assert [(one.path.name, one.records, one.finished) for one in files] == [
        ("records-2027-01-13-001.parquet", 4, True),
        ("records-2027-01-13-002.parquet", 1, False),
    ]
    assert len(ids(database)) == 10


def test_only_one_process_moves_records_and_the_others_are_told_so(database: Database, old: Path) -> None:
    with alone(database), pytest.raises(ArchiveBusy, match="Another archive run"):
        run(database, old)


def test_restored_records_are_what_they_were(database: Database, old: Path) -> None:
    before = {record.id: row_of(record) for record in reports.recent(database, 100)}
    files = [file.path for file in run(database, old)]

    done = put_back(database, files)

    assert [(one.records, one.fresh) for one in done] == [(4, 4), (1, 1), (4, 4), (1, 1)]
    assert {record.id: row_of(record) for record in reports.recent(database, 100)} == before
    assert archived_until(database) == 0
    assert check(database).differences == ()


def test_a_second_restore_changes_nothing(database: Database, old: Path) -> None:
    files = [file.path for file in run(database, old)]
    put_back(database, files[:1])

    done = put_back(database, [*files, files[0]])

    assert [one.fresh for one in done] == [0, 1, 4, 1, 0]
    assert len(ids(database)) == 15


def test_days_of_which_a_file_is_missing_still_count_as_archived(database: Database, old: Path) -> None:
    files = [file.path for file in run(database, old)]
    whole = reports.totals(database, **EVER)

    put_back(database, files[:3])
    without_the_last_file = archived_until(database)
    total_without_it = reports.totals(database, **EVER)
    put_back(database, files[3:])

    assert without_the_last_file == (DAY + 2) * DAY_NS
    assert total_without_it == whole == reports.totals(database, **EVER)
    assert archived_until(database) == 0


def test_reports_by_run_know_the_days_that_are_back(database: Database, old: Path) -> None:
    files = [file.path for file in run(database, old)]
    put_back(database, files[2:])

    (row,) = reports.spend(database, by=["run"], since_ns=(DAY + 1) * DAY_NS, until_ns=2**62)

    assert row.requests == 10
    assert archived_until(database) == (DAY + 1) * DAY_NS


async def test_a_late_record_of_an_archived_day_is_no_reason_to_take_the_day_for_whole(
    database: Database, old: Path
) -> None:
    files = [file.path for file in run(database, old)]
    await written(database, [example_record("late", received_ns=(DAY + 1) * DAY_NS + 1, cost=Nano(5))])

    put_back(database, files[:2])
    with_a_gap = archived_until(database)
    put_back(database, files[2:])

    assert with_a_gap == (DAY + 2) * DAY_NS
    assert archived_until(database) == 0
    assert check(database).differences == ()


async def test_the_file_of_another_ledger_is_refused(database: Database, old: Path, tmp_path: Path) -> None:
    other = await written(SQLiteFile(tmp_path / "other.db"))
    (foreign, *_) = run(other, tmp_path / "others")
    run(database, old)

    with pytest.raises(InvalidParameter, match="never were in this ledger"):
        put_back(database, [foreign.path])

    assert len(ids(database)) == 5


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet", b"PAR1 and nothing else PAR1"])
def test_a_damaged_file_is_said_to_be_one(database: Database, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "records.parquet"
    file.write_bytes(content)

    with pytest.raises(ConfigError, match=r"records\.parquet"):
        put_back(database, [file])

    assert len(ids(database)) == 15


def test_a_file_that_is_not_there_is_said_to_be_missing(database: Database, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        put_back(database, [tmp_path / "nothing.parquet"])


def test_how_long_restored_records_stay_is_never_shortened(database: Database) -> None:
    before = kept_until(database)

    list(restore(database, [], keep_until_ns=7))
    list(restore(database, [], keep_until_ns=6))

    assert (before, kept_until(database)) == (0, 7)


def test_records_that_are_archived_again_are_in_the_totals_once(database: Database, old: Path) -> None:
    whole = reports.totals(database, **EVER)
    put_back(database, [file.path for file in run(database, old)])

    again = run(database, old)

    assert sum(file.records for file in again) == 10
    assert reports.totals(database, **EVER) == whole
    assert check(database).differences == ()


async def test_no_transaction_is_open_between_two_steps_on_postgresql(postgres_url: str, old: Path) -> None:
    psycopg = pytest.importorskip("psycopg")
    from ledger.postgres_database import PostgresDatabase

    database = await written(PostgresDatabase(postgres_url))
    open_ones: list[int] = []

    def count() -> bool:
        with psycopg.connect(postgres_url) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
            ).fetchone()
        open_ones.append(row[0])
        return False

    run(database, old, pause=count)

    assert len(open_ones) == 10
    assert set(open_ones) == {0}
