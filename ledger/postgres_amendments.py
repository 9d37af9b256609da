"""PostgresAmendments: what this process knows of the amendments in PostgreSQL, kept in memory for the event loop."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import psycopg

from farthing.errors import LedgerUnavailable
from farthing.ports import Clock
from ledger.amendment_rows import SQL, raise_of, run_of
from ledger.amendments import Drawn, Raise, Run
from ledger.postgres_connection import Line
from ledger.postgres_database import PostgresDatabase, reason, translated

FRESH_S: Final = 1.0
"""For so long a run is taken to be as it was; a raise that counts for a call that was refused is seen at once."""
_DEADLINE_S: Final = 2.0
_MOST_RUNS: Final = 10_000
_QUERIES: Final = {name: translated(text) for name, text in SQL.items()}


class PostgresAmendments:
    """The port SharedAmendments. Belongs to its loop."""

    def __init__(self, database: PostgresDatabase, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._line = Line(database, statement_s=_DEADLINE_S)
        self._turn = asyncio.Lock()
        self.version = -1
        self._raises: tuple[Raise, ...] = ()
        self._runs: dict[tuple[str, str], tuple[float, Run | None]] = {}

    async def refresh(self) -> bool:
        """See the port."""
        ((version,),) = await self._ask("version")
        if int(version) == self.version:
            return False
        rows = await self._ask("live_raises", self._clock.wall_ns())
        self._raises = tuple(map(raise_of, rows))
        # To be looked for anew, and until then as they were: a run of which nothing is known has no cap.
        self._runs = {key: (-FRESH_S, run) for key, (_, run) in self._runs.items()}
        self.version = int(version)
        return True

    async def know(self, tenant: str, name: str) -> None:
        """See the port."""
        now, key = self._clock.monotonic(), (tenant, name)
        known = self._runs.get(key)
        if known is not None and now - known[0] < FRESH_S:
            return
        rows = await self._ask("run", tenant, name)
        if len(self._runs) >= _MOST_RUNS:
            self._runs.clear()
        self._runs[key] = now, run_of(rows[0]) if rows else None

    def raises(self) -> tuple[Raise, ...]:
        """See the port."""
        return self._raises

    def run(self, tenant: str, name: str) -> Run | None:
        """See the port; LedgerUnavailable also where nobody has asked to `know` of it."""
        try:
            return self._runs[tenant, name][1]
        except KeyError:
            raise LedgerUnavailable(f"The run '{name}' was not looked for: try again shortly.") from None

    async def balances(self, accounts: Sequence[str]) -> Mapping[str, Drawn]:
        """See the port."""
        rows = await self._ask("balances", msgspec.json.encode(accounts).decode())
        return {row[0]: Drawn(*row[1:]) for row in rows}

    async def close(self) -> None:
        """See the port."""
        await self._line.hang_up()

    async def _ask(self, name: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await self._turn.acquire()
        except TimeoutError:
            raise self._unavailable("others have waited for it for some time") from None
        try:
            return await self._answer(name, values)
        except psycopg.Error as error:
            raise self._unavailable(reason(error)) from error
        finally:
            self._turn.release()

    async def _answer(self, name: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        connection = await self._line.connection()
        patience = asyncio.get_running_loop().call_later(_DEADLINE_S, self._line.cut)
        try:
            return await (await connection.execute(_QUERIES[name], values)).fetchall()
        finally:
            patience.cancel()

    def _unavailable(self, why: str) -> LedgerUnavailable:
        return LedgerUnavailable(f"The ledger at {self._database.label} does not answer ({why}): try again shortly.")
