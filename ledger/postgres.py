"""PostgresLedger: the port Ledger on PostgreSQL, which the gateways of several machines share."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import psycopg
from psycopg import errors

from farthing.errors import LedgerUnavailable
from farthing.hold import Intent
from farthing.ports import Clock
from farthing.record import Record
from ledger import recovery, rollups
from ledger.database import read_statements
from ledger.groupcommit import DEADLINE_S, OWED_WAIT_S, Entry, GroupCommit
from ledger.operations import Book, Outcome, Release, Reserve, Settle
from ledger.postgres_commit import STATEMENTS, Known, Retry, Uncertain, commit, prepare, settle_doubts
from ledger.postgres_connection import Line
from ledger.postgres_database import LEASE_S, PostgresDatabase, reason

BEAT_S: Final = 3.0
"""How often a process says that it lives."""
_STUCK: Final = 3
"""A server that has said nothing for so many deadlines is given up, and another connection is tried."""
_TRIES: Final = 10
"""How often a batch is decided anew before it is given up."""
_MOST: Final = 100_000
"""More than ever wait."""
_LOOK_S: Final = 0.1
"""How often whoever waits for a server that is slow is looked at."""

_AGAIN: Final = (Retry, errors.UniqueViolation, errors.SerializationFailure, errors.DeadlockDetected)
_DATA_ERRORS: Final = (ArithmeticError, LookupError, TypeError, ValueError, errors.DataError, errors.IntegrityError)
"""What an operation with impossible values raises; a server in trouble raises other errors."""


class PostgresLedger(GroupCommit):
    """Group commit by a task: what is asked for while one transaction is under way is the next one.

    A process lives as long as it says so; one that was silent for LEASE_S is charged by whoever has itself been in
    touch with the server for that long, so that after an outage everybody has time to come back.
    """

    def __init__(
        self,
        database: PostgresDatabase,
        clock: Clock,
        name: str,
        on_late: Callable[[Record], None] | None,
        *,
        lease_s: float,
        deadline_s: float,
    ) -> None:
        super().__init__(name, on_late)
        self._database, self._clock = database, clock
        self._lease_s, self._beat_s, self._deadline_s = lease_s, min(BEAT_S, lease_s / 5), deadline_s
        # A gap of less than half a lease and a beat leave everybody the time to say that they live.
        self._lease = {"name": self._instance, "seconds": lease_s, "gap": lease_s / 2}
        self._line = Line(database, statement_s=deadline_s)
        self._known = Known()
        self._awake = asyncio.Event()
        self._beaten = self._down_since = self._closing_since = 0.0
        self._silent = self._in_doubt = False
        self._most = _MOST
        """Operations in a batch. A server that is merely slow would never be done with all that has been waiting for it
        within the deadline, so half as many are tried when it gave one up, and twice as many after each success."""
        self._writer: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        database: PostgresDatabase,
        clock: Clock,
        *,
        on_late: Callable[[Record], None] | None = None,
        lease_s: float = LEASE_S,
        deadline_s: float = DEADLINE_S,
    ) -> "PostgresLedger":
        """Connect, create or upgrade the tables, and charge what has expired. Raises ConfigError, LedgerUnavailable."""
        await asyncio.to_thread(_prepare, database)
        ledger = cls(database, clock, secrets.token_hex(8), on_late, lease_s=lease_s, deadline_s=deadline_s)
        try:
            await ledger._beat()
            await ledger.recover()
        except (LedgerUnavailable, psycopg.Error) as error:
            await ledger._line.hang_up()
            raise error if isinstance(error, LedgerUnavailable) else ledger._unavailable(error) from error
        ledger._writer = ledger._loop.create_task(ledger._write(), name="ledger-writer")
        return ledger

    @property
    def recovery_is_due(self) -> bool:
        """See GroupCommit: it has fallen silent."""
        return self._silent

    async def recover(self) -> int:
        """See GroupCommit."""
        self._silent = False
        lost = await asyncio.to_thread(_recover, self._database, self._clock.wall_ns(), self._lease)
        return self._tell_lost(lost)

    async def close(self) -> None:
        """See GroupCommit. What cannot be written within the deadline is left to a recovery."""
        if self._closed:
            return
        self._closed, self._closing_since = True, self._loop.time()
        self._awake.set()
        if self._writer is not None:
            await self._writer
        await self._line.hang_up()

    def _wake(self) -> None:
        self._awake.set()

    def _give_back(self, intent: Intent) -> None:
        """See GroupCommit; also of a reservation that was made while the ledger closed."""
        if self._closed and self._writer is not None and not self._writer.done():
            self._queue.append(self._release_of(intent))
        else:
            super()._give_back(intent)

    def _release_of(self, intent: Intent) -> Entry:
        done: asyncio.Future[Any] = self._loop.create_future()
        done.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody else takes notice
        return Entry(Release(intent), done, self._loop.time())

    # --- the writer ------------------------------------------------------------------------------

    async def _write(self) -> None:
        while self._queue or self._aside or not self._closed:
            # First of all: who stood still may have been taken for dead, and has to be alive before it holds anything.
            if self._loop.time() >= self._beaten + self._beat_s:
                await self._watched(self._say_alive(), ())
            self._take_up()
            batch = self._next_batch(self._most)
            if batch:
                await self._watched(self._commit(batch), batch)
            elif not self._queue and not self._closed:
                self._awake.clear()
                await self._sleep(self._beaten + self._beat_s - self._loop.time())
        await self._watched(self._say_goodbye(), ())

    async def _sleep(self, seconds: float) -> None:
        """Until there is something to do, for so long at most."""
        timer = self._loop.call_later(max(seconds, 0), self._awake.set)
        try:
            await self._awake.wait()
        finally:
            timer.cancel()

    async def _watched(self, work: Coroutine[Any, Any, None], batch: Sequence[Entry]) -> None:
        """Do this, and tell those who have waited too long for it meanwhile. A server that is stuck is left."""
        began = self._loop.time()
        timer: asyncio.TimerHandle

        def look() -> None:
            nonlocal timer
            self._disappoint([*batch, *self._queue])
            if self._loop.time() - began > _STUCK * self._deadline_s:
                self._line.cut()
            timer = self._loop.call_later(_LOOK_S, look)

        timer = self._loop.call_later(_LOOK_S, look)
        try:
            await work
        finally:
            timer.cancel()

    def _disappoint(self, entries: Sequence[Entry]) -> None:
        late = self._loop.time() - self._deadline_s
        for entry in entries:
            if entry.since < late:
                entry.fail(LedgerUnavailable(f"The ledger at {self._database.label} is slow to answer; try again."))

    async def _commit(self, batch: list[Entry]) -> None:
        failure: Exception | None = None
        for _ in range(_TRIES):
            try:
                connection = await self._line.connection()
                if self._in_doubt or any(entry.uncertain for entry in batch):
                    batch = await self._still_to_do(batch)
                operations = [entry.operation for entry in batch]
                await prepare(connection, operations, self._known)
                committed = await commit(connection, operations, self._known)
            except _AGAIN as error:
                failure = error
                self._known.forget()
                continue
            except _DATA_ERRORS as error:
                self._isolate(batch, error)
            except Uncertain as doubt:
                await self._line.hang_up()
                self._doubt(batch, doubt.outcomes)
            except psycopg.Error as error:
                await self._give_up(batch, error)
            except Exception as error:  # noqa: BLE001 - a defect may cost an operation, never the writer
                self._isolate(batch, error)
            else:
                self._down_since = 0.0
                self._most = min(2 * self._most, _MOST)
                self._resolve(batch, committed)
            return
        if isinstance(failure, errors.UniqueViolation):  # not the others: they were seen when it was decided anew
            self._isolate(batch, failure)
        else:
            await self._give_up(batch, psycopg.OperationalError("others were faster, again and again"))

    async def _still_to_do(self, batch: Sequence[Entry]) -> list[Entry]:
        """The batch without what an earlier try has written after all."""
        ids = [entry.operation.record_id for entry in batch if entry.uncertain]
        done = await settle_doubts(await self._line.connection(), ids)
        self._in_doubt = False
        left = []
        for entry in batch:
            if entry.uncertain and entry.operation.record_id in done:
                entry.uncertain = False
                self._conclude(entry, True)
            else:
                left.append(entry)
        return left

    # --- what can go wrong -----------------------------------------------------------------------

    async def _give_up(self, batch: list[Entry], error: psycopg.Error) -> None:
        """Nothing was done. A server that restarts is given a moment before anybody is told; while it is known to be
        away, nobody waits."""
        if self._line.is_broken or isinstance(error, errors.ReadOnlySqlTransaction):  # a standby: there is another now
            await self._line.hang_up()
        now = self._loop.time()
        if isinstance(error, errors.QueryCanceled):  # not where it is away: then all are to be told at once
            self._most = max(1, len(batch) // 2)
        self._down_since = self._down_since or now
        patience = 0.0 if now - self._down_since > self._deadline_s else self._deadline_s
        told = [entry for entry in batch if now - max(entry.since, self._closing_since) >= patience]
        self._put_back([entry for entry in batch if now - max(entry.since, self._closing_since) < patience])
        if told:
            self._fail(told, self._unavailable(error))
        if self._queue or self._aside:
            await asyncio.sleep(OWED_WAIT_S)

    def _doubt(self, batch: Sequence[Entry], outcomes: Sequence[Outcome]) -> None:
        """The batch was written or it was not. Nothing may be spent on a reservation that perhaps is none; what is owed
        to the books is looked up and written if it is not there."""
        error = LedgerUnavailable(f"The ledger at {self._database.label} broke off; try again shortly.")
        kept: list[Entry] = []
        for entry, outcome in zip(batch, outcomes, strict=True):
            if isinstance(entry.operation, Settle | Book | Release):
                entry.uncertain = outcome is True  # then it is on the books if its record is there
                kept.append(entry)
            else:
                entry.fail(error)
                if isinstance(entry.operation, Reserve):
                    kept.append(self._release_of(entry.operation.intent))
        self._in_doubt = True
        self.failures += 1
        self._put_back(kept)

    def _unavailable(self, error: psycopg.Error) -> LedgerUnavailable:
        return LedgerUnavailable(
            f"The ledger at {self._database.label} cannot be written ({reason(error)}), so nothing may be spent: check "
            "`ledger.url` and the server, then try again shortly."
        )

    # --- signs of life ---------------------------------------------------------------------------

    async def _say_alive(self) -> None:
        try:
            await self._beat()
        except psycopg.Error:
            await self._line.hang_up()
            self._beaten = self._loop.time() - self._beat_s + OWED_WAIT_S

    async def _beat(self) -> None:
        connection, now = await self._line.connection(), self._loop.time()
        await connection.execute(STATEMENTS["live"], self._lease)
        self._beaten = now
        cursor = await connection.execute(STATEMENTS["silent"], self._lease)
        self._silent = bool(await cursor.fetchall())

    async def _say_goodbye(self) -> None:
        with suppress(psycopg.Error):  # the others will notice
            await (await self._line.connection()).execute(STATEMENTS["leave"], self._lease)


_SILENT: Final = read_statements("postgres")["silent"]
_FORGET: Final = read_statements("postgres")["forget"]


def _prepare(database: PostgresDatabase) -> None:
    database.prepare()
    with database.working() as session:
        rollups.catch_up(session)


def _recover(database: PostgresDatabase, now_ns: int, lease: Mapping[str, Any]) -> list[Record]:
    """Charge what has expired of our own holds, for other machines have other clocks, and what silent processes hold;
    blocks."""
    with database.working() as session:
        with session.transaction():  # nobody who comes back holds anything between the look and the charge
            silent = [row[0] for row in session.execute(_SILENT, lease)]
            lost = recovery.charge_orphans(session, silent, now_ns, expired_of=lease["name"])
            session.execute(_FORGET, {**lease, "names": silent})
        rollups.close_days(session, now_ns)
        return lost
