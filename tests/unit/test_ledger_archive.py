"""Archives: whole files before anything is removed, and reports that do not notice."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from farthing.errors import ConfigError, InvalidParameter, LedgerUnavailable
from farthing.money import Nano
from farthing.record import Attempt
from farthing.tags import Tags
from ledger import reports
from ledger.archive import Archived, Sizes, archive
from ledger.check import check
from ledger.costs import costs
from ledger.database import Database
from ledger.rows import COLUMNS, row_of
from ledger.testing import example_record
from tests.ledgers import Engine

parquet = pytest.importorskip("arro3.io", reason="needs the extra archive")
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
        attempts=(Attempt(deployment="a", status=200, error="", seconds=0.5),),
        stated_cost=None if number % 3 else Nano(number),
    )
    for number in range(15)
]
"""Five on each of three days."""


@dataclass
class Books:
    """A ledger and the folder of its archive."""

    engine: Engine
    old: Path

    @property
    def database(self) -> Database:
        return self.engine.database

    def run(self, days: int = 2, file: int = 100) -> list[Archived]:
        sizes = Sizes(file=file, batch=2)
        return list(archive(self.database, before_ns=(DAY + days) * DAY_NS, folder=self.old, sizes=sizes))


@pytest.fixture
async def books(engine: Engine, tmp_path: Path) -> Books:
    await engine.settle(*RECORDS)
    return Books(engine, tmp_path / "old")


CUT = {
    "sqlite": ["CREATE TRIGGER cut BEFORE DELETE ON records WHEN old.id = 'r03' BEGIN SELECT RAISE(ABORT, 'cut'); END"],
    "postgres": [
        "CREATE FUNCTION cut() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN RAISE 'cut'; END $$",
        "CREATE TRIGGER cut BEFORE DELETE ON records FOR EACH ROW WHEN (old.id = 'r03') EXECUTE FUNCTION cut()",
    ],
}
UNCUT = {"sqlite": "DROP TRIGGER cut", "postgres": "DROP FUNCTION cut CASCADE"}
"""What keeps a record from being removed."""


def rows_in(files: list[Archived]) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for file in files:
        table = parquet.read_parquet(file.path).read_all()
        found += zip(*(table.column(name).to_pylist() for name in COLUMNS), strict=True)
    return found


def test_the_files_hold_every_column_of_every_record(books: Books) -> None:
    files = books.run()

    assert [file.path.name for file in files] == [
        "records-2027-01-13-001.parquet",
        "records-2027-01-14-001.parquet",
    ]
    assert rows_in(files) == [row_of(record) for record in RECORDS[:10]]
    assert [record.id for record in reports.recent(books.database, 100)] == ["r14", "r13", "r12", "r11", "r10"]


@pytest.mark.parametrize("by", [["feature"], ["day", "feature"], ["outcome", "tier"], []])
def test_no_total_changes(books: Books, by: list[str]) -> None:
    before = reports.spend(books.database, by=by, **EVER)

    books.run()

    assert reports.spend(books.database, by=by, **EVER) == before
    assert costs(books.database, by=["feature"], **EVER).rows[0].inferences == 8
    assert check(books.database).differences == ()


def test_periods_that_meet_inside_an_archived_hour_still_add_up(books: Books) -> None:
    whole = reports.totals(books.database, **EVER).cost
    books.run()
    middle = RECORDS[4].received_ns + 10

    parts = [
        reports.totals(books.database, since_ns=0, until_ns=middle),
        reports.totals(books.database, since_ns=middle, until_ns=2**62),
    ]

    assert sum(part.cost for part in parts) == whole
    assert parts[0].requests == 4  # up to the hour in which the period ends


def test_a_period_that_is_not_archived_is_told_to_the_nanosecond(books: Books) -> None:
    books.run()
    since = RECORDS[12].received_ns

    assert reports.totals(books.database, since_ns=since, until_ns=since + 1).requests == 1
    assert reports.totals(books.database, since_ns=since + 1, until_ns=2**62).requests == 2


def test_a_report_by_run_refuses_what_it_cannot_know(books: Books) -> None:
    books.run()

    with pytest.raises(InvalidParameter, match="ask since 2027-01-15"):
        reports.spend(books.database, by=["run"], **EVER)

    (row,) = reports.spend(books.database, by=["run"], since_ns=(DAY + 2) * DAY_NS, until_ns=2**62)
    assert (row.keys, row.requests) == (("r1",), 5)


def test_a_large_day_becomes_several_files(books: Books) -> None:
    files = books.run(days=1, file=2)

    assert [(file.path.name[-11:], file.records) for file in files] == [
        ("001.parquet", 2),
        ("002.parquet", 2),
        ("003.parquet", 1),
    ]
    assert rows_in(files) == [row_of(record) for record in RECORDS[:5]]


def test_a_killed_run_is_finished_so_that_each_record_is_in_one_file(books: Books) -> None:
    for statement in CUT[books.engine.name]:
        books.engine.change(statement)
    with pytest.raises(LedgerUnavailable, match="cut"):
        books.run()
    books.engine.change(UNCUT[books.engine.name])

    files = books.run()

    assert [(file.finished, file.records) for file in files] == [(True, 5), (False, 5)]
    assert rows_in(files) == [row_of(record) for record in RECORDS[:10]]
    assert books.run() == []


def test_a_killed_run_whose_file_is_gone_is_not_finished_by_guessing(books: Books) -> None:
    books.engine.change("INSERT INTO meta VALUES ('archiving', '/nowhere/records-2027-01-13-001.parquet')")

    with pytest.raises(ConfigError, match="which is gone"):
        books.run()

    assert len(reports.recent(books.database, 100)) == 15


def test_a_file_that_cannot_be_written_leaves_the_records(books: Books) -> None:
    books.old.touch()

    with pytest.raises(OSError):
        books.run()

    assert len(reports.recent(books.database, 100)) == 15


def test_a_name_that_somebody_else_is_writing_under_is_left_to_him(books: Books) -> None:
    books.old.mkdir()
    (books.old / "records-2027-01-13-001.draft").touch()

    files = books.run(days=1)

    assert [file.path.name for file in files] == ["records-2027-01-13-002.parquet"]


def test_two_runs_at_once_are_one_too_many(books: Books) -> None:
    with books.database.exclusively("archive"), pytest.raises(ConfigError, match="Another archive run"):
        books.run()


async def test_a_record_that_comes_after_its_day_went_is_counted_and_archived_later(books: Books) -> None:
    books.run()
    await books.engine.settle(example_record("late", received_ns=DAY * DAY_NS + 1, cost=Nano(5)))

    whole = reports.totals(books.database, **EVER)
    files = books.run()

    assert (whole.requests, whole.cost) == (16, 105_005)
    assert [(file.path.name, file.records) for file in files] == [("records-2027-01-13-002.parquet", 1)]
    assert reports.totals(books.database, **EVER) == whole
    assert check(books.database).differences == ()
