"""The pool in front of a blocking model: batching, bounds, cancellation, closing."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest

from cache.embedders.pooled import EmbedderBusy, EmbedderClosed, PooledEmbedder, Vectors


class GatedModel:
    """Embeds a text as (its length, 0), but only while its gate is open; keeps the batches it saw."""

    dimension = 2
    version = "gated-1"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.batches: list[list[str]] = []

    def embed_sync(self, texts: Sequence[str]) -> Vectors:
        self.batches.append(list(texts))
        self.gate.wait(10)
        if "poison" in texts:
            raise ValueError("poison")
        return np.array([[len(text), 0] for text in texts], dtype=np.float32)


@asynccontextmanager
async def pooled(model: GatedModel, *, max_batch: int = 32, max_queue: int = 256) -> AsyncIterator[PooledEmbedder]:
    embedder = PooledEmbedder(model, max_batch=max_batch, max_queue=max_queue)
    try:
        yield embedder
    finally:
        model.gate.set()
        await embedder.aclose()


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - what we wait for happens in the code under test, without an event
        await asyncio.sleep(0.001)


async def test_what_queues_while_a_batch_runs_is_embedded_together_in_the_next() -> None:
    model = GatedModel()
    async with pooled(model) as embedder, asyncio.TaskGroup() as group:
        for texts in (["a"], ["bb", "ccc"], ["dddd"]):
            group.create_task(embedder.embed(texts))
        await until(lambda: embedder.queued == 3)
        model.gate.set()

    assert model.batches == [["a"], ["bb", "ccc", "dddd"]]


async def test_every_caller_gets_the_rows_of_its_own_texts() -> None:
    model = GatedModel()
    async with pooled(model) as embedder, asyncio.TaskGroup() as group:
        tasks = [group.create_task(embedder.embed(["x" * n, "x" * (n + 1)])) for n in range(5)]
        await until(lambda: embedder.queued == 8)
        model.gate.set()

    assert [task.result()[:, 0].tolist() for task in tasks] == [[n, n + 1] for n in range(5)]


async def test_a_batch_stays_under_its_limit_without_splitting_a_request() -> None:
    model = GatedModel()
    async with pooled(model, max_batch=3) as embedder, asyncio.TaskGroup() as group:
        for texts in (["a"], ["b", "b"], ["c", "c"], ["d"], ["e"] * 5):
            group.create_task(embedder.embed(texts))
        await until(lambda: embedder.queued == 10)
        model.gate.set()

    assert model.batches == [["a"], ["b", "b"], ["c", "c", "d"], ["e"] * 5]


async def test_a_full_queue_is_busy_at_once_and_says_how_full_it_is() -> None:
    model = GatedModel()
    async with pooled(model, max_queue=2) as embedder, asyncio.TaskGroup() as group:
        group.create_task(embedder.embed(["runs"]))
        group.create_task(embedder.embed(["waits", "waits"]))
        await until(lambda: embedder.queued == 2)

        with pytest.raises(EmbedderBusy, match="2 texts wait to be embedded and the queue holds 2") as busy:
            await embedder.embed(["one too many"])
        model.gate.set()

    assert (busy.value.queued, busy.value.limit) == (2, 2)


async def test_a_caller_who_left_before_its_turn_costs_nothing() -> None:
    model = GatedModel()
    async with pooled(model) as embedder, asyncio.TaskGroup() as group:
        group.create_task(embedder.embed(["stays"]))
        leaver = group.create_task(embedder.embed(["leaves"]))
        group.create_task(embedder.embed(["stays too"]))
        await until(lambda: embedder.queued == 2)
        leaver.cancel()
        await until(leaver.done)
        model.gate.set()

    assert model.batches == [["stays"], ["stays too"]]


async def test_an_error_reaches_its_batch_and_spares_the_next() -> None:
    model = GatedModel()
    model.gate.set()
    async with pooled(model) as embedder:
        with pytest.raises(ValueError, match="poison"):
            await embedder.embed(["poison"])

        vectors = await embedder.embed(["fine"])

    assert vectors.tolist() == [[4.0, 0.0]]


async def test_closing_finishes_the_running_batch_and_refuses_what_waits() -> None:
    model = GatedModel()
    embedder = PooledEmbedder(model)
    calls = asyncio.gather(embedder.embed(["runs"]), embedder.embed(["waits"]), return_exceptions=True)
    await until(lambda: embedder.queued == 1 and model.batches)

    closing = asyncio.gather(embedder.aclose())
    await until(lambda: embedder.queued == 0)
    model.gate.set()
    ran, waited = await calls
    await closing

    assert isinstance(ran, np.ndarray)
    assert isinstance(waited, EmbedderClosed)
    with pytest.raises(EmbedderClosed):
        await embedder.embed(["late"])


async def test_no_texts_need_no_thread() -> None:
    model = GatedModel()
    async with pooled(model) as embedder:
        vectors = await embedder.embed([])

    assert vectors.shape == (0, 2)
    assert model.batches == []


async def test_dimension_and_version_are_the_models() -> None:
    async with pooled(GatedModel()) as embedder:
        assert (embedder.dimension, embedder.version) == (2, "gated-1")
