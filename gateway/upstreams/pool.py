"""The connections to one provider: kept while they may serve again, never more than allowed, given out in turn."""

import asyncio
import socket
import ssl
from collections import deque
from typing import Final

from farthing.catalog import Provider
from gateway.upstreams import failures
from gateway.upstreams.connection import Connection, told
from gateway.upstreams.wire import Origin

SHUTTING_DOWN: Final = "The gateway is shutting down."


class Pool:
    """At most `limit` connections to `origin`, the one used last given out first; `tls` None: in the clear.

    Whoever gets a connection sends one request on it. It comes back by itself when the answer is complete, and frees
    its place when it is lost.
    """

    def __init__(self, origin: Origin, limit: int, tls: ssl.SSLContext | None, loop: asyncio.AbstractEventLoop) -> None:
        self._origin, self._limit, self._tls, self._loop = origin, limit, tls, loop
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._places = 0  # taken: by open connections and by those that are being made
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._dialling: set[asyncio.Timeout] = set()
        self._good_address = ""
        self._closed = False
        self._emptied: asyncio.Future[None] | None = None

    def idle(self) -> Connection | None:
        """A kept connection, if there is one. Nobody waits while there is."""
        while self._idle:
            connection = self._idle.pop()
            if connection.alive:
                return connection
        return None

    async def connect(self, provider: Provider, *, fresh: bool = False) -> Connection:
        """A connection: new if there is room for one or if it must be `fresh`, else the next that is free.

        Raises UpstreamUnreachable after `timeouts.connect` of the provider, which includes the wait for one's turn.
        """
        deadline = self._loop.time() + provider.timeouts.connect
        while True:
            given = await self._turn(provider, deadline, fresh)
            if given is None:
                return await self._dial(provider, deadline)
            if given.alive:  # it may have been lost on the way here
                return given
            if (kept := self.idle()) is not None:
                return kept

    def release(self, connection: Connection) -> None:
        """Take back a connection whose answer is complete."""
        if self._closed:
            connection.abort()
        elif not self._hand(connection):
            self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._vacate()

    async def close(self) -> None:
        """Close every connection and wait until it is; requests under way fail."""
        self._closed = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(failures.NoneFree(SHUTTING_DOWN))
        for patience in self._dialling:
            if not patience.expired():
                patience.reschedule(self._loop.time())
        for connection in tuple(self._open):
            connection.cut_off()
        if self._places:
            self._emptied = self._loop.create_future()
            await self._emptied

    # --- places ----------------------------------------------------------------------------------

    async def _turn(self, provider: Provider, deadline: float, fresh: bool) -> Connection | None:
        """Wait for a free connection, or (None) for the right to make one."""
        if self._closed:
            raise failures.NoneFree(SHUTTING_DOWN)
        if self._places < self._limit:
            self._places += 1
            return None
        if fresh and self._idle:
            self._replace(self._idle.pop(0))
            return None
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                given = await waiter
        except TimeoutError:
            self._give_back(waiter)
            raise failures.none_free(provider) from None
        except BaseException:
            self._give_back(waiter)
            raise
        if fresh and given is not None:
            self._replace(given)
            return None
        return given

    def _replace(self, connection: Connection) -> None:
        """Close a connection in favour of a new one, which gets its place."""
        self._open.discard(connection)
        connection.pool = None
        connection.abort()

    def _give_back(self, waiter: "asyncio.Future[Connection | None]") -> None:
        """Pass on what was handed to one that no longer waits."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        if not waiter.done() or waiter.cancelled() or waiter.exception() is not None:
            return
        connection = waiter.result()
        if connection is None:
            self._vacate()
        elif connection.alive:
            self.release(connection)

    def _hand(self, what: Connection | None) -> bool:
        """Give a connection or a place to whoever has waited longest."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(what)
                return True
        return False

    def _vacate(self) -> None:
        if not self._closed and self._hand(None):
            return
        self._places -= 1
        if not self._places and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    # --- making a connection -----------------------------------------------------------------------

    async def _dial(self, provider: Provider, deadline: float) -> Connection:
        """Make the connection for which a place is taken."""
        if self._closed:
            self._vacate()
            raise failures.NoneFree(SHUTTING_DOWN)
        try:
            async with asyncio.timeout_at(deadline) as patience:
                self._dialling.add(patience)
                try:
                    connection = await self._dial_addresses(deadline)
                finally:
                    self._dialling.discard(patience)
        except TimeoutError:
            self._vacate()
            if self._closed:
                raise failures.NoneFree(SHUTTING_DOWN) from None
            raise failures.connect_timed_out(provider) from None
        except OSError as error:
            self._vacate()
            raise failures.unreachable(provider, told(error)) from None
        except BaseException:
            self._vacate()
            raise
        return self._welcomed(connection, provider)

    def _welcomed(self, connection: Connection, provider: Provider) -> Connection:
        if not connection.alive:
            self._vacate()
            raise failures.unreachable(provider, "it closed the connection at once")
        connection.pool = self
        self._open.add(connection)
        if self._closed:
            connection.abort()
            raise failures.NoneFree(SHUTTING_DOWN)
        return connection

    async def _dial_addresses(self, deadline: float) -> Connection:
        """Try the host's addresses in turn, the one that worked last time first.

        Each but the last may use up only its share of the time: many hosts have an IPv6 address and no way to it.
        """
        addresses = await self._addresses()
        for left in range(len(addresses), 1, -1):
            address = addresses[-left]
            share = (deadline - self._loop.time()) / left
            try:
                async with asyncio.timeout(share):
                    return await self._dial_address(address)
            except ssl.SSLError:
                raise
            except OSError:  # a timeout is one too
                continue
        return await self._dial_address(addresses[-1])

    async def _addresses(self) -> list[str]:
        found = await self._loop.getaddrinfo(self._origin.host, self._origin.port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        return sorted(addresses, key=lambda address: address != self._good_address)

    async def _dial_address(self, address: str) -> Connection:
        """TCP, and TLS in the name of the host. Both kinds of loop set TCP_NODELAY."""
        host = self._origin.host if self._tls else None
        _, connection = await self._loop.create_connection(
            lambda: Connection(self._loop), address, self._origin.port, ssl=self._tls, server_hostname=host
        )
        self._good_address = address
        return connection
