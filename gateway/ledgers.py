"""Ledgers: the engine that keeps the books, as the configuration names it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from farthing.errors import ConfigError
from farthing.ports import Clock
from farthing.record import Record
from gateway.settings.values import LedgerSettings
from ledger.amendment_file import AmendmentFile
from ledger.amendments import SharedAmendments
from ledger.database import Database
from ledger.groupcommit import GroupCommit
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import SQLiteFile

if TYPE_CHECKING:
    from ledger.postgres_database import PostgresDatabase


class LedgerEngine:
    """What the configuration chose: PostgreSQL where `ledger.url` names a database, else SQLite in `file`.

    Raises ConfigError where the package for PostgreSQL is missing.
    """

    def __init__(self, settings: LedgerSettings, file: Path) -> None:
        self._settings, self._file = settings, file
        self._server = server_at(settings.url) if settings.url else None
        self.database: Database = self._server or SQLiteFile(file)

    async def open(self, clock: Clock, on_late: Callable[[Record], None]) -> GroupCommit:
        """The ledger, with what dead processes left behind recovered. Raises ConfigError, LedgerUnavailable."""
        if self._server is not None:
            from ledger.postgres import PostgresLedger

            return await PostgresLedger.open(self._server, clock, on_late=on_late)
        self._file.touch(mode=0o600)  # records name people's features and keys
        return await SQLiteLedger.open(self._file, clock, synchronous=self._settings.synchronous, on_late=on_late)

    async def open_amendments(self, clock: Clock) -> SharedAmendments:
        """What is known beside the configuration, of a ledger that has been opened."""
        if self._server is not None:
            from ledger.postgres_amendments import PostgresAmendments

            return PostgresAmendments(self._server, clock)
        return AmendmentFile(self._file, clock)


def server_at(url: str) -> "PostgresDatabase":
    """The ledger at an address of PostgreSQL. Raises ConfigError where it is none, or the package is missing."""
    try:
        from ledger.postgres_database import PostgresDatabase
    except ImportError:
        raise ConfigError(
            "`ledger.url` needs the package psycopg, which is not installed: pip install 'farthing[postgres]', or "
            "scripts/install postgres in a checkout."
        ) from None
    return PostgresDatabase(url)
