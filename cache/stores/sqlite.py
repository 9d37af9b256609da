"""A store in one SQLite file which several processes share: reads on the event loop, writes in a thread."""

import asyncio
import logging
import sqlite3
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cache.stores.file import connect, open_file

_LOG: Final = logging.getLogger(__name__)
_READ_BUSY_S: Final = 0.003  # what a read may hold up the event loop; then it is a miss
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
        SELECT key FROM answers WHERE expires_ns <= ? ORDER BY expires_ns LIMIT 2048)
"""
_DELETE_NEXT: Final = """
    DELETE FROM answers WHERE key IN (SELECT key FROM answers ORDER BY expires_ns LIMIT 32)
"""


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

    What is put can be read at once by this process and soon by the others. Writes that wait while the thread is
    busy make the next batch. Above `max_bytes` the values next to expire leave. `dropped` counts values that were
    not written: too large, too many waiting, or a failed batch.
    """

    def __init__(self, reader: sqlite3.Connection, writer: sqlite3.Connection, *, max_bytes: int) -> None:
        self.dropped = 0
        self._reader = reader
        self._writer = writer
        self._max_bytes = max_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cache-store")
        self._waiting: _Batch = {}
        self._waiting_bytes = 0
        self._in_writing: _Batch = {}
        self._batch: asyncio.Future[None] | None = None
        self._swept_ns = 0
        self._closed = False

    @classmethod
    def open(cls, path: Path, *, max_bytes: int, write_busy_s: float = 2.0) -> Self:
        """Open or make the file; begins anew where it is damaged. Raises OSError if it cannot be written.

        A batch waits `write_busy_s` seconds at most for another process's lock, then it is dropped.
        """
        open_file(path, "answers.sql")
        reader = connect(path, busy_s=_READ_BUSY_S)
        return cls(reader, connect(path, busy_s=write_busy_s), max_bytes=max_bytes)

    async def get(self, key: bytes, now_ns: int) -> bytes | None:
        """The live value, or None. Raises sqlite3.Error where the file cannot be read in a few milliseconds."""
        if now_ns - self._swept_ns > _SWEEP_EVERY_NS:
            self._swept_ns = now_ns
            self._write_soon()
        for batch in (self._waiting, self._in_writing):
            if key in batch:
                value = batch[key]
                return value.data if value is not None and value.expires_ns > now_ns else None
        for data, expires_ns in self._reader.execute(_GET, (key,)).fetchall():
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

    async def written(self) -> None:
        """Wait until all that was put is in the file."""
        while self._batch is not None:
            await asyncio.wait((self._batch,))

    async def close(self) -> None:
        """Write what waits, then let go."""
        self._closed = True
        await self.written()
        self._thread.shutdown()
        self._reader.close()
        self._writer.close()

    def _write_soon(self) -> None:
        if self._batch is None and not self._closed:
            self._start()

    def _start(self) -> None:
        self._in_writing, self._waiting, self._waiting_bytes = self._waiting, {}, 0
        loop = asyncio.get_running_loop()
        self._batch = loop.run_in_executor(self._thread, self._write, self._in_writing, self._swept_ns)
        self._batch.add_done_callback(self._written)

    def _written(self, batch: asyncio.Future[None]) -> None:
        error = None if batch.cancelled() else batch.exception()
        if error is not None:
            self.dropped += len(self._in_writing)
            _LOG.warning("cache store: a batch was not written (%s: %s)", type(error).__name__, error)
        self._in_writing, self._batch = {}, None
        if self._waiting:
            self._start()

    # --- in the thread ---------------------------------------------------------------------------

    def _write(self, batch: Mapping[bytes, _Value | None], now_ns: int) -> None:
        self._writer.execute("BEGIN IMMEDIATE")
        with self._writer:  # commits, or rolls back
            self._change(batch)
            self._writer.execute(_DELETE_EXPIRED, (now_ns,))
            self._evict()

    def _change(self, batch: Mapping[bytes, _Value | None]) -> None:
        for key, value in batch.items():
            if value is None:
                self._writer.execute(_DELETE, (key,))
            else:
                row = (key, value.scope, value.data, value.expires_ns, value.size)
                self._writer.execute(_PUT, row)

    def _evict(self) -> None:
        """Down to the cap, by the index on expiry; never reads the table."""
        while self._writer.execute("SELECT bytes FROM used").fetchall()[0][0] > self._max_bytes:
            if self._writer.execute(_DELETE_NEXT).rowcount <= 0:
                return
