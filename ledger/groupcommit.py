"""GroupCommit: what is asked of a ledger and not committed yet, in its order, with those who wait for it.

The part of every durable ledger that knows no engine: the port's methods put operations into a queue; an engine takes
batches out of it, commits each as one transaction, and says here what came of it.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Final

from farthing.errors import BudgetExceeded, LedgerUnavailable
from farthing.hold import Hold, Intent
from farthing.money import Nano
from farthing.record import Record
from ledger.charges import Charge
from ledger.operations import Book, Committed, Extend, Operation, Outcome, Release, Reserve, Settle

DEADLINE_S: Final = 2.0
"""How long operations wait for an engine that does not answer, or for other writers, before they fail."""
OWED_WAIT_S: Final = 0.25
"""How long after a failure what is owed to the books is tried again."""
KEPT_ANSWERS: Final = 10_000
"""So many records of free answers are kept while nothing can be written, some 3 KB each. Nothing else bounds them: what
costs money is bounded by the holds that were made before."""
PORTION: Final = 200
"""So many of them are tried at a time: 5 ms of the event loop on SQLite."""


class _Owed(asyncio.Future[Any]):
    """The result of a settlement. It cannot be cancelled: a cancelled caller learns of it first, and is cancelled
    then. (asyncio.shield does the same for two more futures and their callbacks.)"""

    def cancel(self, msg: object = None) -> bool:
        del msg
        return False


class Entry:
    """An operation in the queue and the future of whoever waits for it, `since` when by the loop's clock. `alone`: it
    goes into a batch of its own. `uncertain`: it was sent to be committed and no answer came."""

    __slots__ = ("alone", "future", "operation", "since", "uncertain")

    def __init__(self, operation: Operation, future: "asyncio.Future[Any]", since: float) -> None:
        self.operation, self.future, self.since = operation, future, since
        self.alone = self.uncertain = False

    @property
    def abandoned(self) -> bool:
        """A reservation whose caller left before it was made. Settlements are owed to the books regardless."""
        return type(self.operation) is Reserve and self.future.done()

    def resolve(self, outcome: Outcome) -> None:
        """Tell whoever waits."""
        if self.future.done():
            return
        if isinstance(outcome, BudgetExceeded):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)

    def fail(self, error: LedgerUnavailable) -> None:
        """Tell whoever waits that it was not done."""
        if not self.future.done():
            self.future.set_exception(error)


class GroupCommit(ABC):
    """The port Ledger but for its engine. Belongs to the loop in which it was made.

    Counters, since opening: `recovered` holds charged as lost, `overages` settlements above their hold,
    `late_settlements` of holds that were gone (already settled, or expired and charged: the charge stands),
    `failures` failed batches, `made_up` settlements that were dealt with after
    their callers had been told of a failure, `dropped` records of free answers that were given up, because too many
    were waiting or the ledger was closed.
    `on_late` is told of each record that was written with nobody waiting for it: a recovery's, and those made up.
    """

    def __init__(self, instance: str, on_late: Callable[[Record], None] | None) -> None:
        self._instance = instance
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Entry] = deque()
        self._aside: deque[Entry] = deque()
        """Free answers that could not be written; their callers have been told."""
        self._closed = False
        self._on_late = on_late or (lambda _record: None)
        self.recovered = self.overages = self.late_settlements = self.failures = self.made_up = self.dropped = 0

    async def reserve(self, intent: Intent) -> Hold:
        """See the port. A caller that is cancelled holds nothing."""
        future = self._ask(Reserve(intent, self._instance))
        try:
            hold = await future
        except asyncio.CancelledError:
            if not future.cancelled() and future.exception() is None:
                self._give_back(intent)
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

    @property
    def recovery_is_due(self) -> bool:
        """True where another process is known to have died."""
        return False

    @abstractmethod
    async def recover(self) -> int:
        """Charge holds of dead processes and expired ones; returns how many. Raises LedgerUnavailable."""

    @abstractmethod
    async def close(self) -> None:
        """See the port. A second call does nothing."""

    @abstractmethod
    def _wake(self) -> None:
        """Something is in the queue."""

    # --- the queue -------------------------------------------------------------------------------

    def _ask(self, operation: Operation, owed: _Owed | None = None) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = self._loop.create_future() if owed is None else owed
        if self._closed:
            future.set_exception(LedgerUnavailable("The ledger is closed: the gateway is shutting down."))
            return future
        self._queue.append(Entry(operation, future, self._loop.time()))
        self._wake()
        return future

    def _give_back(self, intent: Intent) -> None:
        """Undo a reservation. Nobody waits for that, so nobody else would take notice of its error."""
        self._ask(Release(intent)).add_done_callback(lambda done: done.cancelled() or done.exception())

    def _next_batch(self, most: float = inf) -> list[Entry]:
        """All that is waiting, up to so many, or one operation that has to go alone."""
        queue = self._queue
        batch: list[Entry] = []
        while queue and len(batch) < most and not (batch and queue[0].alone):
            entry = queue.popleft()
            if not entry.abandoned:
                batch.append(entry)
            if entry.alone:
                break
        return batch

    def _put_back(self, entries: Sequence[Entry]) -> None:
        self._queue.extendleft(reversed(entries))

    def _take_up(self) -> None:
        """Try some of the free answers again, behind all else."""
        while self._aside and len(self._queue) < PORTION:
            self._queue.append(self._aside.popleft())

    # --- what came of a batch --------------------------------------------------------------------

    def _resolve(self, batch: Sequence[Entry], committed: Committed) -> None:
        self.overages += committed.overages
        self.late_settlements += committed.late
        for entry, outcome in zip(batch, committed.outcomes, strict=True):
            self._conclude(entry, outcome)

    def _conclude(self, entry: Entry, outcome: Outcome) -> None:
        if entry.future.done():
            self._make_up(entry.operation, outcome)
        entry.resolve(outcome)

    def _make_up(self, operation: Operation, outcome: Outcome) -> None:
        """Its caller was told of a failure, or was cancelled, and has gone on."""
        if isinstance(operation, Settle | Book):
            self.made_up += isinstance(operation, Settle)  # who books counts nothing as unwritten
            if outcome is True:
                self._on_late(operation.record)
        elif isinstance(operation, Reserve) and isinstance(outcome, Hold):
            self._give_back(operation.intent)

    def _fail(self, batch: Sequence[Entry], error: LedgerUnavailable) -> bool:
        """Nothing of the batch was done. Nobody waits any longer; what is owed to the books is tried until the ledger
        is closed: money goes back to the queue, free answers are put aside. True where there is anything to try."""
        self.failures += 1
        for entry in batch:
            entry.fail(error)
        self._aside.extend(entry for entry in batch if _is_free_answer(entry))
        owed = [] if self._closed else [entry for entry in batch if entry.operation.owed]
        self._put_back(owed)
        while len(self._aside) > (0 if self._closed else KEPT_ANSWERS):
            self._aside.pop()
            self.dropped += 1
        return bool(owed or self._aside)

    def _isolate(self, batch: Sequence[Entry], error: Exception) -> None:
        """A row cannot be stored: find it by sending every operation of the batch alone."""
        if len(batch) == 1:
            self.failures += 1
            batch[0].fail(LedgerUnavailable(f"The ledger cannot store this row ({type(error).__name__})."))
            return
        for entry in batch:
            entry.alone = True
        self._put_back(batch)

    def _tell_lost(self, lost: Sequence[Record]) -> int:
        """A recovery has written these."""
        self.recovered += len(lost)
        for record in lost:
            self._on_late(record)
        return len(lost)


def _is_free_answer(entry: Entry) -> bool:
    return isinstance(entry.operation, Settle) and entry.operation.is_free_answer
