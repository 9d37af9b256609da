"""Clients that leave: settled honestly, upstream stopped, no hold left behind."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farthing.record import Outcome
from farthing.usage import UsageSource
from tests.gateway import KEY, RunningGateway, running_gateway, until


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, chunks=200, duration_ms=4000) as running:
        yield running


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def open_stream(gateway: RunningGateway, model: str, content: str = "word " * 200) -> Connection:
    body = json.dumps(
        {"model": model, "stream": True, "messages": [{"role": "user", "content": content}], "max_tokens": 1000}
    ).encode()
    reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer " + KEY.encode()
        + b"\r\ncontent-type: application/json\r\ncontent-length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )  # fmt: skip
    await writer.drain()
    return reader, writer


async def test_a_client_that_leaves_mid_stream_pays_for_what_was_delivered(gateway: RunningGateway) -> None:
    reader, writer = await open_stream(gateway, "plain-model")
    await reader.readuntil(b"data: ")
    for _ in range(5):
        await reader.readuntil(b"\n\n")

    writer.transport.abort()

    await until(lambda: bool(gateway.records()))
    await until(lambda: gateway.mock.aborted == 1)
    (record,) = gateway.records()
    assert (record.outcome, record.usage.source) == (Outcome.ABORTED, UsageSource.ESTIMATED)
    whole_cap = 1000 * 2000
    assert 0 < record.cost < whole_cap
    assert 0 < record.usage.output_total < 200
    assert record.usage.input_total > 200
    assert gateway.holds() == 0


async def test_a_client_that_leaves_before_the_first_byte_is_settled_too(gateway: RunningGateway) -> None:
    _, writer = await open_stream(gateway, "mock-hang")
    await until(lambda: gateway.holds() == 1)

    writer.transport.abort()

    await until(lambda: bool(gateway.records()))
    (record,) = gateway.records()
    assert (record.outcome, record.usage.output_total) == (Outcome.ABORTED, 0)
    assert record.cost > 0
    assert gateway.holds() == 0


async def test_an_aborted_stream_is_never_stored(gateway: RunningGateway) -> None:
    reader, writer = await open_stream(gateway, "plain-model")
    await reader.readuntil(b"data: ")
    writer.transport.abort()
    await until(lambda: bool(gateway.records()))

    again = await gateway.chat("word " * 200, model="plain-model", max_tokens=1000)

    assert again.headers["x-farthing-cache"] == "miss"


async def test_a_storm_of_aborted_streams_leaves_one_record_each_and_a_living_gateway(gateway: RunningGateway) -> None:
    storm = 50
    writers = [(await open_stream(gateway, "plain-model", f"storm {n}"))[1] for n in range(storm)]
    await until(lambda: gateway.holds() == storm)

    for writer in writers:
        writer.transport.abort()

    await until(lambda: len(gateway.records()) == storm)
    assert {record.outcome for record in gateway.records()} == {Outcome.ABORTED}
    assert gateway.holds() == 0
    assert (await gateway.chat("alive", model="plain-model")).status_code == 200


async def test_a_plain_call_whose_client_left_is_finished_and_kept(gateway: RunningGateway) -> None:
    body = json.dumps({"model": "mock-slow-first-byte", "messages": [{"role": "user", "content": "keep"}]}).encode()
    _, writer = await asyncio.open_connection(gateway.host, gateway.port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer " + KEY.encode()
        + b"\r\ncontent-length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )  # fmt: skip
    await writer.drain()
    await until(lambda: bool(gateway.mock.requests))
    writer.transport.abort()

    await until(lambda: bool(gateway.records()))
    assert gateway.records()[0].outcome is Outcome.SUCCESS
    again = await gateway.chat("keep", model="mock-slow-first-byte")
    assert again.headers["x-farthing-cache"] == "exact"
