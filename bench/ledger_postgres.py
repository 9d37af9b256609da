"""What bench.ledger measures, of the ledger on PostgreSQL: `python -m bench.ledger --ledger postgres`.

CPU is the gateway's alone: user and system time of this process. The server's own is told beside it.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from bench.processes import cpu_seconds
from gateway.clock import SystemClock
from ledger import rollups
from ledger.operations import Reserve, Settle
from ledger.postgres import PostgresLedger
from ledger.postgres_commit import Known, commit, prepare
from ledger.postgres_connection import Line
from ledger.postgres_database import PostgresDatabase
from ledger.rows import COLUMNS, Row

if TYPE_CHECKING:
    from farthing.hold import Intent
    from farthing.record import Record
    from tests.postgres import Server

Make = Callable[[int, random.Random], "tuple[Record, Intent]"]
"""A record and the intent before it, by number."""
STATEMENT_S: Final = 10.0


async def open_ledger(url: str) -> PostgresLedger:
    """A ledger whose latency is measured."""
    return await PostgresLedger.open(PostgresDatabase(url), SystemClock())


def prepared(url: str) -> PostgresDatabase:
    """With its tables."""
    database = PostgresDatabase(url)
    database.prepare()
    return database


async def cpu_of_batches(server: "Server", size: int, calls: int, make: Make) -> list[dict[str, Any]]:
    """CPU microseconds a call (two commits: holds, then settlements) in batches of that size."""
    url = server.fresh_database()
    database = await asyncio.to_thread(prepared, url)
    line, known, dice = Line(database, statement_s=STATEMENT_S), Known(), random.Random(1)
    connection, spent, waited = await line.connection(), [], []
    theirs = cpu_seconds(server.pid)
    for start in range(0, calls, size):
        made = [make(number, dice) for number in range(start, start + size)]
        began, began_cpu = time.perf_counter_ns(), time.process_time_ns()
        reserves = [Reserve(intent, "bench") for _, intent in made]
        await prepare(connection, reserves, known)
        holds = (await commit(connection, reserves, known)).outcomes
        settles = [Settle(hold, record) for hold, (record, _) in zip(holds, made, strict=True)]  # type: ignore[arg-type]
        await prepare(connection, settles, known)
        await commit(connection, settles, known)
        spent.append((time.process_time_ns() - began_cpu) / size / 1_000)
        waited.append((time.perf_counter_ns() - began) / 1e6)
    theirs = (cpu_seconds(server.pid) - theirs) / calls * 1e6
    await line.hang_up()
    what = f"reserve, settle and record, batches of {size}"
    return [
        {"what": what, "unit": "CPU us a call", **_middle(spent)},
        {"what": f"{what}: both transactions", "unit": "ms", **_middle(waited)},
        {"what": f"{what}: the server", "unit": "CPU us a call", "median": round(theirs, 1)},
    ]


def _middle(taken: list[float]) -> dict[str, float]:
    ordered = sorted(taken)
    return {
        "least decile": round(ordered[len(ordered) // 10], 1),
        "median": round(statistics.median(ordered), 1),
    }


def fill(url: str, rows: int, templates: list[Row], *, start_ns: int, days: int) -> None:
    """Write so many records over so many days, made of the templates in turn by the server itself, and mark their
    roll-ups as pending, as in a database of an older version."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET search_path TO farthing")
        connection.execute("CREATE TEMPORARY TABLE templates (LIKE records)")
        connection.execute("ALTER TABLE templates ALTER COLUMN rowid DROP NOT NULL, ADD COLUMN number INTEGER")
        with connection.cursor().copy(f"COPY templates (number, {', '.join(COLUMNS)}) FROM STDIN") as copy:
            for number, row in enumerate(templates):
                copy.write_row((number, *row))
        connection.execute(_FILLING, {"rows": rows, "templates": len(templates), "since": start_ns, "days": days})
        connection.execute(
            "INSERT INTO meta VALUES ('rollups_pending', %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (str(start_ns // rollups.DAY_NS),),
        )


_CHANGED: Final = {
    "id": "lpad(to_hex(each), 32, '0')",
    "received_ns": "%(since)s + each * (%(days)s * 86400000000000 / %(rows)s)",
    "cost": "cost + CASE WHEN cost > 0 THEN each %% 1000 ELSE 0 END",
}
_FILLING: Final = sql.SQL(
    "INSERT INTO records ({}) SELECT {} FROM generate_series(0::BIGINT, %(rows)s - 1) AS each "
    "JOIN templates ON number = each * 7919 %% %(templates)s ORDER BY each"
).format(
    sql.SQL(", ").join(map(sql.Identifier, COLUMNS)),
    sql.SQL(", ").join(sql.SQL(_CHANGED.get(name, name)) for name in COLUMNS),
)


def build(database: PostgresDatabase, until_ns: int) -> None:
    """All roll-ups, as the opening of an old database does; then the statistics that a server in use has."""
    with database.working() as session:
        rollups.catch_up(session)
        rollups.close_days(session, until_ns)
        session.execute("ANALYZE")
