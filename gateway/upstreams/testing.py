"""A provider that plays a script, as a port (`ScriptedUpstream`) or behind a socket (`scripted_server`)."""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from farthing.catalog import Deployment, Provider
from farthing.errors import FarthingError
from gateway.upstreams import failures


class Ending(StrEnum):
    """How an answer ends, or why there is none."""

    COMPLETE = "complete"
    CUT = "cut"
    """The connection breaks after the chunks."""
    STALL = "stall"
    """Nothing more comes after the chunks."""
    SILENT = "silent"
    """Not even a head comes."""
    UNANSWERED = "unanswered"
    """The connection breaks before the head."""
    REFUSED = "refused"
    """No connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """One answer of the script; header names in lower case."""

    chunks: tuple[bytes, ...] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    ending: Ending = Ending.COMPLETE

    def refusal(self, provider: Provider) -> FarthingError | None:
        """What `send` raises."""
        if self.ending is Ending.SILENT:
            return failures.timed_out(provider, "first_byte")
        if self.ending is Ending.UNANSWERED:
            return failures.broken(provider, "broke off its answer (as the script says)")
        if self.ending is Ending.REFUSED:
            return failures.unreachable(provider, "as the script says")
        return None

    def fault(self, provider: Provider) -> FarthingError | None:
        """What comes in place of the end of the body."""
        if self.ending is Ending.CUT:
            return failures.broken(provider, "broke off its answer (as the script says)")
        return failures.timed_out(provider, "idle") if self.ending is Ending.STALL else None


class Sent(NamedTuple):
    """One request as a ScriptedUpstream got it."""

    deployment: Deployment
    operation: str
    body: bytes
    stream: bool


class ScriptedAnswer:
    """Port UpstreamResponse over one scripted answer; `closed` tells whether its receiver let go of it."""

    def __init__(self, script: Scripted, provider: Provider) -> None:
        self._script, self._provider = script, provider
        self.closed = False

    @property
    def status(self) -> int:
        return self._script.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._script.headers

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        for chunk in self._script.chunks:
            await asyncio.sleep(0)  # as with a socket, others get their turn between two chunks
            yield chunk
        if fault := self._script.fault(self._provider):
            raise fault

    async def close(self) -> None:
        self.closed = True


class ScriptedUpstream:
    """Port Upstream: plays the script, then is unreachable. `sent` and `answers` keep what happened."""

    def __init__(self, *script: Scripted) -> None:
        self._script = deque(script)
        self.sent: list[Sent] = []
        self.answers: list[ScriptedAnswer] = []
        self.closed = False

    def add(self, *script: Scripted) -> None:
        """Append to the script."""
        self._script.extend(script)

    async def send(self, deployment: Deployment, operation: str, body: bytes, *, stream: bool) -> ScriptedAnswer:
        self.sent.append(Sent(deployment, operation, body, stream))
        script = self._script.popleft() if self._script else Scripted(ending=Ending.REFUSED)
        if refusal := script.refusal(deployment.provider):
            raise refusal
        self.answers.append(ScriptedAnswer(script, deployment.provider))
        return self.answers[-1]

    async def close(self) -> None:
        self.closed = True


@dataclass(slots=True)
class ScriptedServer:
    """A running server. `requests` are (request line, headers, body) as they arrived; `gone` is set when a
    client leaves before the end of an answer. With a `pace`, every chunk but the first waits for a release of it.
    """

    base_url: str = ""
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    pace: asyncio.Semaphore | None = None
    connections: int = 0


@asynccontextmanager
async def scripted_server(
    *script: Scripted, pace: asyncio.Semaphore | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ScriptedServer]:
    """Play the script over HTTP/1.1 on 127.0.0.1. Where it holds REFUSED, nobody listens."""
    answers, server = deque(script), ScriptedServer(pace=pace)
    writers: list[asyncio.StreamWriter] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        writers.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await _one_exchange(reader, writer, server, answers):
                pass
        writer.close()

    listener = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    server.base_url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    if any(answer.ending is Ending.REFUSED for answer in script):
        listener.close()
    try:
        yield server
    finally:
        listener.close()
        await _hang_up(writers)


async def _hang_up(writers: list[asyncio.StreamWriter]) -> None:
    """Close every connection and wait until it is, so that no socket is left to the garbage collector."""
    for _ in range(3):
        await asyncio.sleep(0)  # whoever was just accepted becomes a writer within these turns of the loop
    for writer in writers:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()
    await asyncio.sleep(0)  # the conversations notice


async def _one_exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    server: ScriptedServer,
    answers: deque[Scripted],
) -> bool:
    """Read a request and play the next answer; False when the connection is to be closed."""
    await _read_request(reader, server)
    answer = answers.popleft()
    if answer.ending not in (Ending.SILENT, Ending.UNANSWERED):
        await _play(writer, server, answer)
    if answer.ending in (Ending.STALL, Ending.SILENT):
        await reader.read(1)
        server.gone.set()
    return answer.ending is Ending.COMPLETE


async def _read_request(reader: asyncio.StreamReader, server: ScriptedServer) -> None:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    server.requests.append((lines[0], headers, body))


async def _play(writer: asyncio.StreamWriter, server: ScriptedServer, answer: Scripted) -> None:
    """With a content-length of the script's own, the chunks leave as they are; else in chunked encoding."""
    framed = "content-length" not in answer.headers
    lines = [f"{name}: {value}\r\n" for name, value in answer.headers.items()]
    writer.write(f"HTTP/1.1 {answer.status} Scripted\r\n{''.join(lines)}".encode())
    writer.write(b"transfer-encoding: chunked\r\n\r\n" if framed else b"\r\n")
    for number, chunk in enumerate(answer.chunks):
        if number and server.pace:
            await server.pace.acquire()
        writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if framed else chunk)
        await writer.drain()
    if framed and answer.ending is Ending.COMPLETE:
        writer.write(b"0\r\n\r\n")
    await writer.drain()
