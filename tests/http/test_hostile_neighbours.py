"""Hostile neighbours: clients that do not read, and upstreams that send without measure or sense."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from farthing.record import Outcome
from farthing.usage import UsageSource
from tests.gateway import RunningGateway
from tests.http.hostile import HastyProtocol, asked, connected, hostile_gateway, post, send, serves, until

MEBIBYTE = 2**20
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%b\r\n"
JSON_HEAD = HEAD % (b"application/json", b"connection: close\r\n")
STREAM_HEAD = HEAD % (b"text/event-stream", b"connection: close\r\n")
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi there"}}],
}


@dataclass(slots=True)
class Upstream:
    """A provider that runs a script instead of answering. `sent` are the bytes its socket took."""

    script: Callable[["Upstream", asyncio.StreamWriter], Awaitable[None]]
    base_url: str = ""
    sent: int = 0
    gone: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()
        self.sent += len(data)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
            await self.script(self, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.gone += 1
        finally:
            writer.close()


@asynccontextmanager
async def upstream_that(
    script: Callable[[Upstream, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[Upstream]:
    upstream = Upstream(script)
    server = await asyncio.start_server(upstream.answer, "127.0.0.1", 0)
    upstream.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield upstream
    finally:
        server.close()
        await server.wait_closed()


def says(*parts: bytes) -> Callable[[Upstream, asyncio.StreamWriter], Awaitable[None]]:
    """A script that sends these parts and closes."""

    async def script(upstream: Upstream, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            await upstream.write(writer, part)

    return script


async def stream_for_ever(upstream: Upstream, writer: asyncio.StreamWriter) -> None:
    chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "x" * 16_000}}]}
    frame = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    await upstream.write(writer, STREAM_HEAD)
    while True:
        await upstream.write(writer, frame)


async def still(upstream: Upstream) -> int:
    """Wait until the upstream has been unable to send for a while; the bytes it sent."""
    quiet, last = 0, -1
    async with asyncio.timeout(10):
        while quiet < 10:
            await asyncio.sleep(0.02)
            quiet, last = (quiet + 1, last) if upstream.sent == last else (0, upstream.sent)
    return last


# --- clients that do not read ----------------------------------------------------------------------


async def test_a_client_that_does_not_read_stops_the_stream_in_bounded_memory(tmp_path: Path) -> None:
    async with (
        upstream_that(stream_for_ever) as upstream,
        hostile_gateway(tmp_path, upstream=upstream.base_url) as gateway,
    ):
        async with connected(gateway) as (reader, writer):
            writer.write(post(asked("go on", model="plain-model", stream=True)))
            await until(lambda: upstream.sent > 0)

            # Sockets and libraries on the way hold some megabytes; a relay that read on would take it all.
            stopped_at = await still(upstream)
            assert stopped_at < 32 * MEBIBYTE

            for _ in range(400):
                await reader.readexactly(64 * 1024)
            assert await still(upstream) > stopped_at, "it goes on when the client does"

        await until(lambda: upstream.gone == 1)
        await until(lambda: len(gateway.records()) == 1)
        assert gateway.records()[0].outcome is Outcome.ABORTED


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(asked(model="plain-model", stream=True)) + post(asked("pipelined")),
        post(asked(model="plain-model", stream=True).replace(b'"stream"', b'"str\\u0065am"')),
    ],
    ids=["pipelined", "spelt in escapes"],
)
async def test_a_client_that_leaves_stops_its_stream_however_it_asked(tmp_path: Path, request_bytes: bytes) -> None:
    async with (
        upstream_that(stream_for_ever) as upstream,
        hostile_gateway(tmp_path, upstream=upstream.base_url) as gateway,
    ):
        async with connected(gateway) as (reader, writer):
            writer.write(request_bytes)
            await reader.readuntil(b"data: ")

        await until(lambda: upstream.gone == 1)
        await until(lambda: len(gateway.records()) == 1)
        assert gateway.records()[0].outcome is Outcome.ABORTED


async def test_a_client_that_never_reads_again_is_cut_and_settled(tmp_path: Path) -> None:
    async with (
        upstream_that(stream_for_ever) as upstream,
        hostile_gateway(tmp_path, upstream=upstream.base_url, protocol=HastyProtocol) as gateway,
        connected(gateway) as (_, writer),
    ):
        writer.write(post(asked("go on", model="plain-model", stream=True)))

        await until(lambda: bool(gateway.records()))
        await until(lambda: upstream.gone == 1)
        (record,) = gateway.records()
        assert (record.outcome, record.usage.source) == (Outcome.ABORTED, UsageSource.ESTIMATED)
        assert record.cost > 0


# --- upstreams without measure ---------------------------------------------------------------------


async def booked(gateway: RunningGateway, *, stream: bool) -> tuple[int, bytes, str]:
    """Ask once; status, body and the error code on the books, for the one request there is."""
    response = await gateway.chat("x", model="plain-model", stream=stream)
    await until(lambda: len(gateway.records()) == 1)
    return response.status_code, response.content, gateway.records()[0].error_code


@pytest.mark.parametrize(
    "parts",
    [
        (HEAD % (b"application/json", b"content-length: 99999999999\r\n") + b"{",),
        (JSON_HEAD + b'{"x": "', *(b"a" * MEBIBYTE for _ in range(70))),
        (JSON_HEAD + b'{"x": ' + b"[" * 100_000,),
        (JSON_HEAD + b'{"x": NaN}',),
        (JSON_HEAD + b"[]",),
        (JSON_HEAD,),
        (HEAD % (b"application/json", b"content-encoding: gzip\r\n") + b"\x1f\x8b\x08" + b"\0" * 999,),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/secret\r\ncontent-length: 0\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\n" + b"x-pad: " + b"a" * 2_000_000 + b"\r\n\r\n{}",),
        (b"SSH-2.0-OpenSSH_9.6\r\n",),
    ],
    ids=["declared", "sent", "deep", "NaN", "list", "empty", "gzip", "redirect", "headers", "not HTTP"],
)
async def test_a_bomb_from_upstream_is_502(tmp_path: Path, parts: tuple[bytes, ...]) -> None:
    async with (
        upstream_that(says(*parts)) as upstream,
        hostile_gateway(tmp_path, upstream=upstream.base_url) as gateway,
    ):
        status, body, code = await booked(gateway, stream=False)

    assert status == 502
    assert json.loads(body)["error"]["code"] == code
    assert code.startswith("upstream_")


async def test_an_endless_line_from_upstream_ends_the_stream_with_an_error(tmp_path: Path) -> None:
    line = (STREAM_HEAD + b'data: {"x": "', *(b"a" * MEBIBYTE for _ in range(80)))
    async with upstream_that(says(*line)) as upstream, hostile_gateway(tmp_path, upstream=upstream.base_url) as gateway:
        _, body, code = await booked(gateway, stream=True)

        assert b'"error"' in body[-1000:]
        assert b"[DONE]" not in body
        assert code == "upstream_broken"
        assert upstream.sent < 60 * MEBIBYTE, "it was not read to its end"


SENSELESS = [
    b"data: {\n\n",
    b"data: [1]\n\n",
    b"data: NaN\n\n",
    b"data: \xff\xfe\n\n",
    b": only comments\n\n",
    b"event: error\n\n",
    b"data\n\n",
    b"\0\n\n",
    b"id: 1\rdata: {}\r\r",
]


@pytest.mark.parametrize("frame", SENSELESS)
async def test_a_senseless_stream_ends_with_an_error_and_no_done(tmp_path: Path, frame: bytes) -> None:
    async with (
        upstream_that(says(STREAM_HEAD, frame)) as upstream,
        hostile_gateway(tmp_path, upstream=upstream.base_url) as gateway,
    ):
        status, body, code = await booked(gateway, stream=True)

    assert status == 200
    assert b'"error"' in body
    assert b"[DONE]" not in body
    assert code == "upstream_broken"


ABSURD = [
    {"prompt_tokens": -5, "completion_tokens": 1, "total_tokens": -4},
    {"prompt_tokens": 1, "completion_tokens": 10**15, "total_tokens": 10**15 + 1},
    {"prompt_tokens": 1.5, "completion_tokens": 2},
    {"prompt_tokens": "7", "completion_tokens": "2"},
    {"prompt_tokens": None, "completion_tokens": None},
    {"prompt_tokens": True, "completion_tokens": True},
    {"prompt_tokens": 2**70, "completion_tokens": 1},
    "many",
    [],
    {},
]


@pytest.mark.parametrize("usage", ABSURD, ids=lambda usage: json.dumps(usage)[:40])
async def test_an_absurd_usage_is_estimated_and_flagged(tmp_path: Path, usage: object) -> None:
    body = json.dumps({**ANSWER, "usage": usage}).encode()
    async with (
        upstream_that(says(JSON_HEAD + body)) as upstream,
        hostile_gateway(tmp_path, upstream=upstream.base_url, models=BOUNDED) as gateway,
    ):
        response = await gateway.chat("what does it cost", model="bounded")

        record = gateway.record_of(response)
        assert response.status_code == 200
        assert record.usage.source is UsageSource.ESTIMATED
        assert 0 < record.cost < 1_000_000


BOUNDED = {"bounded": "[{provider: mock, model: plain-model, context_window: 8000}]"}

INJECTED = b"x-ratelimit-remaining: 1\r\nretry-after: 1\r\nset-cookie: a=b\r\nx-farthing-cost-usd: 0\r\nx-evil: 1\r\n"


async def test_only_known_headers_of_an_upstream_come_through(tmp_path: Path) -> None:
    body = json.dumps({**ANSWER, "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}).encode()
    head = HEAD % (b"application/json", b"connection: close\r\n" + INJECTED)
    async with (
        upstream_that(says(head + body)) as upstream,
        hostile_gateway(tmp_path, upstream=upstream.base_url) as gateway,
    ):
        reply = await send(gateway, post(asked(model="plain-model")))
        again = await serves(gateway)

    assert (reply.status, again) == (200, True)
    assert reply.headers["x-ratelimit-remaining"] == "1"
    assert reply.headers["x-farthing-cost-usd"] != "0"
    assert not {"set-cookie", "x-evil"} & reply.headers.keys()
