import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from farthing.catalog import Timeouts
from farthing.errors import UpstreamBroken, UpstreamTimeout
from gateway.upstreams.relay import RelayUpstream
from tests.unit.relay_client_setup import OK, Act, JumpingLoop, ask, deployment, raw_server, until

BEGUN = Act((b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"3\r\none\r\n"), "wait")
Run = Callable[[Callable[[JumpingLoop, RelayUpstream], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs an async function on a loop whose clock it may put forward."""

    def play(story: Callable[[JumpingLoop, RelayUpstream], Coroutine[Any, Any, None]]) -> None:
        async def told() -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, JumpingLoop)
            upstream = RelayUpstream()
            try:
                await story(loop, upstream)
            finally:
                await upstream.close()

        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            runner.run(told())

    return play


def test_a_connection_idle_for_a_minute_is_closed(run: Run) -> None:
    async def story(loop: JumpingLoop, upstream: RelayUpstream) -> None:
        async with raw_server(OK, OK) as server:
            await ask(upstream, deployment(server.base_url))
            loop.ahead += 40
            await ask(upstream, deployment(server.base_url))
            loop.ahead += 40
            await asyncio.sleep(0.001)
            assert server.closed == 0  # idle for 40 s since its second request

            loop.ahead += 21

            await until(lambda: server.closed == 1)

    run(story)


def test_a_kept_connection_lost_long_after_the_request_left_is_broken_and_not_stale(run: Run) -> None:
    async def story(loop: JumpingLoop, upstream: RelayUpstream) -> None:
        async with raw_server(OK, Act((), "wait"), OK) as server:
            target = deployment(server.base_url)
            await ask(upstream, target)
            asking = asyncio.ensure_future(ask(upstream, target))
            await until(lambda: len(server.requests) == 2)

            loop.ahead += 2
            server.writers[0].close()

            with pytest.raises(UpstreamBroken):
                await asking
            assert len(server.requests) == 2

    run(story)


LONG = Timeouts(connect=5, first_byte=100, idle=50, total=300)


@pytest.mark.parametrize(("act", "seconds", "setting"), [(Act((), "wait"), 101, "first_byte"), (BEGUN, 51, "idle")])
def test_silence_ends_in_the_timeout_that_is_set_for_it(run: Run, act: Act, seconds: float, setting: str) -> None:
    async def story(loop: JumpingLoop, upstream: RelayUpstream) -> None:
        async with raw_server(act) as server:
            asking = asyncio.ensure_future(ask(upstream, deployment(server.base_url, timeouts=LONG)))
            await until(lambda: server.requests)
            await asyncio.sleep(0.01)
            loop.ahead += seconds - 2
            await asyncio.sleep(0.001)
            assert not asking.done()

            loop.ahead += 2

            with pytest.raises(UpstreamTimeout, match=rf"timeouts\.{setting}"):
                await asking
            await until(lambda: server.closed)

    run(story)


def test_a_body_that_goes_on_arriving_is_not_idle_but_has_a_total_time(run: Run) -> None:
    async def story(loop: JumpingLoop, upstream: RelayUpstream) -> None:
        async with raw_server(BEGUN) as server:
            asking = asyncio.ensure_future(ask(upstream, deployment(server.base_url, timeouts=LONG)))
            await until(lambda: server.requests)
            for _ in range(7):
                await asyncio.sleep(0.002)
                assert not asking.done()
                loop.ahead += 40
                server.writers[0].write(b"1\r\nx\r\n")
            await asyncio.sleep(0.002)

            loop.ahead += 40

            with pytest.raises(UpstreamTimeout, match=r"timeouts\.total"):
                await asking

    run(story)


def test_a_receiver_that_takes_its_time_does_not_make_the_provider_idle(run: Run) -> None:
    async def story(loop: JumpingLoop, upstream: RelayUpstream) -> None:
        async with raw_server(BEGUN) as server:
            answer = await upstream.send(deployment(server.base_url, timeouts=LONG), "x", b"", stream=True)
            chunks = answer.chunks()
            assert await anext(chunks) == b"one"
            loop.ahead += 200
            await asyncio.sleep(0.001)
            server.writers[0].write(b"3\r\ntwo\r\n")

            assert await anext(chunks) == b"two"

            await answer.close()

    run(story)
