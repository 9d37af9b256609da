"""SQLiteLedger: the port Ledger on one SQLite file that several processes of a machine may share."""

import asyncio
import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from farthing.errors import LedgerUnavailable
from farthing.ports import Clock
from farthing.record import Record
from ledger import leases, recovery, rollups, sqlite_file
from ledger.checkpoints import Checkpointer
from ledger.groupcommit import DEADLINE_S, OWED_WAIT_S, Entry, GroupCommit
from ledger.sqlite_commit import commit
from ledger.sqlite_file import FileSession

_FIRST_WAIT_S: Final = 0.0005
_LONGEST_WAIT_S: Final = 0.005
_OPENING_TRIES: Final = 1_000

_DATA_ERRORS: Final = (
    ArithmeticError,
    TypeError,
    ValueError,
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
)
"""What an operation with impossible values raises; the disk raises other errors."""


class SQLiteLedger(GroupCommit):
    """Group commit on the event loop: what was asked for in one turn of the loop is one transaction at its end.
    `busy_retries` counts waits for other processes."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        connect: sqlite_file.Connect,
        lease: leases.Lease,
        name: str,
        on_late: Callable[[Record], None] | None,
    ) -> None:
        super().__init__(name, on_late)
        self._path, self._clock, self._connect = path, clock, connect
        self._file = _identity(path)
        self._lease = lease
        self._connection: FileSession | None = None
        self._checkpointer = Checkpointer(path)
        self._keys = rollups.Keys()
        self._timer: asyncio.Handle | None = None
        self._busy_since: float | None = None
        self._busy_deadline_s, self._wait_s = DEADLINE_S, _FIRST_WAIT_S
        self._recovers_late = False
        self.busy_retries = 0

    @classmethod
    async def open(
        cls,
        path: Path,
        clock: Clock,
        *,
        synchronous: str = "normal",
        connect: sqlite_file.Connect | None = None,
        busy_deadline_s: float = DEADLINE_S,
        on_late: Callable[[Record], None] | None = None,
    ) -> "SQLiteLedger":
        """Open or create the file and recover what dead processes left behind.

        Raises ConfigError (newer schema, unknown `synchronous`) or LedgerUnavailable.
        """
        connect = connect or sqlite_file.connector(synchronous)
        name = secrets.token_hex(8)
        try:
            lease, connection = await asyncio.to_thread(_open_file, path, name, connect)
        except (sqlite3.Error, OSError) as error:
            raise _unavailable(path, error) from error
        ledger = cls(path, clock, connect, lease, name, on_late)
        ledger._connection, ledger._busy_deadline_s = connection, busy_deadline_s
        ledger._checkpointer.start()
        try:
            await ledger.recover()
        except LedgerUnavailable as error:
            if not isinstance(error.__cause__, sqlite3.Error) or not _is_busy(error.__cause__):
                await ledger.close()
                raise
            # Another process writes for long: until it is done calls are refused, and that must not end their siblings.
            ledger._recovers_late = True
        return ledger

    @property
    def recovery_is_due(self) -> bool:
        """See GroupCommit: or the file was locked when it was opened."""
        return self._recovers_late

    async def recover(self) -> int:
        """See GroupCommit."""
        now_ns = self._clock.wall_ns()
        try:
            self._check_file()
            lost = await asyncio.to_thread(_recover, self._path, self._instance, now_ns, self._busy_deadline_s)
        except (sqlite3.Error, OSError) as error:
            raise _unavailable(self._path, error) from error
        self._recovers_late = False
        return self._tell_lost(lost)

    async def close(self) -> None:
        """Commit what is queued, copy the log, give the lease back. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        while self._queue or self._aside:
            self._flush()
            await asyncio.sleep(_FIRST_WAIT_S if self._queue else 0)
        await asyncio.to_thread(self._let_go)

    def _let_go(self) -> None:
        self._checkpointer.stop()
        if self._connection:
            self._connection.close()
        self._lease.release()

    def _wake(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._take_up()
        while self._queue:
            batch = self._next_batch()
            if batch and not self._attempt(batch):
                return
        if self._aside:  # the next portion, when others have had their turn
            self._timer = self._loop.call_soon(self._flush)

    def _attempt(self, batch: list[Entry]) -> bool:
        """Commit a batch; False where it was put back to be tried later."""
        try:
            self._check_file()
            connection = self._connection = self._connection or self._connect(self._path)
            committed = commit(connection, [entry.operation for entry in batch], self._keys)
        except _DATA_ERRORS as error:
            self._isolate(batch, error)
        except sqlite3.Error as error:
            return self._postpone(batch, error) if _is_busy(error) else self._give_up(batch, error)
        else:
            self._busy_since, self._wait_s = None, _FIRST_WAIT_S
            self._resolve(batch, committed)
        return True

    def _check_file(self) -> None:
        """A file that was removed or replaced can still be written, and what is written there nobody will ever read;
        opening another one in its place would start all budgets anew. 1 us a batch."""
        if _identity(self._path) != self._file:
            raise sqlite3.OperationalError("the file was removed or replaced: put it back and restart the gateway")

    # --- what can go wrong -----------------------------------------------------------------------

    def _postpone(self, batch: list[Entry], error: sqlite3.Error) -> bool:
        """Another process is writing: try again soon, up to a deadline. The loop never sleeps in SQLite."""
        now = self._loop.time()
        if self._busy_since is None:
            self._busy_since = now
        if now - self._busy_since > self._busy_deadline_s:
            self._busy_since = None
            return self._give_up(batch, error)
        self.busy_retries += 1
        self._put_back(batch)
        self._timer = self._loop.call_later(self._wait_s, self._flush)
        self._wait_s = min(self._wait_s * 1.5, _LONGEST_WAIT_S)
        return False

    def _give_up(self, batch: list[Entry], error: sqlite3.Error) -> bool:
        """The disk refused: nothing was done. The connection is opened anew, for one may not outlive its disk."""
        if self._connection and not _is_busy(error):
            self._connection.close()
            self._connection = None
        if not self._fail(batch, _unavailable(self._path, error)):
            return True
        self._timer = self._loop.call_later(OWED_WAIT_S, self._flush)
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file is at the path; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _open_file(path: Path, name: str, connect: sqlite_file.Connect) -> tuple[leases.Lease, FileSession]:
    folder = sqlite_file.instances(path)
    folder.mkdir(parents=True, exist_ok=True)
    with leases.alone(folder):
        sqlite_file.prepare(path)
        with closing(sqlite_file.connect_waiting(path)) as session:
            rollups.catch_up(session)
        connection = _connect_patiently(path, connect)
    lease = leases.acquire(folder, name)
    assert lease is not None  # the name is 64 random bits
    return lease, connection


def _connect_patiently(path: Path, connect: sqlite_file.Connect) -> FileSession:
    """The hot path's connection waits for nobody, and to be opened it must read the file, which is locked for a moment
    while another process closes its last session."""
    for _ in range(_OPENING_TRIES):
        try:
            return connect(path)
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
        time.sleep(_LONGEST_WAIT_S)
    return connect(path)


def _recover(path: Path, instance: str, now_ns: int, wait_s: float) -> list[Record]:
    """Waits for the disk and other writers: for threads, not for the event loop."""
    with closing(sqlite_file.connect_waiting(path, wait_s)) as session:
        others = recovery.holders(session) - {instance}
        with leases.leases_of_the_dead(sqlite_file.instances(path), others) as dead:
            lost = recovery.charge_orphans(session, dead, now_ns)
        rollups.close_days(session, now_ns)
        return lost


def _is_busy(error: sqlite3.Error) -> bool:
    # SQLITE_PROTOCOL is what a start of a transaction meets under very heavy contention.
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL)


def _unavailable(path: Path, error: Exception) -> LedgerUnavailable:
    return LedgerUnavailable(
        f"The ledger {path.name} cannot be written ({error}), so nothing may be spent: check its disk and its "
        "permissions, then try again shortly."
    )
