"""An embedder off the event loop: what queues while one batch runs is embedded together in the next."""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from farthing.ports import Payer

Vectors = NDArray[np.float32]


class BlockingEmbedder(Protocol):
    """What a pool needs of a model; `embed_sync` must be safe to call from another thread."""

    @property
    def dimension(self) -> int: ...

    @property
    def version(self) -> str: ...

    def embed_sync(self, texts: Sequence[str]) -> Vectors:
        """One unit vector per text, shape (len(texts), dimension)."""


class EmbedderBusy(RuntimeError):
    """More texts wait to be embedded than the queue may hold; go on without a vector or try later."""

    def __init__(self, queued: int, limit: int) -> None:
        super().__init__(f"{queued} texts wait to be embedded and the queue holds {limit}")
        self.queued = queued
        self.limit = limit


class EmbedderAway(RuntimeError):
    """Nobody can embed now: who does cannot be reached, answers what is no vector, or may not be paid."""


class EmbedderClosed(RuntimeError):
    """The embedder was closed."""


@dataclass(frozen=True, slots=True)
class _Request:
    texts: tuple[str, ...]
    vectors: asyncio.Future[Vectors]


class PooledEmbedder:
    """Runs a blocking model in its own threads, with natural batching and a bounded queue.

    Belongs to the event loop that first calls `embed`. `max_queue` counts texts that wait, not those being
    embedded. A request is never split: one with more than `max_batch` texts is a batch of its own.
    """

    def __init__(self, model: BlockingEmbedder, *, threads: int = 1, max_batch: int = 32, max_queue: int = 256) -> None:
        self._model = model
        self._threads = threads
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="embedder")
        self._waiting: deque[_Request] = deque()
        self._running = 0
        self._closed = False

    @property
    def dimension(self) -> int:
        return self._model.dimension

    @property
    def version(self) -> str:
        """Names the vector space: vectors of different versions must never be compared."""
        return self._model.version

    @property
    def queued(self) -> int:
        """Texts that wait for a thread."""
        return sum(len(request.texts) for request in self._waiting)

    async def embed(self, texts: Sequence[str], _payer: Payer | None = None, /) -> Vectors:
        """Unit vectors, shape (len(texts), dimension). They cost nothing.

        Raises EmbedderBusy when the queue cannot take these texts, EmbedderClosed after `aclose`, and
        whatever the model raised for the batch in which the texts were.
        """
        if self._closed:
            raise EmbedderClosed("the embedder was closed")
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        request = _Request(tuple(texts), asyncio.get_running_loop().create_future())
        self._enqueue(request)
        return await request.vectors

    async def aclose(self) -> None:
        """Refuses what waits, lets the running batches finish and ends the threads."""
        self._closed = True
        while self._waiting:
            _fail(self._waiting.popleft(), EmbedderClosed("the embedder was closed"))
        await asyncio.to_thread(self._pool.shutdown)

    def _enqueue(self, request: _Request) -> None:
        free_thread = self._running < self._threads
        if not free_thread and self.queued + len(request.texts) > self._max_queue:
            raise EmbedderBusy(self.queued, self._max_queue)
        self._waiting.append(request)
        self._start_batches()

    def _start_batches(self) -> None:
        while self._running < self._threads and (batch := self._next_batch()):
            texts = [text for request in batch for text in request.texts]
            done = asyncio.get_running_loop().run_in_executor(self._pool, self._model.embed_sync, texts)
            self._running += 1
            done.add_done_callback(partial(self._deliver, batch))

    def _next_batch(self) -> list[_Request]:
        batch: list[_Request] = []
        size = 0
        while self._waiting:
            request = self._waiting[0]
            if batch and size + len(request.texts) > self._max_batch:
                break
            self._waiting.popleft()
            if not request.vectors.done():  # a caller who left before its turn costs nothing
                batch.append(request)
                size += len(request.texts)
        return batch

    def _deliver(self, batch: list[_Request], done: asyncio.Future[Vectors]) -> None:
        self._running -= 1
        error = done.exception()
        if error is None:
            _hand_out(batch, done.result())
        else:
            for request in batch:
                _fail(request, error)
        if not self._closed:
            self._start_batches()


def _hand_out(batch: list[_Request], vectors: Vectors) -> None:
    start = 0
    for request in batch:
        end = start + len(request.texts)
        if not request.vectors.done():
            request.vectors.set_result(vectors[start:end])
        start = end


def _fail(request: _Request, error: BaseException) -> None:
    if not request.vectors.done():
        request.vectors.set_exception(error)
