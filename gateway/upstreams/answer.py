"""One answer: filled by its connection, emptied by its receiver, within the timeouts of the provider."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final

from farthing.catalog import Provider
from farthing.errors import FarthingError
from gateway.upstreams import failures
from gateway.upstreams.connection import Connection

QUEUED_BYTES: Final = 256 * 1024
"""What may lie here unread before the provider has to wait."""


class Answer:
    """Port UpstreamResponse: one answer, filled by its connection and emptied by its receiver.

    Once it is complete it has no more to do with the connection, which by then may serve another.
    """

    # fmt: off
    __slots__ = (
        "_ended", "_failure", "_given", "_loop", "_parts", "_size", "_stale", "_total_due",
        "_waiter", "_whole", "connection", "headers", "heard", "max_body_bytes", "provider",
        "status",
    )
    # fmt: on

    connection: Connection
    lasts: Final = True
    """A reader may be cancelled, and the next one goes on where that one stopped."""

    def __init__(self, provider: Provider, loop: asyncio.AbstractEventLoop, max_body_bytes: int) -> None:
        self.provider, self.max_body_bytes = provider, max_body_bytes
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.heard = loop.time()  # when the wait began or, of a whole body, when the last part came
        self._loop = loop
        self._total_due = self.heard + provider.timeouts.total
        self._parts: list[bytes] = []
        self._size = self._given = 0
        self._waiter: asyncio.Future[None] | None = None
        self._failure: FarthingError | None = None
        self._whole = self._ended = self._stale = False

    # --- port UpstreamResponse -------------------------------------------------------------------

    async def read(self) -> bytes:
        if not self._ended:
            self._whole = True
            self.connection.resume()
            await self._wait(self.provider.timeouts.idle)
        if self._failure is not None:
            raise self._failure
        if self._size > self.max_body_bytes:
            raise self._too_large()
        return self._take()

    def chunks(self) -> AsyncIterator[bytes]:
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._parts:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                raise StopAsyncIteration
            await self._wait(self.provider.timeouts.idle)
        return self._take()

    async def close(self) -> None:
        if not self._ended:
            self.fail(failures.broken(self.provider, "was cut off, because nobody reads its answer any more"))
            self.connection.abort()

    # --- called by RelayUpstream -----------------------------------------------------------------

    async def head(self, connection: Connection, request: bytes) -> bool:
        """Send the request and wait for the head of its answer; False where the connection proved to be stale."""
        self._stale = False
        connection.send(request, self)
        connection.ring_by(self._total_due)
        try:
            await self._wait(self.provider.timeouts.first_byte)
        except BaseException:
            await self.close()
            raise
        if self._failure is not None and not self.status:
            raise self._failure
        return not self._stale

    def fault(self) -> FarthingError | None:
        """Why this answer cannot be relayed at all, if so."""
        if 300 <= self.status < 400:
            return failures.broken(
                self.provider,
                f"answered with a redirect ({self.status}); none is followed: correct its `base_url`",
            )
        if self.headers.get("content-encoding", "") not in ("", "identity"):
            return failures.broken(self.provider, "compressed its answer, though it was asked not to")
        if int(self.headers.get("content-length", 0)) > self.max_body_bytes:
            return self._too_large()
        return None

    # --- called by the connection ----------------------------------------------------------------

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """The head is there."""
        self.status, self.headers = status, headers
        self._wake()

    def add(self, body: bytes) -> bool:
        """One more part; False where the whole would become too large."""
        self._parts.append(body)
        self._size += len(body)
        if self._whole:
            self.heard = self._loop.time()
            return self._size <= self.max_body_bytes
        self._wake()
        if self._size - self._given > QUEUED_BYTES:
            self.connection.pause()
        return True

    def finish(self) -> None:
        """The body is complete."""
        self._ended = True
        self._wake()

    def fail(self, failure: FarthingError) -> None:
        """No more will come. What came before is given out first."""
        self._ended, self._failure = True, failure
        self._wake()

    def go_stale(self) -> None:
        """The connection was closed by the provider before the request arrived there."""
        self._stale = True
        self._wake()

    def due(self) -> tuple[float, str]:
        """The loop time at which this answer has taken too long, and the setting that says so.

        A receiver that is slow itself does not count against the provider, but for the total.
        """
        if self._waiter is None or self._waiter.done():
            return self._total_due, "total"
        setting = "idle" if self.status else "first_byte"
        due: float = self.heard + getattr(self.provider.timeouts, setting)
        return (due, setting) if due < self._total_due else (self._total_due, "total")

    # --- inner -----------------------------------------------------------------------------------

    async def _wait(self, patience: float) -> None:
        self.heard = now = self._loop.time()
        if now + patience < self.connection.rings_at:  # seldom; a call of each chunk's own would be felt
            self.connection.ring_by(now + patience)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _take(self) -> bytes:
        parts, self._parts = self._parts, []
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._given = self._size
        if len(body) > QUEUED_BYTES and not self._ended:
            self.connection.resume()
        return body

    def _too_large(self) -> FarthingError:
        return failures.broken(self.provider, f"sent a body of more than {self.max_body_bytes} bytes")
