"""Ledgers: the engine that keeps the books, as the configuration names it."""

from collections.abc import Callable
from pathlib import Path

from farthing.ports import Clock
from farthing.record import Record
from gateway.settings.values import LedgerSettings
from ledger.amendment_file import AmendmentFile
from ledger.amendments import SharedAmendments
from ledger.database import Database
from ledger.groupcommit import GroupCommit
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import SQLiteFile


class LedgerEngine:
    """What the configuration chose: SQLite in the data directory, or PostgreSQL where `ledger.url` names a server."""

    def __init__(self, settings: LedgerSettings, file: Path) -> None:
        self._settings, self._file = settings, file
        self.database: Database = SQLiteFile(file)

    async def open(self, clock: Clock, on_late: Callable[[Record], None]) -> GroupCommit:
        """The ledger, with what dead processes left behind recovered. Raises ConfigError, LedgerUnavailable."""
        self._file.touch(mode=0o600)  # records name people's features and keys
        return await SQLiteLedger.open(self._file, clock, synchronous=self._settings.synchronous, on_late=on_late)

    async def open_amendments(self, clock: Clock) -> SharedAmendments:
        """What is known beside the configuration, of a ledger that has been opened. Raises LedgerUnavailable."""
        return AmendmentFile(self._file, clock)
