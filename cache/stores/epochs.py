"""Epochs in memory, and in the SQLite file of the exact cache."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, Self

from cache.epochs import EVERYTHING
from cache.stores.file import connect, open_file
from farthing.ports import Clock

_BUSY_S: Final = 5.0
_NEWER: Final = "SELECT name, number FROM epochs WHERE number > ? ORDER BY number"
_BEGIN: Final = "INSERT INTO epochs (name, number) SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM epochs)"
_ADVANCE: Final = """
    INSERT INTO epochs (name, number) SELECT ?, max(?, 1 + (SELECT coalesce(max(number), 0) FROM epochs))
    ON CONFLICT (name) DO UPDATE SET number = excluded.number
    RETURNING number
"""
_FORGET: Final = "DELETE FROM epochs WHERE number < ?"


class MemoryEpochs:
    """Port `EpochRows` for a single process."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    async def newer(self, than: int) -> Sequence[tuple[str, int]]:
        """See the port."""
        return [(name, number) for name, number in self._numbers.items() if number > than]

    async def advance(self, name: str, at_us: int) -> int:
        """See the port."""
        number = max(at_us, 1 + max(self._numbers.values(), default=0))
        if name == EVERYTHING:
            self._numbers.clear()
        self._numbers[name] = number
        return number

    async def close(self) -> None:
        """See the port."""


class SQLiteEpochs:
    """Port `EpochRows` over `epochs` in the file of the answers. Raises sqlite3.Error where it cannot be used."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self._path = path
        self._database = database

    @classmethod
    def open(cls, path: Path, clock: Clock) -> Self:
        """Open or make the file; begins anew where it is damaged. Raises OSError if it cannot be written."""
        open_file(path, "answers.sql")
        with closing(connect(path, busy_s=_BUSY_S)) as database:
            database.execute(_BEGIN, (EVERYTHING, clock.wall_ns() // 1000))
        return cls(path, connect(path, busy_s=0))

    async def newer(self, than: int) -> Sequence[tuple[str, int]]:
        """See the port. On the loop: some microseconds, once a second, and no writer stands in its way."""
        return self._database.execute(_NEWER, (than,)).fetchall()

    async def advance(self, name: str, at_us: int) -> int:
        """See the port."""
        return await asyncio.to_thread(self._advance, name, at_us)

    async def close(self) -> None:
        """See the port."""
        self._database.close()

    def _advance(self, name: str, at_us: int) -> int:
        with closing(connect(self._path, busy_s=_BUSY_S)) as database:
            database.execute("PRAGMA synchronous = FULL")  # a purge is promised; answers may be lost
            database.execute("BEGIN IMMEDIATE")
            with database:
                number = int(database.execute(_ADVANCE, (name, at_us)).fetchall()[0][0])
                if name == EVERYTHING:
                    database.execute(_FORGET, (number,))
            return number
