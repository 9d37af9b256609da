"""What the ledger costs a call, and how long reports on many rows take.

`python -m bench.ledger [--ledger sqlite|postgres] [--part path|reports] [--rows N] [--folder DIR] [--json PATH]`.
The path of a call: CPU of reserve, settle and record in batches; the latency that both add to a call that comes on its
own time, while checkpoints run. Reports: on N rows of synthetic records (0.45 KB of disk each) over 30 days.
"""

import argparse
import asyncio
import gc
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvloop

from bench.results import write_result
from bench.servers import server_for
from farthing.hold import Account, Intent
from farthing.money import Nano
from farthing.record import CacheOutcome, Outcome, Record
from farthing.tags import Tags
from farthing.usage import Usage
from gateway.clock import SystemClock
from ledger import costs, reports, rollups, sqlite_file
from ledger.database import Database, read_statements
from ledger.groupcommit import GroupCommit
from ledger.operations import Reserve, Settle
from ledger.rows import COLUMNS, Row, insertion, row_of
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_commit import commit
from ledger.sqlite_file import SQLiteFile

if TYPE_CHECKING:
    from tests.postgres import Server

BATCHES: Final = (1, 8, 32, 64)
CALLS_A_BATCH_SIZE: Final = 12_000
RATE: Final = 2_000
SECONDS: Final = 10
DAYS: Final = 30
START_NS: Final = 1_800_000_000 * 10**9 // rollups.DAY_NS * rollups.DAY_NS
FEATURES: Final = 24
TIERS: Final = ("small", "medium", "large")
TEMPLATES: Final = 4_096
RUNS: Final = 21
ACCOUNTS: Final = tuple(
    Account(id=f"b{number}|all|month|2027-01", budget=f"b{number}", scope="all", window="month", limit=Nano(10**18))
    for number in range(3)
)


def record_of(number: int, dice: random.Random) -> Record:
    """A record as a middling installation would write it: 24 features of 6 tenants, three tiers, a fifth are hits."""
    feature, tier = dice.randrange(FEATURES), dice.choices(TIERS, (6, 3, 1))[0]
    cache = dice.choices(list(CacheOutcome), (15, 4, 1, 60, 20, 0))[0]
    outcome = Outcome.HIT if cache.is_hit else dice.choices([Outcome.SUCCESS, Outcome.UPSTREAM_ERROR], (98, 2))[0]
    cost = 0 if outcome is not Outcome.SUCCESS else int(dice.lognormvariate(13 + TIERS.index(tier), 1))
    return Record(
        id=f"{START_NS // 10**6:012x}{number:020x}",
        tags=Tags(
            tenant=f"tenant-{feature % 6}",
            key_id=f"key-{feature}",
            feature=f"feature-{feature}",
            task="default",
            environment="production",
            team=f"team-{feature % 4}",
        ),
        endpoint="chat/completions",
        stream=False,
        received_ns=START_NS + number * 10**5,
        outcome=outcome,
        status=502 if outcome is Outcome.UPSTREAM_ERROR else 200,
        model_requested="auto",
        model_served=f"model-{tier}",
        provider="openai",
        deployment=f"{tier}-1",
        tier=tier,
        reference_tier="large",
        policy="cheapest_passing",
        route_reason=f"{tier} is the cheapest tier that passed for this task",
        cache=cache,
        usage=Usage(input_uncached=dice.randrange(2_000), output=dice.randrange(500)),
        cost=Nano(cost),
        avoided_cache=Nano(500_000 if cache.is_hit else 0),
        rates='{"input_uncached":150000,"output":600000}',
        price_version="2026-11-20",
        seconds=dice.random() * 3,
        first_byte_seconds=dice.random(),
        finish_reason="stop",
    )


def intent_of(record: Record) -> Intent:
    """The intent before it, on three budgets."""
    return Intent(id=record.id, amount=Nano(10**7), accounts=ACCOUNTS, expires_ns=2**62, draft=record)


# --- the path of a call ------------------------------------------------------------------------------


def cpu_of_batches(folder: Path, size: int) -> dict[str, Any]:
    """CPU microseconds a call (two commits: holds, then settlements) in batches of that size."""
    path = folder / f"batches-{size}.db"
    sqlite_file.prepare(path)
    connection, keys = sqlite_file.connector("normal")(path), rollups.Keys()
    dice, spent = random.Random(1), []
    for start in range(0, CALLS_A_BATCH_SIZE, size):
        records = [record_of(number, dice) for number in range(start, start + size)]
        intents = [intent_of(record) for record in records]
        began = time.process_time_ns()
        holds = commit(connection, [Reserve(intent, "bench") for intent in intents], keys).outcomes
        pairs = zip(holds, records, strict=True)
        commit(connection, [Settle(hold, record) for hold, record in pairs], keys)  # type: ignore[arg-type]
        spent.append((time.process_time_ns() - began) / size / 1_000)
    connection.close()
    spent.sort()
    return {
        "what": f"reserve, settle and record, batches of {size}",
        "unit": "CPU us a call",
        "least decile": round(spent[len(spent) // 10], 1),
        "median": round(statistics.median(spent), 1),
    }


async def latency_under_load(opening: Coroutine[Any, Any, GroupCommit]) -> list[dict[str, Any]]:
    """What reserve and settle add to calls that arrive at a fixed rate, whatever became of those before them."""
    ledger = await opening
    dice, taken = random.Random(1), []
    records = [record_of(number, dice) for number in range(RATE * SECONDS)]
    intents = [intent_of(record) for record in records]
    gc.collect()
    gc.freeze()

    async def call(number: int, due: float) -> None:
        due = min(due, time.perf_counter())  # timers of uvloop may be half a millisecond early
        hold = await ledger.reserve(intents[number])
        await ledger.settle(hold, records[number])
        taken.append(time.perf_counter() - due)

    began, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for number in range(len(records)):
            due = began + number / RATE
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            group.create_task(call(number, due))
    cpu = time.process_time() - cpu
    await ledger.close()
    taken.sort()
    what = f"latency added to a call at {RATE:,} calls/s"
    return [
        {"what": what, "unit": "ms, of all calls", **_at(taken)},
        {"what": f"the same, generator included, {SECONDS} s", "unit": "CPU us a call", "median": _us(cpu, taken)},
    ]


def _at(taken: list[float]) -> dict[str, float]:
    """Figures of sorted seconds; a p99 only where there are enough of them."""
    found = {
        "least decile": _ms(taken[len(taken) // 10]),
        "median": _ms(taken[len(taken) // 2]),
        "most": _ms(taken[-1]),
    }
    return found | ({"p99": _ms(taken[len(taken) * 99 // 100])} if len(taken) >= 1_000 else {})


def _ms(seconds: float) -> float:
    return round(seconds * 1_000, 2)


def _us(cpu: float, taken: list[float]) -> float:
    return round(cpu / len(taken) * 1e6, 1)


# --- reports on many rows ----------------------------------------------------------------------------


def fill(path: Path, rows: int) -> None:
    """Write so many records over DAYS days, then build their roll-ups as the opening of an old file does."""
    sqlite_file.prepare(path)
    connection = sqlite_file.connect_waiting(path)
    connection.execute("PRAGMA synchronous = off")
    connection.execute("PRAGMA cache_size = -262144")
    insert = insertion(read_statements("statements")["insert_record"])
    for start in range(0, rows, 200_000):
        connection.execute("BEGIN")
        connection.executemany(insert, _rows(start, min(start + 200_000, rows), rows))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute(f"INSERT INTO meta VALUES ('rollups_pending', '{START_NS // rollups.DAY_NS}')")
    connection.close()


def _rows(start: int, end: int, rows: int) -> Iterator[Row]:
    dice = random.Random(start)
    templates = [row_of(record_of(0, dice)) for _ in range(TEMPLATES)]
    received, cost, step = COLUMNS.index("received_ns"), COLUMNS.index("cost"), DAYS * rollups.DAY_NS // rows
    for number in range(start, end):
        row = list(templates[number * 7_919 % TEMPLATES])
        row[0], row[received] = f"{number:032x}", START_NS + number * step
        row[cost] += row[cost] and number % 1_000
        yield tuple(row)


def _reports(database: Database) -> dict[str, Callable[[], object]]:
    # A period as people ask for it: the last 30 days, which begin and end inside of an hour.
    period: dict[str, Any] = {"since_ns": START_NS + 10**12, "until_ns": START_NS + DAYS * rollups.DAY_NS - 10**12}
    day: dict[str, Any] = {"since_ns": START_NS + 12 * rollups.DAY_NS, "until_ns": START_NS + 13 * rollups.DAY_NS}
    return {
        "month by feature": lambda: reports.spend(database, by=["feature"], **period),
        "month by day and model": lambda: reports.spend(database, by=["day", "model"], **period),
        "one day by model": lambda: reports.spend(database, by=["model"], **day),
        "month, median and p99 of cost per inference by feature": lambda: costs.costs(
            database, by=["feature"], **period
        ),
        "month, the same by feature and tier": lambda: costs.costs(database, by=["feature", "tier"], **period),
    }


def time_reports(database: Database, rows: int) -> list[dict[str, Any]]:
    """Milliseconds of each report, each on a connection of its own, files in the page cache."""
    told = []
    for name, ask in _reports(database).items():
        taken, cpu = [], []
        for _ in range(RUNS):
            began, cpu_began = time.perf_counter(), time.process_time()
            ask()
            taken.append(time.perf_counter() - began)
            cpu.append(time.process_time() - cpu_began)
        for unit, figures in (("ms", sorted(taken)), ("CPU ms", sorted(cpu))):
            told.append({"what": f"{name}, {rows:,} rows", "unit": unit, **_at(figures)})
    return told


def on_many_rows(folder: Path, rows: int) -> list[dict[str, Any]]:
    """Fill a file and ask it."""
    path = folder / "many.db"
    began = time.perf_counter()
    fill(path, rows)
    filled = time.perf_counter()
    with closing(sqlite_file.connect_waiting(path)) as session:
        rollups.catch_up(session)
        rollups.close_days(session, START_NS + (DAYS - 1) * rollups.DAY_NS)
    built = time.perf_counter()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sums, cells = (
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("rollup_hours", "cost_histogram")
        )
    connection.close()
    print(f"filled {rows:,} rows in {filled - began:.0f} s; {sums:,} hourly sums, {cells:,} cells of the histogram")
    return [
        *time_reports(SQLiteFile(path), rows),
        {"what": f"build all roll-ups, {rows:,} rows", "unit": "s", "median": round(built - filled, 1)},
        {"what": f"size of the file, {rows:,} rows", "unit": "GB", "median": round(path.stat().st_size / 1e9, 2)},
    ]


def on_many_rows_of(server: "Server", rows: int) -> list[dict[str, Any]]:
    """The same on PostgreSQL."""
    from bench import ledger_postgres

    url, dice, began = server.fresh_database(), random.Random(0), time.perf_counter()
    database = ledger_postgres.prepared(url)
    templates = [row_of(record_of(0, dice)) for _ in range(TEMPLATES)]
    ledger_postgres.fill(url, rows, templates, start_ns=START_NS, days=DAYS)
    filled = time.perf_counter()
    ledger_postgres.build(database, START_NS + (DAYS - 1) * rollups.DAY_NS)
    built = time.perf_counter()
    print(f"filled {rows:,} rows in {filled - began:.0f} s")
    size, _ = database.sizes()
    return [
        *time_reports(database, rows),
        {"what": f"build all roll-ups, {rows:,} rows", "unit": "s", "median": round(built - filled, 1)},
        {"what": f"size of the tables, {rows:,} rows", "unit": "GB", "median": round(size / 1e9, 2)},
    ]


def _of_postgres(server: "Server", part: str, rows: int) -> list[dict[str, Any]]:
    from bench import ledger_postgres

    if part == "reports":
        return on_many_rows_of(server, rows)

    def make(number: int, dice: random.Random) -> tuple[Record, Intent]:
        record = record_of(number, dice)
        return record, intent_of(record)

    found: list[dict[str, Any]] = []
    for size in BATCHES:
        found += uvloop.run(ledger_postgres.cpu_of_batches(server, size, CALLS_A_BATCH_SIZE * min(size, 8) // 8, make))
    return found + uvloop.run(latency_under_load(ledger_postgres.open_ledger(server.fresh_database())))


def _of_sqlite(folder: Path, part: str, rows: int) -> list[dict[str, Any]]:
    if part == "reports":
        return on_many_rows(folder, rows)
    opening = SQLiteLedger.open(folder / "load.db", SystemClock())
    return [cpu_of_batches(folder, size) for size in BATCHES] + uvloop.run(latency_under_load(opening))


def main() -> None:
    """Measure and print; write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ledger", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--part", choices=("path", "reports"), default="path", help="what to measure")
    parser.add_argument("--rows", type=int, default=1_000_000, help="records to report on")
    parser.add_argument("--folder", type=Path, help="where the files are made; else in the system's temporary folder")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name, server_for(options.ledger) as server:
        if server is not None:
            figures = _of_postgres(server, options.part, options.rows)
        else:
            figures = _of_sqlite(Path(name), options.part, options.rows)
    columns = ["what", "unit", "least decile", "median", "p99", "most"]
    if options.part == "reports":
        columns.remove("p99")
    figures = [{column: row.get(column) for column in columns} for row in figures]
    for row in figures:
        told = ", ".join(f"{name} {row[name]}" for name in columns[2:] if row[name] is not None)
        print(f"{row['what']}: {told} {row['unit']}")
    if options.json:
        rows = f" --rows {options.rows}" if options.part == "reports" else ""
        engine, name = ("", "") if server is None else (" --ledger postgres", ", PostgreSQL")
        command = f"python -m bench.ledger{engine} --part {options.part}{rows}"
        load = f"load of five minutes {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores"
        note = f"What else the machine did meanwhile ({load}) only adds: see the least decile, and CPU."
        write_result(options.json, name=f"ledger, {options.part}{name}", command=command, figures=figures, note=note)


if __name__ == "__main__":
    main()
