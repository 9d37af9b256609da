"""Clients that leave a feature whose streams are drained: the truth is booked, the answer kept, nothing runs on."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from farthing.catalog import HangUp
from farthing.record import Outcome
from farthing.usage import UsageSource
from gateway.answer import Answer
from gateway.drains import Drains
from gateway.pipeline import serve
from gateway.upstreams.testing import Ending
from tests.gateway import KEY, RunningGateway, running_gateway, until
from tests.scripted_pipeline import (
    CHAT,
    Stair,
    chunk,
    completion,
    frames,
    headers_of,
    leave_after,
    plain,
    stream,
    usage,
    usage_chunk,
)

FRESH = {"x-farthing-feature": "drained", "cache-control": "no-cache"}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, chunks=20, duration_ms=200) as running:
        yield running


async def open_stream(gateway: RunningGateway, model: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    body = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": "hello"}]}).encode()
    reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nx-farthing-feature: drained\r\n"
        f"authorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    return reader, writer


async def test_a_stream_whose_client_left_is_charged_by_the_providers_figure_and_kept(gateway: RunningGateway) -> None:
    reader, writer = await open_stream(gateway, "plain-model")
    await reader.readuntil(b"data: ")

    writer.transport.abort()

    await until(lambda: bool(gateway.records()))
    (record,) = gateway.records()
    assert (record.outcome, record.status, record.error_code) == (Outcome.ABORTED, 499, "client_gone")
    assert (gateway.mock.aborted, gateway.holds()) == (0, 0)
    stayed = gateway.record_of(await gateway.chat("hello", model="plain-model", headers=FRESH, stream=True))
    assert (record.usage, record.cost) == (stayed.usage, stayed.cost)
    assert record.usage.source is UsageSource.PROVIDER
    again = await gateway.chat("hello", model="plain-model", headers={"x-farthing-feature": "drained"}, stream=True)
    assert again.headers["x-farthing-cache"] == "exact"


async def test_a_client_that_leaves_before_the_first_byte_is_drained_too(gateway: RunningGateway) -> None:
    _, writer = await open_stream(gateway, "mock-slow-first-byte")
    await until(lambda: bool(gateway.mock.requests))

    writer.transport.abort()

    await until(lambda: bool(gateway.records()))
    (record,) = gateway.records()
    assert (record.outcome, record.usage.source) == (Outcome.ABORTED, UsageSource.PROVIDER)
    assert (gateway.mock.aborted, gateway.holds()) == (0, 0)


async def test_stopping_while_a_stream_is_drained_books_what_was_delivered(gateway: RunningGateway) -> None:
    reader, writer = await open_stream(gateway, "mock-stall")
    await reader.readuntil(b"data: ")
    writer.transport.abort()
    drains = gateway.application.house.runtime.drains
    await until(lambda: drains.running == 1)

    await drains.settle(timeout_s=0)

    (record,) = gateway.records()
    assert (record.outcome, record.usage.source) == (Outcome.ABORTED, UsageSource.ESTIMATED)
    assert record.cost > 0
    assert (drains.running, gateway.holds()) == (0, 0)


async def test_a_storm_of_leavers_leaves_one_true_record_each(gateway: RunningGateway) -> None:
    storm = 30
    connections = [await open_stream(gateway, "plain-model") for _ in range(storm)]
    await until(lambda: gateway.holds() > 0)

    for _, writer in connections:
        writer.transport.abort()

    await until(lambda: len(gateway.records()) == storm)
    assert {record.usage.source for record in gateway.records()} <= {UsageSource.PROVIDER, UsageSource.COMPUTED}
    assert gateway.holds() == 0


# --- with a scripted provider, moment by moment --------------------------------------------------

WHOLE = stream(*frames(chunk("one "), chunk("two "), chunk("three", "stop"), usage_chunk(5, 7)))


def drained(*script: object, drains: Drains | None = None) -> Stair:
    stair = Stair(feature=replace(CHAT, on_hang_up=HangUp.DRAIN)).open()
    stair.upstream.add(*script)  # type: ignore[arg-type]
    if drains is not None:
        stair.runtime.drains = drains
    return stair


@pytest.mark.parametrize("chunks", range(5))
async def test_wherever_the_client_leaves_the_whole_is_booked_and_kept(chunks: int) -> None:
    stair = drained(WHOLE)

    await leave_after(stair, chunks)
    await stair.runtime.drains.settle()

    assert stair.record.outcome is (Outcome.ABORTED if chunks < 3 else Outcome.SUCCESS)
    assert stair.record.cost == 5 * 1000 + 7 * 2000
    assert stair.upstream.answers[0].closed
    answer, _ = await stair.ask()
    assert headers_of(answer)["x-farthing-cache"] == "exact"


async def test_a_drained_stream_that_breaks_is_booked_by_what_came() -> None:
    stair = drained(stream(*frames(chunk("one "), chunk("two "), done=False), ending=Ending.CUT))

    await leave_after(stair, 1)
    await stair.runtime.drains.settle()

    assert stair.record.outcome is Outcome.UPSTREAM_ERROR
    assert (stair.record.usage.source, stair.record.usage.output_total) == (UsageSource.ESTIMATED, 3)  # " " is one
    answer, _ = await stair.ask()
    assert headers_of(answer).get("x-farthing-cache") == "miss"


async def test_as_many_are_drained_as_may_be_and_the_next_is_stopped() -> None:
    stair = drained(WHOLE, drains=Drains(limit=0))

    await leave_after(stair, 1)

    assert (stair.record.outcome, stair.record.usage.source) == (Outcome.ABORTED, UsageSource.ESTIMATED)
    assert stair.record.usage.output_total < 7
    assert stair.upstream.answers[0].closed


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("limit", [0, 1])
async def test_a_call_cancelled_in_any_turn_leaves_one_record_or_none_and_no_hold(turns: int, limit: int) -> None:
    stair = drained(WHOLE, drains=Drains(limit=limit))

    async def call() -> None:
        async with await serve(stair.request(stream=True), stair.runtime) as answer:
            async for _ in answer.chunks():
                pass

    task = asyncio.ensure_future(call())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await stair.runtime.drains.settle()

    assert len(stair.ledger.records) == (1 if turns else 0)
    assert not stair.ledger.holds
    assert (stair.runtime.drains.running, len(stair.runtime.caches.flights)) == (0, 0)
    assert all(answer.closed for answer in stair.upstream.answers)


async def test_a_client_that_left_before_a_plain_answer_has_it_booked_and_kept() -> None:
    stair = drained(plain(completion(usage=usage(5, 7))))

    task = asyncio.ensure_future(serve(stair.request(stream=True), stair.runtime))
    await until(lambda: bool(stair.upstream.sent))
    task.cancel()
    answers = await asyncio.gather(task, return_exceptions=True)
    await stair.runtime.drains.settle()

    assert isinstance(answers[0], asyncio.CancelledError | Answer)
    assert stair.record.cost == 5 * 1000 + 7 * 2000


async def test_a_client_that_left_before_a_refusal_leaves_the_refusal_on_the_books() -> None:
    stair = drained(plain({"error": {"message": "no"}}, status=400))

    task = asyncio.ensure_future(serve(stair.request(stream=True), stair.runtime))
    await until(lambda: bool(stair.upstream.sent))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await stair.runtime.drains.settle()

    assert (stair.record.outcome, stair.record.cost) == (Outcome.UPSTREAM_ERROR, 0)
    assert not stair.ledger.holds


async def test_a_client_that_stays_gets_what_it_would_get_without_the_policy() -> None:
    usual, policy = Stair().open(), drained(WHOLE)
    usual.upstream.add(WHOLE)

    _, expected = await usual.ask(stream=True)
    _, received = await policy.ask(stream=True)

    assert received == expected
    assert (policy.record.outcome, policy.record.cost) == (Outcome.SUCCESS, usual.record.cost)


async def test_a_stream_that_is_not_to_be_drained_is_stopped() -> None:
    stair = Stair().open()
    stair.upstream.add(WHOLE)

    await leave_after(stair, 1)

    assert (stair.record.outcome, stair.record.usage.source) == (Outcome.ABORTED, UsageSource.ESTIMATED)
    assert stair.runtime.drains.running == 0
