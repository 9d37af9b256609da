"""Answer: what goes back to the client, owning whatever must be closed behind it."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Protocol

Header = tuple[bytes, bytes]


class Ending(Protocol):
    """The rest of a streamed request: its bytes, and the books to close after them."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The stream for the client."""

    async def close(self, error: BaseException | None) -> None:
        """Stop the upstream and settle; idempotent. `error` is why the client's side ended, if it did not end well."""


class Answer:
    """Status, headers, and either a whole `body` (its books are closed already) or a stream.

    Use as `async with answer:`, so that a client that leaves before the first byte is settled as well: a generator
    that never started would never run its own clean-up.
    """

    __slots__ = ("_ending", "body", "headers", "status")

    def __init__(self, status: int, headers: list[Header], body: bytes = b"", ending: Ending | None = None) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self._ending = ending

    @property
    def streams(self) -> bool:
        """True where `chunks` and not `body` carries the answer."""
        return self._ending is not None

    def chunks(self) -> AsyncIterator[bytes]:
        """The stream, in the chunks in which it arrives."""
        assert self._ending is not None
        return self._ending.chunks()

    async def abandon(self) -> None:
        """Nobody is there any more to whom it could go."""
        if self._ending is not None:
            await self._ending.close(asyncio.CancelledError())

    async def __aenter__(self) -> "Answer":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ending is not None:
            await self._ending.close(error)
