"""Epochs beside the semantic cache in PostgreSQL, for gateways that share nothing else."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self, TypeVar

from cache.epochs import EVERYTHING
from cache.stores.pgvector import prepare
from cache.stores.postgres_link import PATIENCE_S, Line, PostgresLink
from farthing.ports import Clock

T = TypeVar("T")

_NEWER: Final = b"""
    WITH begun AS (
        INSERT INTO epochs (name, number) SELECT %s::text, %s::bigint WHERE NOT EXISTS (SELECT 1 FROM epochs)
        ON CONFLICT (name) DO NOTHING RETURNING name, number
    )
    SELECT name, number FROM epochs WHERE number > %s UNION ALL SELECT name, number FROM begun ORDER BY number
"""
_ADVANCE: Final = b"""
    INSERT INTO epochs (name, number)
    SELECT %s::text, greatest(%s::bigint, 1 + (SELECT coalesce(max(number), 0) FROM epochs))
    ON CONFLICT (name) DO UPDATE SET number = excluded.number RETURNING number
"""
_FORGET: Final = b"DELETE FROM epochs WHERE number < %s"
# A purge is promised; answers may be lost. Two at one moment must not get the same number.
_ALONE: Final = b"SET LOCAL synchronous_commit TO on; LOCK TABLE epochs IN EXCLUSIVE MODE"


class PostgresEpochs:
    """Port `EpochRows`. Raises RowsAway or psycopg.Error where the server does not answer; `newer` is what finds out
    that it answers again."""

    def __init__(self, link: PostgresLink, clock: Clock) -> None:
        self._link, self._clock = link, clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="epochs")

    @classmethod
    def open(cls, url: str, clock: Clock) -> Self:
        """Of the database at `url`. Blocks for some seconds at most. Raises ConfigError where the server answers and
        cannot be used."""
        link = PostgresLink(url, clock, prepare, late_s=PATIENCE_S)
        try:
            link.open()
        except BaseException:
            link.close()
            raise
        return cls(link, clock)

    async def newer(self, than: int) -> Sequence[tuple[str, int]]:
        """See the port."""
        values = (EVERYTHING, self._clock.wall_ns() // 1000, than)
        return await self._ask(lambda connection: connection.execute(_NEWER, values).fetchall())

    async def advance(self, name: str, at_us: int) -> int:
        """See the port."""
        await self.newer(0)
        return await self._ask(lambda connection: _advance(connection, name, at_us))

    async def close(self) -> None:
        """See the port."""
        await asyncio.to_thread(self._thread.shutdown)
        self._link.close()

    async def _ask(self, question: Callable[[Line], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._link.ask, question)


def _advance(connection: Line, name: str, at_us: int) -> int:
    with connection.transaction():
        connection.execute(_ALONE)
        ((number,),) = connection.execute(_ADVANCE, (name, at_us)).fetchall()
        if name == EVERYTHING:
            connection.execute(_FORGET, (number,))
    return int(number)
