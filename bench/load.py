"""A bounded load generator: keep-alive connections that ask one after another and time every answer."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools
import orjson

GRACE_S = 10.0  # how long answers under way may still take once the time is up
MAX_FAILURES = 1000  # then a run ends: a broken target needs no more evidence
PADDING = "The quick brown fox jumps over the lazy dog while the farmer counts every farthing twice. " * 5


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go; `base_url` ends in /v1 and must be plain http."""

    base_url: str
    model: str = "bench-model"
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.base_url)
        return parts.hostname or "127.0.0.1", parts.port or 80


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of request; `unique` prompts can never be answered from a cache."""

    name: str
    unique: bool = False
    stream: bool = False


PASS_THROUGH = Scenario("pass-through", unique=True)
EXACT_HIT = Scenario("exact-hit")
STREAM = Scenario("stream", unique=True, stream=True)


def build_request(target: Target, scenario: Scenario, salt: str) -> Callable[[int], bytes]:
    """Return a function from a request's number to its bytes, the body about 550 bytes long.

    `salt` marks the run: unique prompts of two runs differ, so a cache filled by one cannot help the other.
    """
    prompt = f"Question <<{salt}>>: {PADDING}"[:440]
    body = {"model": target.model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 200}
    if scenario.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    encoded = orjson.dumps(body)
    before, after = encoded.split(f"<<{salt}>>".encode())
    host, port = target.address
    length = len(before) + len(salt) + 12 + len(after)
    lines = [
        f"POST {urlsplit(target.base_url).path}/chat/completions HTTP/1.1",
        f"host: {host}:{port}",
        "content-type: application/json",
        f"content-length: {length}",
        *(f"{name}: {value}" for name, value in target.headers),
    ]
    start = "\r\n".join(lines).encode() + b"\r\n\r\n" + before + salt.encode()
    if scenario.unique:
        return lambda number: b"%b %011d%b" % (start, number, after)
    same = b"%b %011d%b" % (start, 0, after)
    return lambda number: same


@dataclass(slots=True)
class Tally:
    """What a run has seen so far; latencies in seconds, from the request's write to its last byte."""

    latencies: list[float] = field(default_factory=list)
    first_bytes: list[float] = field(default_factory=list)  # to the first byte of the body
    errors: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    asked: int = 0


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Figures of one run; `requests` counts good answers, `errors` all others."""

    scenario: str
    requests: int
    errors: int
    seconds: float
    p50_ms: float
    p99_ms: float
    first_byte_p50_ms: float
    statuses: dict[int, int]

    @property
    def rps(self) -> float:
        return self.requests / self.seconds


def percentile(values: list[float], share: float) -> float:
    """The nearest-rank percentile of values in any order; 0 when there are none."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


class _Run:
    """The shared state of one run's connections: the next request, the tally and when to stop."""

    def __init__(self, request: Callable[[int], bytes], stream: bool, seconds: float, most: int) -> None:
        self.request, self.stream, self.most = request, stream, most
        self.tally = Tally()
        self.started = time.perf_counter()
        self.deadline = self.started + seconds
        self.ended = self.started

    @property
    def over(self) -> bool:
        tally = self.tally
        spent = tally.asked >= self.most or tally.errors >= MAX_FAILURES
        return spent or time.perf_counter() >= self.deadline

    def next_request(self) -> bytes:
        self.tally.asked += 1
        return self.request(self.tally.asked)

    def count(self, status: int, began: float, first: float, whole: bool) -> None:
        """Count one finished answer; a stream without its [DONE] is an error."""
        self.ended = time.perf_counter()
        tally = self.tally
        tally.statuses[status] = tally.statuses.get(status, 0) + 1
        if status != 200 or not whole:
            tally.errors += 1
            return
        tally.latencies.append(self.ended - began)
        tally.first_bytes.append(first - began)


class _Connection(asyncio.Protocol):
    """One connection asking one request at a time until the run is over or the connection is lost."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._parser = httptools.HttpResponseParser(self)
        self._busy = False
        self._began = self._first = 0.0
        self._tail = b""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._busy:
            self._run.tally.errors += 1
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        if not self._first:
            self._first = time.perf_counter()
        if self._run.stream:
            self._tail = (self._tail + body)[-14:]

    def on_message_complete(self) -> None:
        whole = not self._run.stream or self._tail == b"data: [DONE]\n\n"
        self._run.count(self._parser.get_status_code(), self._began, self._first, whole)
        self._busy = False
        if self._parser.should_keep_alive():
            self._ask()
        else:
            self.transport.close()

    def _ask(self) -> None:
        if self._run.over:
            self.transport.close()
            return
        self._busy, self._first, self._tail = True, 0.0, b""
        request = self._run.next_request()
        self._began = time.perf_counter()
        self.transport.write(request)


async def _keep_asking(run: _Run, address: tuple[str, int]) -> None:
    """Hold one connection open until the run is over, opening it anew when the target closes it."""
    loop = asyncio.get_running_loop()
    while not run.over:
        try:
            transport, connection = await loop.create_connection(lambda: _Connection(run), *address)
        except OSError:
            run.tally.errors += 1
            await asyncio.sleep(0.02)
            continue
        try:
            await connection.closed
        finally:
            transport.abort()


async def run_load(
    target: Target,
    scenario: Scenario,
    *,
    salt: str,
    connections: int = 64,
    seconds: float = 8,
    most_requests: int = 10_000_000,
) -> LoadResult:
    """Ask until `seconds` have passed or `most_requests` were sent, then wait for the answers under way.

    Answers still missing after `GRACE_S` more seconds are counted as errors. `salt` as in `build_request`.
    """
    run = _Run(build_request(target, scenario, salt), scenario.stream, seconds, most_requests)
    try:
        async with asyncio.timeout(seconds + GRACE_S):
            await asyncio.gather(*(_keep_asking(run, target.address) for _ in range(connections)))
    except TimeoutError:
        await asyncio.sleep(0)  # lets connection_lost count what was cut off
    tally = run.tally
    return LoadResult(
        scenario=scenario.name,
        requests=len(tally.latencies),
        errors=tally.errors,
        seconds=max(1e-9, run.ended - run.started),
        p50_ms=percentile(tally.latencies, 0.50) * 1000,
        p99_ms=percentile(tally.latencies, 0.99) * 1000,
        first_byte_p50_ms=percentile(tally.first_bytes, 0.50) * 1000,
        statuses=tally.statuses,
    )
