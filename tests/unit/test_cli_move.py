"""`farthing ledger move`: the books of a file are those of a database afterwards, or nothing has happened."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

pytest.importorskip("psycopg", reason="psycopg is not installed: scripts/install postgres")

from farthing.money import Nano, Rates
from farthing.record import CacheOutcome, Outcome
from farthing.usage import Usage
from gateway import cli
from ledger.adjustments import Repricing, reprice
from ledger.charges import Charge, EventKey
from ledger.check import check
from ledger.database import Database
from ledger.move import move as move_ledger
from ledger.postgres import PostgresLedger
from ledger.postgres_database import PostgresDatabase
from ledger.price import Price
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import SQLiteFile
from ledger.testing import ManualClock, example_account, example_intent, example_record

DAY_NS = 86_400 * 10**9
CALLS = 40
ACCOUNT = example_account("b|tenant=acme|month|2027-01", limit=100_000_000)
OLD, NEW = Rates(input_uncached=1_000), Rates(input_uncached=3_000)
ALL = Repricing(since_ns=0, until_ns=2**62, reason="invoice", author="finance", now_ns=1)


async def fill(path: Path) -> None:
    """Calls of some days, whose names are hard to carry, a hit, a charge from outside, and a call under way."""
    clock = ManualClock()
    ledger = await SQLiteLedger.open(path, clock)
    for number in range(CALLS):
        usage = Usage(input_uncached=1_000 * number)
        hold = await ledger.reserve(example_intent(f"call-{number}", 50_000, ACCOUNT))
        record = example_record(
            hold.intent.id,
            received_ns=clock.wall_ns() - (number % 4) * DAY_NS,
            usage=usage,
            cost=OLD.cost(usage),
            rates=json.dumps(OLD.as_dict()),
            price_version="old",
            provider="mock",
            model_served="m",
            model_requested='ä\t"\\\n\0',
            seconds=number / 7,
        )
        await ledger.settle(hold, record)
    hit = example_record("hit", outcome=Outcome.HIT, cache=CacheOutcome.EXACT, avoided_cache=Nano(7))
    await ledger.settle(None, hit)
    await ledger.book(charge("1"))
    await ledger.reserve(example_intent("under-way", 300, ACCOUNT))
    await ledger.close()


def charge(event: str) -> Charge:
    key = EventKey("acme", "/tool", event)
    record = example_record(key.record_id, cost=Nano(5))
    return Charge(key=key, record=record, accounts=(ACCOUNT,), booked_ns=1, booked_by="boss")


@pytest.fixture
def file(tmp_path: Path) -> SQLiteFile:
    """With all that a ledger can have: the calls, corrections of them, a raise, a run, an archive."""
    file = SQLiteFile(tmp_path / "ledger.db")
    asyncio.run(fill(file.path))
    reprice(file, ALL, lambda provider, model, at_ns, tier: Price("new", ((-1, NEW),)))
    with file.working() as session:
        session.execute("INSERT INTO raises VALUES ('r', 'b', 'tenant=acme', 5, 1, 2, NULL, 'boss', 'more')")
        session.execute("INSERT INTO runs (tenant, run, cap) VALUES ('acme', 'job', 77)")
        session.execute("INSERT INTO notices VALUES ('account', '50', 3)")
        session.execute("INSERT INTO meta VALUES ('archived_ns', '5'), ('ledger_id', 'mark')")
    return file


@pytest.fixture
def target(postgres_url: str) -> PostgresDatabase:
    return PostgresDatabase(postgres_url)


@pytest.fixture
def move(file: SQLiteFile, target: PostgresDatabase) -> Iterator[Callable[..., str]]:
    def move(code: int = 0) -> str:
        arguments = ["ledger", "move", "--to", target.url, "--data-dir", str(file.path.parent)]
        result = CliRunner().invoke(cli.app, arguments)
        assert result.exit_code == code, result.output
        assert str(urlsplit(target.url).password) not in result.output
        return result.output

    yield move


def ask(database: Database, statement: str) -> list[tuple[Any, ...]]:
    with database.reading() as session:
        return session.execute(statement).fetchall()


def contents(database: Database, columns: dict[str, list[str]]) -> dict[str, set[tuple[Any, ...]]]:
    return {
        table: {tuple(map(carried, row)) for row in ask(database, f"SELECT {', '.join(names)} FROM {table}")}
        for table, names in columns.items()
    }


def carried(value: object) -> object:
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value


def test_every_row_of_every_table_is_in_the_database_and_the_books_are_right(
    move: Callable[..., str], file: SQLiteFile, target: PostgresDatabase
) -> None:
    said = move()

    columns: dict[str, list[str]] = {}
    for table, column in ask(
        file,
        "SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns "
        "WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite%'",
    ):
        columns.setdefault(table, []).append(column)
    there = contents(target, columns)
    assert there == contents(file, columns)
    assert [table for table, rows in there.items() if not rows] == []  # so that every table was put to the test
    assert f"records: {CALLS + 2} rows" in said
    assert "0 differences" in said
    assert check(target).differences == ()
    # Rows have the numbers by which those of one moment are put in order.
    order = "SELECT id FROM records ORDER BY rowid"
    assert ask(target, order) == ask(file, order)


async def test_the_moved_ledger_goes_on_where_the_file_ended(file: SQLiteFile, target: PostgresDatabase) -> None:
    await asyncio.to_thread(move_ledger, file, target, Unwatched())

    ledger = await PostgresLedger.open(target, ManualClock())
    again = await ledger.book(charge("1"))
    new = await ledger.book(charge("2"))
    other = example_record("other", model_served="another-model", cost=Nano(3))
    hold = await ledger.reserve(example_intent("other", 10, ACCOUNT))
    await ledger.settle(hold, other)
    await ledger.close()
    prices = reprice(target, ALL, lambda provider, model, at_ns, tier: Price("newer", ((-1, OLD),)))

    assert (again, new) == (False, True)
    assert prices.delta < 0
    assert check(target).differences == ()


async def test_while_a_gateway_has_the_file_or_the_database_open_nothing_is_moved(
    move: Callable[..., str], file: SQLiteFile, target: PostgresDatabase
) -> None:
    on_file = await SQLiteLedger.open(file.path, ManualClock())
    refused_here = await asyncio.to_thread(move, 2)
    await on_file.close()
    on_server = await PostgresLedger.open(target, ManualClock())
    refused_there = await asyncio.to_thread(move, 2)
    await on_server.close()

    await asyncio.to_thread(move)

    assert f"A gateway has {file.label} open" in refused_here
    assert f"A gateway has {target.label} open" in refused_there


async def test_a_gateway_that_was_killed_stops_nobody_and_its_call_is_charged_after_the_move(
    move: Callable[..., str], file: SQLiteFile, target: PostgresDatabase
) -> None:
    (file.path.with_name("ledger.db.instances") / "dead.lock").touch()

    await asyncio.to_thread(move)

    assert ask(target, "SELECT id FROM holds") == [("under-way",)]


def test_a_ledger_that_has_rows_is_not_moved_over(move: Callable[..., str], target: PostgresDatabase) -> None:
    move()

    again = move(code=2)

    assert f"The ledger at {target.label} is not empty" in again
    assert len(ask(target, "SELECT 1 FROM records")) == CALLS + 2


def test_a_move_that_breaks_off_leaves_the_database_empty_and_can_be_done_again(
    move: Callable[..., str], file: SQLiteFile, target: PostgresDatabase
) -> None:
    class Killed(Exception):
        pass

    class Breaking(Unwatched):
        def began(self, table: str, rows: int) -> None:
            if table == "runs":
                raise Killed

    with pytest.raises(Killed):
        move_ledger(file, target, Breaking())
    left = ask(target, "SELECT count(*) FROM records")

    said = move()

    assert left == [(0,)]
    assert "0 differences" in said


def test_rows_that_do_not_arrive_as_they_were_read_undo_the_move(
    move: Callable[..., str], target: PostgresDatabase
) -> None:
    target.prepare()
    with target.working() as session:
        session.execute(
            "CREATE FUNCTION halve() RETURNS TRIGGER LANGUAGE plpgsql AS "
            "$$ BEGIN NEW.cost = NEW.cost / 2; RETURN NEW; END $$"
        )
        session.execute("CREATE TRIGGER halves BEFORE INSERT ON records FOR EACH ROW EXECUTE FUNCTION halve()")

    said = move(code=2)

    assert "columns that differ: cost" in said
    assert ask(target, "SELECT count(*) FROM records") == [(0,)]


def test_a_file_that_is_not_there_and_a_place_that_is_not_named_are_said_so(tmp_path: Path) -> None:
    runner = CliRunner()
    nothing = runner.invoke(
        cli.app, ["ledger", "move", "--to", "postgresql://127.0.0.1:1/x", "--data-dir", str(tmp_path)]
    )
    (tmp_path / "farthing.yaml").write_text("{}")
    nowhere = runner.invoke(cli.app, ["ledger", "move", "--config", str(tmp_path)])

    assert (nothing.exit_code, nowhere.exit_code) == (2, 2)
    assert "There is no ledger at" in nothing.output


class Unwatched:
    def began(self, table: str, rows: int) -> None:
        pass

    def copied(self, rows: int) -> None:
        pass
