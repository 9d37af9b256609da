"""The gateway runs on uvloop, whose transports are not asyncio's: what depends on them, once more on that loop."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from farthing.catalog import Timeouts
from farthing.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from gateway.upstreams.relay import RelayUpstream
from tests.unit.relay_client_setup import (
    DROP,
    OK,
    Act,
    ask,
    deployment,
    make_certificates,
    plain,
    raw_server,
    server_side,
    until,
)

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
BEGUN = Act((CHUNKED, b"3\r\none\r\n"), "wait")
Story = Callable[[RelayUpstream], Coroutine[Any, Any, None]]


@pytest.fixture
def run() -> Iterator[Callable[..., None]]:
    """Runs an async function on uvloop."""

    def play(story: Story, **settings: Any) -> None:
        async def told() -> None:
            upstream = RelayUpstream(**settings)
            try:
                await story(upstream)
            finally:
                await upstream.close()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(told())

    return play


def test_plain_answers_streams_and_bodies_until_the_end_share_what_they_can(run: Callable[..., None]) -> None:
    async def story(upstream: RelayUpstream) -> None:
        stream = Act((CHUNKED, b"3\r\none\r\n", b"3\r\ntwo\r\n0\r\n\r\n"))
        until_close = Act((b"HTTP/1.1 200 OK\r\n\r\n", b"all"), "close")
        async with raw_server(plain(b"x" * 1_000_000), stream, until_close, OK) as server:
            target = deployment(server.base_url)
            bodies = [await ask(upstream, target) for _ in range(4)]

            assert bodies == [b"x" * 1_000_000, b"onetwo", b"all", b"{}"]
            assert server.connections == 2

    run(story)


def test_a_request_on_a_connection_that_was_closed_meanwhile_is_sent_again(run: Callable[..., None]) -> None:
    async def story(upstream: RelayUpstream) -> None:
        async with raw_server(OK, DROP, OK, DROP, DROP) as server:
            target = deployment(server.base_url)
            assert [await ask(upstream, target) for _ in range(2)] == [b"{}", b"{}"]
            with pytest.raises(UpstreamBroken, match="it closed the connection"):
                await ask(upstream, target)

    run(story)


def test_leaving_closes_the_connection_at_once(run: Callable[..., None]) -> None:
    async def story(upstream: RelayUpstream) -> None:
        async with raw_server(BEGUN, Act((), "wait")) as server:
            target = deployment(server.base_url)
            answer = await upstream.send(target, "x", b"", stream=True)
            await answer.close()
            await until(lambda: server.closed == 1)
            asking = asyncio.ensure_future(ask(upstream, target))
            await until(lambda: len(server.requests) == 2)
            asking.cancel()
            await until(lambda: server.closed == 2)

    run(story)


def test_a_slow_receiver_makes_the_provider_wait(run: Callable[..., None]) -> None:
    async def story(upstream: RelayUpstream) -> None:
        act = Act((b"HTTP/1.1 200 OK\r\ncontent-length: 20000000\r\n\r\n", *[b"x" * 1_000_000] * 20))
        async with raw_server(act) as server:
            answer = await upstream.send(deployment(server.base_url), "x", b"", stream=True)
            for _ in range(100):
                await asyncio.sleep(0)
            sizes = [len(chunk) async for chunk in answer.chunks()]

            assert sum(sizes) == 20_000_000
            assert max(sizes) <= 2 * 256 * 1024

    run(story)


def test_timeouts_refusals_and_the_end_are_told_alike(run: Callable[..., None]) -> None:
    async def story(upstream: RelayUpstream) -> None:
        async with raw_server(Act((), "wait"), BEGUN) as server:
            short = deployment(server.base_url, timeouts=Timeouts(first_byte=0.02))
            with pytest.raises(UpstreamTimeout, match=r"timeouts\.first_byte"):
                await ask(upstream, short)
            with pytest.raises(UpstreamUnreachable, match="Connection refused"):
                await ask(upstream, deployment("http://127.0.0.1:1"))
            asking = asyncio.ensure_future(ask(upstream, deployment(server.base_url)))
            await until(lambda: len(server.requests) == 2)
            await upstream.close()
            with pytest.raises(UpstreamBroken, match="shutting down"):
                await asking

    run(story)


def test_tls_is_verified_and_kept_alive(run: Callable[..., None], tmp_path: Path) -> None:
    if not make_certificates(tmp_path, "IP:127.0.0.1"):
        pytest.skip("openssl is not installed")

    async def story(upstream: RelayUpstream) -> None:
        async with raw_server(OK, plain(b"x" * 300_000), DROP, OK, tls=server_side(tmp_path)) as server:
            target = deployment(server.base_url)
            assert [len(await ask(upstream, target)) for _ in range(3)] == [2, 300_000, 2]
            with pytest.raises(UpstreamUnreachable, match="certificate"):
                await ask(upstream, deployment(server.base_url.replace("127.0.0.1", "localhost"), name="other"))

    run(story, ca_file=tmp_path / "ca.pem")
