"""Trips: statements that go to the server together and come back together, with as little around them as can be.

psycopg's own pipeline costs 0.3 ms of CPU for a transaction (a cursor and an adaptation for each statement, an event
for each wait), which is more than the rows of ten calls. So the hot path speaks to libpq itself, by psycopg's binding.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakSet

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result
from psycopg.pq.abc import PGconn, PGresult

from ledger.postgres_database import without_nul

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

_NAME: Final = re.compile(r"%\(([a-z_]+)\)s")
_SPECIAL: Final = re.compile(r'(["\\])')


class Statement:
    """One that is prepared once for each connection; `names` are its parameters in their order."""

    __slots__ = ("_prepared", "name", "names", "text")

    def __init__(self, name: str, text: str) -> None:
        """`text` as psycopg takes it, with parameters by name."""
        self.name = name.encode()
        self.names = tuple(dict.fromkeys(_NAME.findall(text)))
        places = {name: f"${number}" for number, name in enumerate(self.names, 1)}
        self.text = _NAME.sub(lambda found: places[found[1]], text).replace("%%", "%").encode()
        self._prepared: WeakSet[Connection] = WeakSet()

    async def prepare(self, connection: Connection) -> None:
        """See to it that it is prepared. Raises psycopg.Error."""
        if connection not in self._prepared:
            pgconn = connection.pgconn
            with _to_its_end(pgconn):
                pgconn.send_prepare(self.name, self.text)
                found = await _answers(pgconn)
            _raise_first(found)
            self._prepared.add(connection)

    def send(self, connection: PGconn, values: dict[str, bytes]) -> None:
        """Put it on the way with these values, as texts."""
        connection.send_query_prepared(self.name, [values[name] for name in self.names])


Step = tuple[Statement, dict[str, bytes]] | bytes
"""A prepared statement with its values, or the text of one without."""


async def trip(connection: Connection, steps: Sequence[Step]) -> list[PGresult]:
    """What each of the steps gave, in one round trip. Raises psycopg.Error: the first one's, and those after it were
    not done."""
    for step in steps:
        if not isinstance(step, bytes):
            await step[0].prepare(connection)
    pgconn = connection.pgconn
    with _to_its_end(pgconn):
        pgconn.enter_pipeline_mode()
        for step in steps:
            if isinstance(step, bytes):
                pgconn.send_query_params(step, None)
            else:
                step[0].send(pgconn, step[1])
        pgconn.pipeline_sync()
        found = await _answers(pgconn)
        pgconn.exit_pipeline_mode()
    _raise_first(found)
    return found


@contextmanager
def _to_its_end(pgconn: PGconn) -> Iterator[None]:
    """Whoever stops in the middle has no connection any more: what comes on it would be taken for the answer to
    something else."""
    try:
        yield
    except BaseException:
        pgconn.finish()
        raise


async def _answers(pgconn: PGconn) -> list[PGresult]:
    """The results of all that is on the way, errors too; of a pipeline up to its end."""
    while pgconn.flush():
        await _ready(pgconn, writing=True)
        pgconn.consume_input()
    till_sync = pgconn.pipeline_status != pq.PipelineStatus.OFF
    found: list[PGresult] = []
    while True:
        while pgconn.is_busy():
            await _ready(pgconn)
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:  # the end of one statement's results, or of everything
            if pgconn.status != pq.ConnStatus.OK:
                _raise_first(found)
                raise psycopg.OperationalError("the connection is lost")
            if not till_sync:
                return found
        elif result.status == pq.ExecStatus.PIPELINE_SYNC:
            return found
        else:
            found.append(result)


def _raise_first(results: Iterable[PGresult]) -> None:
    for result in results:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise error_from_result(result)


async def _ready(pgconn: PGconn, *, writing: bool = False) -> None:
    """Until there is something to read, or where `writing` room to write."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    socket = pgconn.socket
    loop.add_reader(socket, tell)
    if writing:
        loop.add_writer(socket, tell)
    try:
        await ready
    finally:
        loop.remove_reader(socket)
        if writing:
            loop.remove_writer(socket)


def array_of(texts: Iterable[str]) -> bytes:
    """A text array as PostgreSQL reads it."""
    quoted = (f'"{_SPECIAL.sub(_ESCAPED, without_nul(text))}"' for text in texts)
    return f"{{{','.join(quoted)}}}".encode()


_ESCAPED: Final = r"\\\1"
