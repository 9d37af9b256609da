"""What the hostile tests share: a gateway behind the wire of production, and a client that repairs nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.mock_upstream import MockSettings, running_mock
from gateway.wire import PatientProtocol
from tests.gateway import KEY, RunningGateway, reached, write_tree

CHAT = "/v1/chat/completions"
STATUSES = ("mock-400", "mock-401", "mock-503")
"""Models whose upstream answers with that status, besides those of tests.gateway."""
PATIENCE_S = 10.0
"""How long a test waits for what must happen: a bound on hangs, not a measurement."""


PRICE = "input_per_mtok: 1, output_per_mtok: 2"


class HastyProtocol(PatientProtocol):
    """The wire of production with patience for a test."""

    head_s = body_s = write_s = 0.3


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer as it came off the socket."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> Any:
        """The error object of an envelope."""
        return json.loads(self.body)["error"]


@asynccontextmanager
async def hostile_gateway(
    directory: Path,
    *,
    protocol: type[asyncio.Protocol] = PatientProtocol,
    extra: str = "",
    upstream: str = "",
    models: Mapping[str, str] | None = None,
    chunks: int = 10,
    max_body_bytes: int = 100_000,
    keys: str = "",
    log: str = "",
) -> AsyncIterator[RunningGateway]:
    """As tests.gateway.running_gateway, on a wire of choice; `upstream` is a base URL that replaces the mock's.

    `keys` are more entries under `keys:`, `log` replaces the line of `logging`.
    """
    settings = MockSettings(chunks=chunks, duration_ms=0, slow_ms=20, recording=True)
    async with running_mock(settings) as mock:
        named = {name: f"[{{provider: mock, model: {name}}}]" for name in STATUSES} | dict(models or {})
        priced = "".join(f"  - {{provider: mock, model: {name}, {PRICE}}}\n" for name in STATUSES)
        config = write_tree(directory, upstream or mock.base_url, extra=priced + extra, models=named)
        file = config / "farthing.yaml"
        text = file.read_text().replace("max_body_bytes: 100000", f"max_body_bytes: {max_body_bytes}")
        text = text.replace("keys:\n", f"keys:\n{keys}\n") if keys else text
        file.write_text(text.replace("logging: {level: error}", log) if log else text)
        async with reached(config, mock, protocol) as gateway:
            yield gateway


def asked(content: str = "hello", **members: Any) -> bytes:
    """A chat body."""
    return json.dumps({"model": "auto", "messages": [{"role": "user", "content": content}], **members}).encode()


def head(
    *headers: bytes,
    target: bytes = CHAT.encode(),
    method: bytes = b"POST",
    host: bytes | None = b"gateway",
    key: str = KEY,
) -> bytes:
    """A request head; `key` is sent as a bearer token unless it is empty."""
    lines = [method + b" " + target + b" HTTP/1.1"]
    if host is not None:
        lines.append(b"Host: " + host)
    if key:
        lines.append(b"Authorization: Bearer " + key.encode())
    return b"\r\n".join([*lines, *headers]) + b"\r\n\r\n"


def post(
    body: bytes, *headers: bytes, target: bytes = CHAT.encode(), host: bytes = b"gateway", key: str = KEY
) -> bytes:
    """A whole request with its length."""
    return head(b"Content-Length: %d" % len(body), *headers, target=target, host=host, key=key) + body


@asynccontextmanager
async def connected(gateway: RunningGateway) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection."""
    reader, writer = await asyncio.open_connection(gateway.host, gateway.port, limit=2**20)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def send(gateway: RunningGateway, data: bytes) -> Reply:
    """Send bytes on a fresh connection and read one answer."""
    async with connected(gateway) as (reader, writer), asyncio.timeout(PATIENCE_S):
        writer.write(data)
        return await read_reply(reader)


async def send_until_closed(gateway: RunningGateway, data: bytes) -> bytes:
    """Send bytes and read all that comes until the gateway closes the connection."""
    async with connected(gateway) as (reader, writer), asyncio.timeout(PATIENCE_S):
        writer.write(data)
        return await reader.read()


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """One answer with a length."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Reply(int(lines[0].split(" ")[1]), headers, body)


async def serves(gateway: RunningGateway) -> bool:
    """True where the next plain request succeeds."""
    return (await gateway.chat("the next plain request")).status_code == 200


async def until(happened: Callable[[], bool]) -> None:
    """Wait for something on the other side of a socket."""
    async with asyncio.timeout(PATIENCE_S):
        while not happened():  # noqa: ASYNC110 - no event reaches over a socket
            await asyncio.sleep(0.01)
