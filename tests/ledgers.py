"""The engines of the ledger, for tests of what both promise: an empty ledger, which a test may open, ask and damage."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hypothesis import settings

from farthing.ports import Clock
from farthing.record import Record
from ledger import sqlite_file
from ledger.amendment_file import AmendmentFile
from ledger.amendments import SharedAmendments
from ledger.database import Database, Values
from ledger.groupcommit import GroupCommit
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import SQLiteFile
from ledger.testing import ManualClock

if TYPE_CHECKING:
    import psycopg

    from ledger.postgres_database import PostgresDatabase
    from tests.postgres import Server

VARIABLE: Final = "LEDGER_URL"
"""Where a gateway or a command finds the address of the database, which has a password."""


class Engine(ABC):
    """One ledger; its tables are there and empty when a test gets it.

    `yaml` is the section that makes a gateway use it, `environment` what the gateway has to be started with.
    """

    name: str
    database: Database
    yaml: str = ""
    environment: Mapping[str, str] = {}
    _rarely: int = 1
    """A law is tried so many times less often than on the fastest engine."""

    @abstractmethod
    async def open(self, clock: Clock, *, on_late: Callable[[Record], None] | None = None) -> GroupCommit:
        """The ledger; a second one is that of another process."""

    @abstractmethod
    def amendments(self, clock: Clock) -> SharedAmendments:
        """What another process knows of raises and runs."""

    @abstractmethod
    def empty(self) -> None:
        """Forget all that was written; nobody may have the ledger open."""

    @abstractmethod
    def remove(self) -> None:
        """As it is before the first start of a gateway."""

    @abstractmethod
    def outlast_leases(self) -> None:
        """See to it that the living may judge who is dead, so that their next recovery charges what those held."""

    def write(self, *records: Record, clock: Clock | None = None) -> None:
        """Settle these without holds, from outside any loop."""
        asyncio.run(self.settle(*records, clock=clock))

    async def settle(self, *records: Record, clock: Clock | None = None) -> None:
        """Settle these without holds."""
        ledger = await self.open(clock or ManualClock())
        await asyncio.gather(*(ledger.settle(None, record) for record in records))
        await ledger.close()

    def rows(self, statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """What the tables say."""
        with self.database.reading() as session:
            return session.execute(statement, values).fetchall()

    def change(self, statement: str, values: Values = ()) -> None:
        """Do to the tables what nobody should."""
        with self.database.working() as session:
            session.execute(statement, values)

    def tries(self, examples: int, **more: Any) -> settings:
        """How often a law is tried: fewer times where each try costs more."""
        return settings(max_examples=max(examples // self._rarely, 3), deadline=None, **more)


class SQLiteEngine(Engine):
    """In a file of the test's folder."""

    name = "sqlite"
    database: SQLiteFile

    def __init__(self, path: Path) -> None:
        self.path, self.database = path, SQLiteFile(path)
        sqlite_file.prepare(path)

    async def open(self, clock: Clock, *, on_late: Callable[[Record], None] | None = None) -> SQLiteLedger:
        """See Engine."""
        return await SQLiteLedger.open(self.path, clock, on_late=on_late)

    def amendments(self, clock: Clock) -> SharedAmendments:
        """See Engine."""
        return AmendmentFile(self.path, clock)

    def empty(self) -> None:
        """See Engine."""
        self.remove()
        sqlite_file.prepare(self.path)

    def remove(self) -> None:
        """See Engine."""
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def outlast_leases(self) -> None:
        """See Engine: a lock tells at once."""


class PostgresEngine(Engine):
    """In the usual schema of a database that one process's tests share, one after the other. Making the tables takes
    40 ms, removing their rows 4."""

    name = "postgres"
    database: "PostgresDatabase"
    yaml = f"ledger: {{url: '${{{VARIABLE}}}'}}\n"
    _rarely = 6

    def __init__(self, server: "Server") -> None:
        from ledger.postgres_database import PostgresDatabase

        self.server, self.url = server, server.fresh_database()
        self.database = PostgresDatabase(self.url)
        self.environment = {VARIABLE: self.url}
        self._clear = f"DELETE FROM {self.database.schema}.meta"
        self._meta: list[tuple[str, str]] = []

    async def open(self, clock: Clock, *, on_late: Callable[[Record], None] | None = None, **times: Any) -> GroupCommit:
        """See Engine."""
        from ledger.postgres import PostgresLedger

        return await PostgresLedger.open(self.database, clock, on_late=on_late, **times)

    def amendments(self, clock: Clock) -> SharedAmendments:
        """See Engine."""
        from ledger.postgres_amendments import PostgresAmendments

        return PostgresAmendments(self.database, clock)

    def empty(self) -> None:
        """See Engine. Connections that a failed test left open are ended."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(_END_THE_OTHERS)
            try:
                self._empty(connection)
            except psycopg.ProgrammingError:  # a test has removed a table, or there are none yet
                self._make_anew(connection)

    def remove(self) -> None:
        """See Engine."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {self.database.schema} CASCADE".encode())

    def outlast_leases(self) -> None:
        """See Engine: as if a minute had passed, in which all who have not left were heard of."""
        self.change("UPDATE instances SET since = since - INTERVAL '1 minute', seen = now()")

    def _empty(self, connection: "psycopg.Connection[Any]") -> None:
        connection.execute(self._clear.encode())
        connection.cursor().executemany(f"INSERT INTO {self.database.schema}.meta VALUES (%s, %s)".encode(), self._meta)

    def _make_anew(self, connection: "psycopg.Connection[Any]") -> None:
        self.remove()
        self.database.prepare()
        schema = self.database.schema
        tables = connection.execute(_OF_KIND, (schema, "r")).fetchall()
        counters = connection.execute(_OF_KIND, (schema, "S")).fetchall()
        self._clear = _script(
            [f"DELETE FROM {schema}.{name}" for (name,) in tables if name != "meta"],
            [f"DELETE FROM {schema}.meta WHERE name <> 'schema'"],
            [f"SELECT setval('{schema}.{name}', 1, false)" for (name,) in counters],
        )
        kept = f"SELECT name, value FROM {schema}.meta WHERE name <> 'schema'"
        self._meta = connection.execute(kept.encode()).fetchall()


_END_THE_OTHERS: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_OF_KIND: Final = """
    SELECT relname FROM pg_class WHERE relnamespace = (%s)::TEXT::REGNAMESPACE AND relkind = %s
"""


def _script(*statements: Iterable[str]) -> str:
    return "; ".join(statement for some in statements for statement in some)
