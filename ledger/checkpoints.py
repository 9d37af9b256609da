"""Checkpoints: a thread that moves the write-ahead log into the database, off the path of every request."""

import sqlite3
import threading
from pathlib import Path
from typing import Final

from ledger.sqlite_file import connect_waiting

COPY_BYTES: Final = 4 << 20
"""A log larger than this is copied; nobody waits for that."""
RESTART_BYTES: Final = 64 << 20
"""A log with more than this in use is begun anew, or it would grow for as long as somebody writes. The file is kept at
its size: giving it back to the disk would keep writers out for as long as that takes (25 ms for 64 MB)."""
BUSY_MS: Final = 5
"""How long a restart waits for readers of an old state, during which nobody can write."""
_FRAME_BYTES: Final = 4_096 + 24
INTERVAL_S: Final = 0.05
"""Often, so that each copy is small: what is copied in one go delays the commits beside it."""


class Checkpointer:
    """Looks at the log many times a second until it is stopped."""

    def __init__(self, path: Path, *, copy_bytes: int = COPY_BYTES, restart_bytes: int = RESTART_BYTES) -> None:
        self._path, self._log = path, path.with_name(path.name + "-wal")
        self._copy, self._restart = copy_bytes, restart_bytes
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
        connection = connect_waiting(self._path, BUSY_MS / 1000)
        try:
            while not self._stop.wait(INTERVAL_S):
                self.check(connection)
            self._checkpoint(connection, "PASSIVE")
        finally:
            connection.close()

    def check(self, connection: sqlite3.Connection) -> None:
        """Copy and restart as the size of the log demands."""
        if self._log_bytes() <= self._copy:
            return
        if self._checkpoint(connection, "PASSIVE") > self._restart:
            # FULL keeps writers out while it copies what is left: the second pass leaves it next to nothing. Whoever
            # writes next finds the whole log copied and begins it anew.
            self._checkpoint(connection, "PASSIVE")
            self._checkpoint(connection, "FULL")

    def _log_bytes(self) -> int:
        try:
            return self._log.stat().st_size
        except FileNotFoundError:
            return 0

    def _checkpoint(self, connection: sqlite3.Connection, mode: str) -> int:
        """The bytes of the log that are in use; its file may be larger."""
        try:
            _, frames, _ = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.Error:
            self.failures += 1  # the log only grows meanwhile; the disk speaks up in the path of the requests
            return 0
        return int(frames) * _FRAME_BYTES
