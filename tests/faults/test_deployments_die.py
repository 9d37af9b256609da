"""Deployments that die, hang and return under a running gateway: what callers notice, and what the gateway shows."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from bench.mock_upstream import MockSettings, running_mock
from tests.gateway import RunningGateway, running_gateway, until

SETTINGS = MockSettings(chunks=5, duration_ms=0, recording=True)
PORT_TAKEN = "another process took the port in between"


def two_at(address: str, *, tier: str = "", health: str = "", cooldown: str = "100ms") -> list[tuple[str, str]]:
    """Changes of the tree: the small tier has the mock and another server, at this address."""
    return [
        ("upstream: {cooldown: 1s}", f"upstream: {{cooldown: {cooldown}}}"),
        ("  dead:\n", f"  other: {{kind: vllm, base_url: '{address}', price_provider: mock{health}}}\n  dead:\n"),
        (
            "deployments: [{provider: mock, model: small-model, context_window: 8000}]",
            f"{tier}deployments: [{{provider: mock, model: small-model}}, {{provider: other, model: small-model}}]",
        ),
    ]


@asynccontextmanager
async def with_another(
    directory: Path, *, tier: str = "", health: str = "", cooldown: str = "100ms"
) -> AsyncIterator[tuple[RunningGateway, "Server"]]:
    """A gateway with two servers behind its small tier, of which the second can be stopped."""
    server = Server()
    await server.start()
    try:
        changes = two_at(server.address, tier=tier, health=health, cooldown=cooldown)
        async with running_gateway(directory, changes=changes) as gateway:
            yield gateway, server
    finally:
        await server.stop()


class Server:
    """A mock that is started and stopped, always on one port."""

    def __init__(self) -> None:
        self.port = 0
        self.address = ""
        self._running: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    async def start(self) -> None:
        """Serve until `stop`."""
        self._stop, ready = asyncio.Event(), asyncio.Event()
        self._running = asyncio.ensure_future(self._serve(ready, self._stop))
        await asyncio.wait((asyncio.ensure_future(ready.wait()), self._running), return_when="FIRST_COMPLETED")
        assert ready.is_set(), PORT_TAKEN

    async def stop(self) -> None:
        """Cut every connection, and listen no more."""
        self._stop.set()
        if self._running is not None:
            await self._running
            self._running = None

    async def _serve(self, ready: asyncio.Event, stop: asyncio.Event) -> None:
        async with running_mock(SETTINGS, self.port) as mock:
            self.address = mock.base_url
            self.port = int(self.address.rsplit(":", 1)[1].partition("/")[0])
            ready.set()
            await stop.wait()


async def ask_many(gateway: RunningGateway, count: int, at_once: int = 8, **body: object) -> Sequence[httpx.Response]:
    """So many calls to the small tier, so many at a time."""
    room = asyncio.Semaphore(at_once)

    async def one(number: int) -> httpx.Response:
        async with room:
            return await gateway.chat(f"question {number} of {id(body)}", model="tier/small", **body)

    return await asyncio.gather(*map(one, range(count)))


def servers(gateway: RunningGateway, answers: Sequence[httpx.Response]) -> Counter[str]:
    """How many of these answers each server gave."""
    return Counter(gateway.record_of(answer).provider for answer in answers)


async def test_a_server_that_dies_under_load_costs_the_answers_it_had_begun_and_is_asked_again_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with with_another(tmp_path) as (gateway, server):
        before = await ask_many(gateway, 40)
        load = asyncio.ensure_future(ask_many(gateway, 200))
        await until(lambda: gateway.application.house.runtime.books.open_pages > 0)
        await server.stop()
        under_load = await load
        dead = await ask_many(gateway, 40)
        state = await gateway.metric("farthing_deployment_state", deployment="other/small-model")
        await server.start()
        answered: Counter[str] = Counter()
        async with asyncio.timeout(10):
            while not answered["other"]:
                answered += servers(gateway, await ask_many(gateway, 8))
        after = await ask_many(gateway, 40)

        assert {answer.status_code for answer in (*before, *dead, *after)} == {200}
        # What had been sent may have been billed, so it is not tried elsewhere: eight calls at most were under way.
        assert Counter(answer.status_code for answer in under_load)[200] >= 192
        assert {answer.status_code for answer in under_load} <= {200, 502}
        assert servers(gateway, before) == {"mock": 20, "other": 20}
        assert servers(gateway, dead) == {"mock": 40}
        assert servers(gateway, after) == {"mock": 20, "other": 20}
        assert state in (1, 2)
        assert await gateway.metric("farthing_deployment_state", deployment="other/small-model") == 0
        assert await gateway.metric("farthing_deployment_failovers_total") >= 1
        assert await gateway.metric("farthing_deployment_outstanding") == 0
        assert gateway.holds() == 0


async def test_streams_that_are_cut_by_a_dying_server_end_in_an_error_and_leave_nothing_under_way(
    tmp_path: Path,
) -> None:
    async with with_another(tmp_path, tier="balance: least_outstanding\n    ") as (gateway, server):
        answers = asyncio.ensure_future(ask_many(gateway, 60, stream=True))
        await asyncio.sleep(0.02)
        await server.stop()
        streams = await answers

        cut = [answer for answer in streams if b"[DONE]" not in answer.content]
        assert all(b'"error"' in answer.content for answer in cut)
        await until(lambda: not gateway.application.house.runtime.books.open_pages)
        assert await gateway.metric("farthing_deployment_outstanding") == 0
        assert gateway.holds() == 0
        assert len(gateway.records()) == 60


async def test_a_server_that_hangs_gets_no_more_calls_than_it_holds_up(tmp_path: Path) -> None:
    changes = [
        ("timeouts: {connect: 1s, first_byte: 2s, idle: 2s, total: 5s}", "timeouts: {first_byte: 1s}"),
        (
            "deployments: [{provider: mock, model: small-model, context_window: 8000}]",
            "balance: least_outstanding\n    "
            "deployments: [{provider: mock, model: small-model}, {provider: mock, model: mock-hang, name: hanging}]",
        ),
    ]
    async with running_gateway(tmp_path, changes=changes) as gateway:
        first = asyncio.ensure_future(ask_many(gateway, 8, at_once=8))
        await until(lambda: len(gateway.application.house.runtime.forwarder.balancer.lines) == 2)
        await asyncio.sleep(0.05)
        during = await ask_many(gateway, 40, at_once=2)  # four hang there: the two others always have fewer
        hung = [answer.status_code for answer in await first]

        assert {answer.status_code for answer in during} == {200}
        assert Counter(hung) == {200: 4, 504: 4}
        assert await gateway.metric("farthing_deployment_outstanding") == 0
        assert gateway.holds() == 0


async def test_a_check_of_health_finds_a_dead_server_before_a_call_does(tmp_path: Path) -> None:
    async with with_another(tmp_path, health=", health: {every: 1s}", cooldown="1h") as (gateway, server):
        house = gateway.application.house
        breaker = house.runtime.forwarder.balancer.lines["other/small-model"].breaker
        await server.stop()
        await until(lambda: not breaker.is_closed)
        dead = await ask_many(gateway, 10)
        await server.start()
        await until(lambda: breaker.is_closed)
        after = await ask_many(gateway, 10)

        assert servers(gateway, dead) == {"mock": 10}
        assert servers(gateway, after) == {"mock": 5, "other": 5}
        assert {len(gateway.record_of(answer).attempts) for answer in (*dead, *after)} == {1}
