"""What the disasters of PostgreSQL share: callers who spend until they are told to stop, a network that can be cut, and
books that are compared with what the callers were told."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg

from farthing.errors import BudgetExceeded, LedgerUnavailable
from farthing.hold import Account
from farthing.money import Nano
from farthing.record import Record
from ledger.check import check
from ledger.postgres import PostgresLedger
from ledger.postgres_database import PostgresDatabase
from ledger.testing import ManualClock, example_account, example_intent, example_record

HELD: Final = 1_000
"""Nano-dollars of every hold; a call costs at most half of it."""
ROOMY: Final = example_account("day|all|day|2027-01-15", limit=10**15)


def ask(url: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Rows of the ledger's tables."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET search_path TO farthing")
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


def holds(url: str) -> int:
    """How many holds are open."""
    return int(ask(url, "SELECT count(*) FROM holds")[0][0])


def costs(url: str) -> dict[str, int]:
    """What each record says that it cost."""
    return dict(ask(url, "SELECT id, cost FROM records"))


def spent_and_held(url: str) -> tuple[int, int]:
    """Of all accounts."""
    spent, held = ask(url, "SELECT coalesce(sum(spent), 0), coalesce(sum(held), 0) FROM accounts")[0]
    return int(spent), int(held)


async def open_ledger(url: str, **options: Any) -> PostgresLedger:
    """A ledger on that database."""
    return await PostgresLedger.open(PostgresDatabase(url), options.pop("clock", ManualClock()), **options)


class Callers:
    """Callers of a ledger: each reserves and settles, again and again. They know what the books must say at the end."""

    def __init__(self, ledger: PostgresLedger, name: str, *accounts: Account) -> None:
        self.ledger, self._name, self._accounts = ledger, name, accounts or (ROOMY,)
        self.costs: dict[str, int] = {}
        """Of every call whose settlement was asked for, whatever was said of it."""
        self.refused: list[str] = []
        """Reservations that failed."""
        self.unsettled = 0
        """Settlements whose callers were told of a failure."""
        self.stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, count: int) -> "Callers":
        """So many of them."""
        self._tasks = [asyncio.create_task(self._call_again_and_again(number)) for number in range(count)]
        return self

    async def stop(self) -> "Callers":
        """Wait until all of them were told of their last settlement."""
        self.stopping = True
        await asyncio.gather(*self._tasks)
        return self

    async def _call_again_and_again(self, number: int) -> None:
        dice, turn = random.Random(number), 0
        while not self.stopping:
            turn += 1
            await self.call(f"{self._name}-{number}-{turn}", dice.randrange(HELD // 2))
            await asyncio.sleep(0)

    async def call(self, id_: str, cost: int) -> None:
        """One call."""
        try:
            hold = await self.ledger.reserve(example_intent(id_, HELD, *self._accounts))
        except LedgerUnavailable:
            self.refused.append(id_)
            await asyncio.sleep(0.01)
            return
        except BudgetExceeded:
            return
        self.costs[id_] = cost
        try:
            await self.ledger.settle(hold, example_record(id_, cost=Nano(cost)))
        except LedgerUnavailable:
            self.unsettled += 1


def assert_the_books_are_right(url: str, *callers: Callers, late: Sequence[Record] = ()) -> None:
    """Each call once and at its cost, nothing of reservations that failed, nothing held, and sums that are sums; and
    those whose settlements failed were told of later."""
    told = {id_: cost for one in callers for id_, cost in one.costs.items()}
    assert costs(url) == told
    assert holds(url) == 0
    assert spent_and_held(url) == (sum(told.values()), 0)
    assert check(PostgresDatabase(url)).differences == ()
    ids = [record.id for record in late]
    assert len(ids) == len(set(ids))


class Network:
    """The way to a server, which can be cut. Passes on what comes until it is told otherwise."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self.port = 0
        self.on_commit: Callable[[asyncio.StreamWriter, asyncio.StreamWriter, bytes], Any] | None = None
        """Called with both sides' writers in place of passing on the bytes in which a client ends a transaction. The
        connection is over then, unless it says True."""
        self.silent = False
        """Nothing is passed on any more, and nobody is told."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._swallowing: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, url: str) -> str:
        """The same database by this way."""
        return url.replace(f":{self._server_port}/", f":{self.port}/")

    def cut(self) -> None:
        """Break every connection; new ones are let through."""
        for writer in self._writers:
            writer.transport.abort()

    def swallow(self) -> None:
        """Of the connections that there are nothing is passed on any more, and nobody is told."""
        self._swallowing |= self._writers

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, server_writer}
        asks, answers = (
            asyncio.create_task(self._pass(reader, server_writer, back=writer)),
            asyncio.create_task(self._pass(server_reader, writer)),
        )
        self._tasks |= {asks, answers}
        await asyncio.wait({asks, answers}, return_when=asyncio.FIRST_COMPLETED)
        writer.transport.abort()
        server_writer.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter | None = None
    ) -> None:
        try:
            while data := await reader.read(65_536):
                while self.silent:  # noqa: ASYNC110 - told by nobody
                    await asyncio.sleep(0.01)
                if back is not None and self.on_commit is not None and b"COMMIT" in data:
                    took, self.on_commit = self.on_commit, None
                    if await took(back, writer, data) is not True:
                        return
                    continue
                if writer not in self._swallowing:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Network"]:
        """Listen."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.silent = False
            self.cut()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)


async def lag(seconds: float) -> float:
    """The longest that the loop kept anybody waiting, of so many seconds."""
    loop, most = asyncio.get_running_loop(), 0.0
    end = loop.time() + seconds
    while (before := loop.time()) < end:
        await asyncio.sleep(0.005)
        most = max(most, loop.time() - before - 0.005)
    return most
