"""A store in one SQLite file which several processes share."""

import asyncio
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Self

from cache.stores.file import connect, open_file

_LOG: Final = logging.getLogger(__name__)
_GATHER_S: Final = 0.02  # a value that is lost in between costs money, not correctness
_RETRY_S: Final = 0.005
_BATCH: Final = 64  # rows a transaction: some 0.4 ms of the loop
_MAX_WAITING: Final = 32 << 20  # bytes of values that wait for the disk; more are dropped
_ROW_OVERHEAD: Final = 160  # bytes a row needs besides its value: two b-tree cells and the key twice
_SHARE: Final = 8  # one value may fill this part of the cap
_SWEEP_EVERY_NS: Final = 60_000_000_000

_GET: Final = "SELECT value, expires_ns FROM answers WHERE key = ?"
_PUT: Final = """
    INSERT INTO answers (key, scope, value, expires_ns, size) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET
        scope = excluded.scope, value = excluded.value, expires_ns = excluded.expires_ns, size = excluded.size
"""
_DELETE: Final = "DELETE FROM answers WHERE key = ?"
_DELETE_EXPIRED: Final = """
    DELETE FROM answers WHERE key IN (
        SELECT key FROM answers WHERE expires_ns <= ? ORDER BY expires_ns LIMIT 256)
"""
_DELETE_NEXT: Final = """
    DELETE FROM answers WHERE key IN (SELECT key FROM answers ORDER BY expires_ns LIMIT 32)
"""


def file_size(path: Path) -> tuple[int, int]:
    """Values in the file and their bytes. Raises sqlite3.Error where it cannot be read."""
    with closing(connect(path, busy_s=1.0)) as database:
        entries = int(database.execute("SELECT count(*) FROM answers").fetchall()[0][0])
        return entries, int(database.execute("SELECT bytes FROM used").fetchall()[0][0])


@dataclass(frozen=True, slots=True)
class _Value:
    data: bytes
    scope: bytes
    expires_ns: int

    @property
    def size(self) -> int:
        return len(self.data) + _ROW_OVERHEAD


_Batch = dict[bytes, _Value | None]
"""What to write by key; None: delete."""


class SQLiteStore:
    """Port `Store` over `answers` in one file.

    What is put can be read at once by this process and soon by the others. Writes gather for a moment and are made
    on the event loop, some dozens in a transaction: 6 us each, where a thread would fight the loop for the
    interpreter's lock at every statement (40 us each, measured). Above `max_bytes` the values next to expire leave.
    `dropped` counts values that were not written: too large, too many waiting, or a failed batch.
    """

    def __init__(self, path: Path, database: sqlite3.Connection, *, max_bytes: int, busy_s: float) -> None:
        self.dropped = 0
        self._path = path
        self._database = database
        self._max_bytes = max_bytes
        self._busy_s = busy_s
        self._busy_since: float | None = None
        self._waiting: _Batch = {}
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._swept_ns = 0

    @classmethod
    def open(cls, path: Path, *, max_bytes: int, write_busy_s: float = 2.0) -> Self:
        """Open or make the file; begins anew where it is damaged. Raises OSError if it cannot be written.

        A batch is tried for `write_busy_s` seconds at most while another process writes, then it is dropped.
        """
        open_file(path, "answers.sql")
        # One connection for both: what another one writes would empty the page cache of the reads.
        return cls(path, connect(path, busy_s=0), max_bytes=max_bytes, busy_s=write_busy_s)

    async def read(self, keys: Sequence[bytes], now_ns: int) -> dict[bytes, bytes]:
        """See the port. Raises sqlite3.Error where the file cannot be read at once."""
        if now_ns - self._swept_ns > _SWEEP_EVERY_NS:
            self._swept_ns = now_ns
            self._write_soon()
        return {key: data for key in keys if (data := self._live(key, now_ns)) is not None}

    def _live(self, key: bytes, now_ns: int) -> bytes | None:
        if key in self._waiting:
            value = self._waiting[key]
            return value.data if value is not None and value.expires_ns > now_ns else None
        if self._reading is None:
            self._begin_reading()
        for data, expires_ns in self._database.execute(_GET, (key,)).fetchall():
            return data if expires_ns > now_ns else None
        return None

    async def put(self, key: bytes, value: bytes, *, scope: bytes, expires_ns: int) -> None:
        """Keep a value, unless it is larger than an eighth of the cap or too much waits for the disk."""
        new = _Value(value, scope, expires_ns)
        if new.size * _SHARE > self._max_bytes or self._waiting_bytes + new.size > _MAX_WAITING:
            self.dropped += 1
            return
        self._waiting_bytes += new.size
        self._waiting[key] = new
        self._write_soon()

    async def delete(self, key: bytes) -> None:
        """Forget a value."""
        self._waiting[key] = None
        self._write_soon()

    async def size(self) -> tuple[int, int]:
        """See the port; without what waits for the disk."""
        return await asyncio.to_thread(file_size, self._path)

    async def written(self) -> None:
        """Wait until all that was put is in the file, or dropped."""
        while self._timer is not None:
            self._timer.cancel()
            self._flush()
            await asyncio.sleep(_RETRY_S if self._busy_since is not None else 0)

    async def close(self) -> None:
        """Write what waits, then let go."""
        await self.written()
        self._end_reading()
        self._database.close()

    def _begin_reading(self) -> None:
        """Reads of one moment share a transaction: taking and giving back its locks costs three times the read. What
        other processes write meanwhile is seen a moment later."""
        self._database.execute("BEGIN")
        self._reading = asyncio.get_running_loop().call_later(_GATHER_S, self._end_reading)

    def _end_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
            self._database.execute("COMMIT")

    def _write_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHER_S, self._flush)

    def _flush(self) -> None:
        """Write one batch; the next one has a later turn of the loop, so that no request waits long for either."""
        self._timer = None
        self._end_reading()  # what is written now must be seen by the next read
        batch = dict(islice(self._waiting.items(), _BATCH))
        try:
            self._write(batch, self._swept_ns)
        except sqlite3.Error as error:
            if self._may_try_again(error):
                self._turn(_RETRY_S)
                return
            self.dropped += len(batch)
            _LOG.warning("cache store: a batch was not written (%s: %s)", type(error).__name__, error)
        self._busy_since = None
        for key, value in batch.items():
            del self._waiting[key]
            self._waiting_bytes -= value.size if value is not None else 0
        if self._waiting:
            self._turn(0)

    def _turn(self, delay_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._flush)

    def _may_try_again(self, error: sqlite3.Error) -> bool:
        """True where only another process's transaction is in the way, and not for too long yet."""
        if (getattr(error, "sqlite_errorcode", 0) & 0xFF) != sqlite3.SQLITE_BUSY:
            return False
        now = asyncio.get_running_loop().time()
        self._busy_since = self._busy_since or now
        return now - self._busy_since < self._busy_s

    def _write(self, batch: Mapping[bytes, _Value | None], now_ns: int) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        with self._database:  # commits, or rolls back
            self._change(batch)
            self._database.execute(_DELETE_EXPIRED, (now_ns,))
            self._evict()

    def _change(self, batch: Mapping[bytes, _Value | None]) -> None:
        kept = [(key, value) for key, value in batch.items() if value is not None]
        self._database.executemany(_DELETE, [(key,) for key, value in batch.items() if value is None])
        self._database.executemany(
            _PUT, [(key, value.scope, value.data, value.expires_ns, value.size) for key, value in kept]
        )

    def _evict(self) -> None:
        """Down to the cap, by the index on expiry; never reads the table."""
        while self._database.execute("SELECT bytes FROM used").fetchall()[0][0] > self._max_bytes:
            if self._database.execute(_DELETE_NEXT).rowcount <= 0:
                return
