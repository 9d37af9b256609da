"""Checkpoints: a thread that moves the write-ahead log into the database, off the path of every request."""

import sqlite3
import threading
from pathlib import Path
from typing import Final

from ledger.schema import connect_waiting

PASSIVE_BYTES: Final = 4 << 20
"""A log larger than this is copied; nobody waits for that."""
TRUNCATE_BYTES: Final = 64 << 20
"""A log larger than this is also cut, which keeps writers out for the moment it takes."""
INTERVAL_S: Final = 0.5


class Checkpointer:
    """Looks at the log twice a second until it is stopped."""

    def __init__(self, path: Path, *, passive_bytes: int = PASSIVE_BYTES, truncate_bytes: int = TRUNCATE_BYTES) -> None:
        self._path, self._log = path, path.with_name(path.name + "-wal")
        self._passive, self._truncate = passive_bytes, truncate_bytes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger-checkpoints", daemon=True)
        self.failures = 0

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Copy what the log has and end; waits for it, so not for the event loop."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        connection = connect_waiting(self._path, busy_ms=50)
        try:
            while not self._stop.wait(INTERVAL_S):
                self.check(connection)
            self._checkpoint(connection, "PASSIVE")
        finally:
            connection.close()

    def check(self, connection: sqlite3.Connection) -> None:
        """Copy and cut as the size of the log demands."""
        if self._log_bytes() > self._passive:
            self._checkpoint(connection, "PASSIVE")
        if self._log_bytes() > self._truncate:
            self._checkpoint(connection, "TRUNCATE")

    def _log_bytes(self) -> int:
        try:
            return self._log.stat().st_size
        except FileNotFoundError:
            return 0

    def _checkpoint(self, connection: sqlite3.Connection, mode: str) -> None:
        try:
            connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.Error:
            self.failures += 1  # the log only grows meanwhile; the disk speaks up in the path of the requests
