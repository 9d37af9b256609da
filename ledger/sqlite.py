"""SQLiteLedger: the port Ledger on one SQLite file that several processes of a machine may share."""

import asyncio
import secrets
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from farthing.errors import BudgetExceeded, LedgerUnavailable
from farthing.hold import Hold, Intent
from farthing.money import Nano
from farthing.ports import Clock
from farthing.record import Record
from ledger import leases, recovery, rollups, schema
from ledger.charges import Charge
from ledger.checkpoints import Checkpointer
from ledger.transaction import Book, Committed, Extend, Operation, Outcome, Release, Reserve, Settle, commit

BUSY_DEADLINE_S: Final = 2.0
"""How long a batch waits for the other processes' transactions before its operations fail."""
_FIRST_WAIT_S: Final = 0.0005
_LONGEST_WAIT_S: Final = 0.005

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


class _Owed(asyncio.Future[Any]):
    """The result of a settlement. It cannot be cancelled: a cancelled caller learns of it first, and is cancelled
    then. (asyncio.shield does the same for two more futures and their callbacks.)"""

    def cancel(self, msg: object = None) -> bool:
        del msg
        return False


class _Entry:
    """An operation in the queue and the future of whoever waits for it."""

    __slots__ = ("alone", "future", "operation")

    def __init__(self, operation: Operation, future: "asyncio.Future[Any]") -> None:
        self.operation, self.future = operation, future
        self.alone = False

    @property
    def abandoned(self) -> bool:
        """A reservation whose caller left before it was made. Settlements are owed to the books regardless."""
        return type(self.operation) is Reserve and self.future.done()

    def resolve(self, outcome: Outcome) -> None:
        if self.future.done():
            return
        if isinstance(outcome, BudgetExceeded):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)

    def fail(self, error: LedgerUnavailable) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class SQLiteLedger:
    """Group commit on the event loop: what was asked for in one turn of the loop is one transaction at its end.

    Belongs to the loop in which it was opened. Counters, since opening: `recovered` holds charged as lost,
    `overages` settlements above their hold, `late_settlements` of holds that were gone (already settled, or
    expired and charged: the charge stands), `busy_retries` waits for other processes, `failures` failed batches.
    """

    def __init__(self, path: Path, clock: Clock, connect: schema.Connect, lease: leases.Lease, name: str) -> None:
        self._path, self._clock, self._connect = path, clock, connect
        self._file = _identity(path)
        self._lease, self._instance = lease, name
        self._loop = asyncio.get_running_loop()
        self._connection: sqlite3.Connection | None = None
        self._checkpointer = Checkpointer(path)
        self._keys = rollups.Keys()
        self._queue: deque[_Entry] = deque()
        self._timer: asyncio.Handle | None = None
        self._busy_since: float | None = None
        self._busy_deadline_s, self._wait_s = BUSY_DEADLINE_S, _FIRST_WAIT_S
        self._closed = False
        self._on_lost: Callable[[Record], None] | None = None
        self.recovered = self.overages = self.late_settlements = self.busy_retries = self.failures = 0

    @classmethod
    async def open(
        cls,
        path: Path,
        clock: Clock,
        *,
        synchronous: str = "normal",
        connect: schema.Connect | None = None,
        busy_deadline_s: float = BUSY_DEADLINE_S,
        on_lost: Callable[[Record], None] | None = None,
    ) -> "SQLiteLedger":
        """Open or create the file and recover what dead processes left behind. `on_lost` is told of each record that
        a recovery of this ledger writes, then and later.

        Raises ConfigError (newer schema, unknown `synchronous`) or LedgerUnavailable.
        """
        connect = connect or schema.connector(synchronous)
        name = secrets.token_hex(8)
        try:
            lease, connection = await asyncio.to_thread(_open_file, path, name, connect)
        except (sqlite3.Error, OSError) as error:
            raise _unavailable(path, error) from error
        ledger = cls(path, clock, connect, lease, name)
        ledger._connection, ledger._busy_deadline_s = connection, busy_deadline_s
        ledger._on_lost = on_lost
        ledger._checkpointer.start()
        try:
            await ledger.recover()
        except LedgerUnavailable:
            await ledger.close()
            raise
        return ledger

    async def reserve(self, intent: Intent) -> Hold:
        """See the port. A caller that is cancelled holds nothing."""
        future = self._ask(Reserve(intent, self._instance))
        try:
            hold = await future
        except asyncio.CancelledError:
            if not future.cancelled() and future.exception() is None:
                self._ask(Release(intent))
            raise
        assert isinstance(hold, Hold)  # the outcome of every reservation that did not raise
        return hold

    async def extend(self, hold: Hold, amount: Nano) -> Hold:
        """See the port. What a cancelled caller extended by is given back by the settlement."""
        extended = await self._ask(Extend(hold, amount))
        if not isinstance(extended, Hold):
            raise LedgerUnavailable(f"The hold {hold.intent.id} is gone: its time was over, and it has been charged.")
        return extended

    def settle(self, hold: Hold | None, record: Record) -> "asyncio.Future[bool]":
        """See the port."""
        return self._ask(Settle(hold, record), _Owed(loop=self._loop))

    def book(self, charge: Charge) -> "asyncio.Future[bool]":
        """Write the record of a charge from outside and its cost in the accounts, also past their limits; nothing is
        reserved for it. As `settle`: queued before this returns, a second time changes nothing, True where written.
        Raises LedgerUnavailable."""
        return self._ask(Book(charge), _Owed(loop=self._loop))

    async def recover(self) -> int:
        """Charge holds of dead processes and expired ones; returns how many. Raises LedgerUnavailable."""
        now_ns, folder = self._clock.wall_ns(), _folder(self._path)
        try:
            self._check_file()
            lost = await asyncio.to_thread(recovery.recover, self._path, folder, instance=self._instance, now_ns=now_ns)
        except (sqlite3.Error, OSError) as error:
            raise _unavailable(self._path, error) from error
        self.recovered += len(lost)
        if self._on_lost is not None:
            for record in lost:
                self._on_lost(record)
        return len(lost)

    async def close(self) -> None:
        """Commit what is queued, copy the log, give the lease back. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        while self._queue:
            self._flush()
            await asyncio.sleep(_FIRST_WAIT_S if self._queue else 0)
        await asyncio.to_thread(self._let_go)

    def _let_go(self) -> None:
        self._checkpointer.stop()
        if self._connection:
            self._connection.close()
        self._lease.release()

    # --- the queue -------------------------------------------------------------------------------

    def _ask(self, operation: Operation, owed: _Owed | None = None) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = self._loop.create_future() if owed is None else owed
        if self._closed:
            future.set_exception(LedgerUnavailable("The ledger is closed: the gateway is shutting down."))
            return future
        self._queue.append(_Entry(operation, future))
        if self._timer is None:
            self._timer = self._loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while self._queue:
            batch = self._next_batch()
            if batch and not self._attempt(batch):
                return

    def _next_batch(self) -> list[_Entry]:
        """All that is waiting, or one operation that has to go alone."""
        queue = self._queue
        batch: list[_Entry] = []
        while queue and not (batch and queue[0].alone):
            entry = queue.popleft()
            if not entry.abandoned:
                batch.append(entry)
            if entry.alone:
                break
        return batch

    def _attempt(self, batch: list[_Entry]) -> bool:
        """Commit a batch; False where it was put back to wait for another process."""
        try:
            self._check_file()
            connection = self._connection = self._connection or self._connect(self._path)
            committed = commit(connection, [entry.operation for entry in batch], self._keys)
        except _DATA_ERRORS as error:
            self._isolate(batch, error)
        except sqlite3.Error as error:
            if _is_busy(error):
                return self._postpone(batch, error)
            self._fail(batch, error)
        else:
            self._resolve(batch, committed)
        return True

    def _check_file(self) -> None:
        """A file that was removed or replaced can still be written, and what is written there nobody will ever read;
        opening another one in its place would start all budgets anew. 1 us a batch."""
        if _identity(self._path) != self._file:
            raise sqlite3.OperationalError("the file was removed or replaced: put it back and restart the gateway")

    def _resolve(self, batch: list[_Entry], committed: Committed) -> None:
        self._busy_since, self._wait_s = None, _FIRST_WAIT_S
        self.overages += committed.overages
        self.late_settlements += committed.late
        for entry, outcome in zip(batch, committed.outcomes, strict=True):
            entry.resolve(outcome)

    # --- what can go wrong -----------------------------------------------------------------------

    def _isolate(self, batch: list[_Entry], error: Exception) -> None:
        """A row cannot be stored: find it by sending every operation of the batch alone."""
        if len(batch) == 1:
            self.failures += 1
            batch[0].fail(LedgerUnavailable(f"The ledger cannot store this row ({type(error).__name__})."))
            return
        for entry in batch:
            entry.alone = True
        self._queue.extendleft(reversed(batch))

    def _postpone(self, batch: list[_Entry], error: sqlite3.Error) -> bool:
        """Another process is writing: try again soon, up to a deadline. The loop never sleeps in SQLite."""
        now = self._loop.time()
        if self._busy_since is None:
            self._busy_since = now
        if now - self._busy_since > self._busy_deadline_s:
            self._busy_since = None
            self._fail(batch, error)
            return True
        self.busy_retries += 1
        self._queue.extendleft(reversed(batch))
        self._timer = self._loop.call_later(self._wait_s, self._flush)
        self._wait_s = min(self._wait_s * 1.5, _LONGEST_WAIT_S)
        return False

    def _fail(self, batch: Sequence[_Entry], error: sqlite3.Error) -> None:
        """The disk refused: nothing was done. The connection is opened anew, for one may not outlive its disk."""
        self.failures += 1
        for entry in batch:
            entry.fail(_unavailable(self._path, error))
        if self._connection and not _is_busy(error):
            self._connection.close()
            self._connection = None


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file is at the path; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _folder(path: Path) -> Path:
    return path.with_name(path.name + ".instances")


def _open_file(path: Path, name: str, connect: schema.Connect) -> tuple[leases.Lease, sqlite3.Connection]:
    folder = _folder(path)
    folder.mkdir(parents=True, exist_ok=True)
    with leases.alone(folder):
        schema.prepare(path)
        rollups.catch_up(path)
        connection = connect(path)
    lease = leases.acquire(folder, name)
    assert lease is not None  # the name is 64 random bits
    return lease, connection


def _is_busy(error: sqlite3.Error) -> bool:
    # SQLITE_PROTOCOL is what a start of a transaction meets under very heavy contention.
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL)


def _unavailable(path: Path, error: Exception) -> LedgerUnavailable:
    return LedgerUnavailable(
        f"The ledger {path.name} cannot be written ({error}), so nothing may be spent: check its disk and its "
        "permissions, then try again shortly."
    )
