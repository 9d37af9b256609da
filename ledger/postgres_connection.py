"""Line: one connection to the server for the event loop, opened when it is needed and anew after it has broken."""

import os
import socket
from contextlib import suppress
from typing import Any, Final

import psycopg

from ledger.postgres_database import HOW, PostgresDatabase, adapt, first_words

_IDLE_S: Final = 2.0
"""A process that stands still in the middle of a transaction keeps balances locked for so long."""
_TRANSACTION: Final = 3
"""A transaction takes so many times as long as a statement at most. From PostgreSQL 17 on: older ones do not see where
a process stands still with a statement half sent."""
_TRANSACTION_TIMEOUT: Final = "SELECT set_config(name, %s, false) FROM pg_settings WHERE name = 'transaction_timeout'"


class Line:
    """Belongs to its loop; one user at a time. The server gives up what takes longer than `statement_s`."""

    def __init__(self, database: PostgresDatabase, *, statement_s: float) -> None:
        self._database, self._statement_s = database, statement_s
        self._connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None

    async def connection(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        """The connection, in no transaction. Raises psycopg.Error."""
        if self._connection is None or self._connection.closed:
            self._connection = await self._connect()
        return self._connection

    @property
    def is_broken(self) -> bool:
        """True where there is no connection that works."""
        return self._connection is None or self._connection.closed

    def cut(self) -> None:
        """End a wait for a server that says nothing: whoever waits is told that the connection broke."""
        if self._connection is not None and not self._connection.closed:
            with suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)

    async def hang_up(self) -> None:
        """Let the connection go; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                await connection.close()

    async def _connect(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        database = self._database
        connection = await psycopg.AsyncConnection.connect(database.url, autocommit=True, **HOW)
        try:
            adapt(connection)
            limit = self._statement_s
            await connection.execute(first_words(database.schema, lock_s=limit, statement_s=limit, idle_s=_IDLE_S))
            await connection.execute(_TRANSACTION_TIMEOUT, (f"{round(_TRANSACTION * limit * 1000)}ms",))
        except BaseException:
            await connection.close()
            raise
        return connection
