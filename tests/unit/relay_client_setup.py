"""Set-up of the relay client's tests: a server that sends what it is told byte by byte, a loop whose clock jumps."""

import asyncio
import shutil
import ssl
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from farthing.catalog import Deployment, Provider, Timeouts
from gateway.upstreams.relay import RelayUpstream


class Act(NamedTuple):
    """What the server does with one request: send the pieces, then keep the connection, hang up or wait."""

    pieces: tuple[bytes, ...] = ()
    then: str = "keep"  # or "close", or "wait" for the client to leave


def plain(body: bytes, more: str = "", then: str = "keep") -> Act:
    """A 200 of known length; `more` are further header lines, each with its line end."""
    return Act((b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (more.encode(), len(body), body),), then)


OK = plain(b"{}")
DROP = Act(then="close")


@dataclass(slots=True)
class RawServer:
    """A running server; `requests` as they arrived, `closed` how many connections have ended by either side."""

    base_url: str = ""
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    closed: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)


@asynccontextmanager
async def raw_server(*acts: Act, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """Play one act a request, on whichever connection it comes."""
    server, script = RawServer(), deque(acts)
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        server.writers.append(writer)
        if task := asyncio.current_task():
            talks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await _play(reader, writer, server, script):
                pass
        server.closed += 1
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    listener = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    server.base_url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        for _ in range(3):
            await asyncio.sleep(0)  # the transports close in the loop's next turns


async def _play(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: RawServer, script: deque[Act]
) -> bool:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    server.requests.append(head + await reader.readexactly(length))
    act = script.popleft()
    for piece in act.pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    if act.then == "wait":
        await reader.read(1)
    return act.then == "keep"


def deployment(base_url: str, **fields: Any) -> Deployment:
    timeouts = Timeouts(connect=5, first_byte=5, idle=5, total=5)
    provider = Provider(name="acme", adapter="openai", base_url=base_url, timeouts=timeouts)
    return Deployment(name="m", provider=replace(provider, **fields), model="m")


async def ask(upstream: RelayUpstream, target: Deployment, operation: str = "chat/completions") -> bytes:
    answer = await upstream.send(target, operation, b'{"a":1}', stream=False)
    try:
        return await answer.read()
    finally:
        await answer.close()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what it looks at is not ours to signal
            await asyncio.sleep(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock can be put forward: what was due by then happens at once."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def make_certificates(folder: Path, names: str) -> bool:
    """Write a CA (ca.pem) and a certificate of its making (server.pem, server.key); False without openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        return False
    request = [openssl, "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    ca = ["-subj", "/CN=test", "-keyout", "ca.key", "-out", "ca.pem"]
    leaf = ["-subj", "/CN=leaf", "-keyout", "server.key", "-out", "server.pem", "-CA", "ca.pem", "-CAkey", "ca.key"]
    more = ["-addext", f"subjectAltName={names}", "-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run([*request, *ca], cwd=folder, check=True, capture_output=True)
    subprocess.run([*request, *leaf, *more], cwd=folder, check=True, capture_output=True)
    return True


def server_side(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context
