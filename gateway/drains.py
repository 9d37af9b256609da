"""Drains: streams that are read to their end although their client has left, so that their cost is known."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, Final

from farthing.ports import UpstreamResponse
from gateway.answer import Answer
from gateway.books import Page
from gateway.relay import frames
from gateway.tasks import Background

DRAINS: Final = 100
"""Streams that may go on for nobody at one time: each keeps a connection that a caller may be waiting for."""
_AHEAD: Final = 8
"""Chunks that may lie in a pump unread before the provider has to wait."""


class Drains:
    """At most `limit` streams go on for clients who have left; what is beyond that is stopped, as by policy `abort`."""

    def __init__(self, limit: int = DRAINS) -> None:
        self._tasks = Background(sys.maxsize)
        self._limit = limit
        self.running = 0

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run what a stream of such a policy needs from its beginning."""
        return self._tasks.start(work)

    def drain(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None] | None":
        """Run `work` for a client who has left; None where as many run as may, and this will not."""
        if self.running >= self._limit:
            work.close()
            return None
        task = self.start(work)
        self._count(task)
        return task

    async def see_through(
        self, work: Coroutine[Any, Any, Answer], page: Page, is_wanted: Callable[[], bool] = lambda: True
    ) -> Answer:
        """The answer of `work`, which closes the page. Where the client leaves before it is there, the work goes on if
        it `is_wanted`, and the answer is abandoned when it comes."""
        arrived: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        task = page.keeper = self.start(_carry(work, arrived))
        try:
            return await arrived
        except asyncio.CancelledError:
            if not arrived.cancelled():  # both happened in one turn of the loop
                await arrived.result().abandon()
            elif self.running < self._limit and is_wanted():
                self._count(task)
            else:  # in the next turn, when it has begun in any case, and so ends in order
                asyncio.get_running_loop().call_soon(task.cancel)
            raise

    async def settle(self, timeout_s: float = 5.0) -> None:
        """Wait for what runs, then stop the rest, which is settled by what has come."""
        await self._tasks.settle(timeout_s)

    def _count(self, task: "asyncio.Task[None]") -> None:
        self.running += 1
        task.add_done_callback(self._uncount)

    def _uncount(self, task: "asyncio.Task[None]") -> None:
        del task
        self.running -= 1


async def _carry(work: Coroutine[Any, Any, Answer], arrived: "asyncio.Future[Answer]") -> None:
    try:
        answer = await work
    except BaseException:
        arrived.cancel()
        raise
    if arrived.cancelled():
        await answer.abandon()
    else:
        arrived.set_result(answer)


class Pump:
    """Port UpstreamResponse, read by a task of its own: whoever takes its chunks may be cancelled, and the next one
    goes on where that one stopped. Its wire never sees a reader change."""

    def __init__(self, response: UpstreamResponse, drains: Drains) -> None:
        self._response = response
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)
        self._fault: Exception | None = None
        self._task = drains.start(self._pump())

    @property
    def status(self) -> int:
        """See the port."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """See the port."""
        return self._response.headers

    async def read(self) -> bytes:
        """See the port."""
        return b"".join([data async for data in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        """See the port. May be called again: after the end it ends at once."""
        while not (self._task.done() and self._queue.empty()):
            if (data := await self._queue.get()) is None:
                break
            yield data
        if self._fault is not None:
            raise self._fault

    async def close(self) -> None:
        """See the port."""
        self._task.cancel()
        try:
            await asyncio.wait((self._task,))
        finally:
            await self._response.close()

    async def _pump(self) -> None:
        try:
            async for data in self._response.chunks():
                for frame in frames(data):  # one at a time, so that none is lost with a cancelled reader
                    await self._queue.put(frame)
        except Exception as error:  # noqa: BLE001 - it is the reader's, who gets it in its place
            self._fault = error
        await self._queue.put(None)
