"""Background work: the one home of `create_task`, so that shutting down waits for what was promised."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_LOG: Final = logging.getLogger("farthing.tasks")


class Background:
    """Tasks that outlive their request; at most `limit` are spawned, more are dropped (the caches' may be lost)."""

    def __init__(self, limit: int = 1000) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._limit = limit
        self.dropped = 0

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run `work` off the path; a failure is logged by type only, since its text may hold content."""
        if len(self._tasks) >= self._limit:
            self.dropped += 1
            work.close()
            return
        self.start(work)

    def start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run `work`, whatever else runs."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.warning("background work failed: %s", type(error).__name__)

    async def settle(self, timeout_s: float = 5.0) -> None:
        """Wait for what runs, then cancel the rest; each has begun by then, so that it can end in order."""
        await asyncio.sleep(0)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
