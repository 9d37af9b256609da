import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from farthing.catalog import Timeouts
from farthing.errors import UpstreamBroken, UpstreamUnreachable
from gateway.upstreams.relay import RelayUpstream
from tests.unit.relay_client_setup import DROP, OK, Act, ask, deployment, plain, raw_server, until

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
BEGUN = Act((CHUNKED, b"3\r\none\r\n"), "wait")


@pytest.fixture
async def upstream() -> AsyncIterator[RelayUpstream]:
    made = RelayUpstream()
    yield made
    await made.close()


# --- kept connections ----------------------------------------------------------------------------


async def test_requests_in_a_row_share_a_connection(upstream: RelayUpstream) -> None:
    async with raw_server(OK, OK, OK) as server:
        for _ in range(3):
            await ask(upstream, deployment(server.base_url))

    assert server.connections == 1


async def test_a_stream_read_to_its_end_leaves_its_connection_to_the_next(upstream: RelayUpstream) -> None:
    async with raw_server(Act((CHUNKED, b"3\r\none\r\n", b"0\r\n\r\n")), OK) as server:
        answer = await upstream.send(deployment(server.base_url), "x", b"", stream=True)
        assert [chunk async for chunk in answer.chunks()] == [b"one"]
        await answer.close()
        await ask(upstream, deployment(server.base_url))

    assert server.connections == 1


async def test_an_answer_is_whole_although_its_connection_serves_another_meanwhile(upstream: RelayUpstream) -> None:
    async with raw_server(plain(b"first"), plain(b"second")) as server:
        first = await upstream.send(deployment(server.base_url), "x", b"", stream=False)
        second = await upstream.send(deployment(server.base_url), "x", b"", stream=False)

        assert [await second.read(), await first.read()] == [b"second", b"first"]
        await first.close()
        await second.close()

    assert server.connections == 1


async def test_the_connections_survive_a_new_configuration_of_the_provider(upstream: RelayUpstream) -> None:
    async with raw_server(OK, OK) as server:
        for key in ("old", "new"):
            await ask(upstream, deployment(server.base_url, api_key=key))

    assert [b"Bearer old" in server.requests[0], b"Bearer new" in server.requests[1]] == [True, True]
    assert server.connections == 1


async def test_two_providers_share_no_connection(upstream: RelayUpstream) -> None:
    async with raw_server(OK, OK) as server:
        for name in ("a", "b"):
            await ask(upstream, deployment(server.base_url, name=name))

    assert server.connections == 2


# --- the race with a provider that closes a kept connection ----------------------------------------


async def test_a_request_on_a_connection_that_was_closed_meanwhile_is_sent_again_on_a_new_one(
    upstream: RelayUpstream,
) -> None:
    async with raw_server(OK, DROP, plain(b"[]")) as server:
        await ask(upstream, deployment(server.base_url))

        assert await ask(upstream, deployment(server.base_url)) == b"[]"

    assert server.connections == 2
    assert server.requests[1] == server.requests[2]


async def test_a_request_is_sent_again_only_once(upstream: RelayUpstream) -> None:
    async with raw_server(OK, DROP, DROP, OK) as server:
        await ask(upstream, deployment(server.base_url))
        with pytest.raises(UpstreamBroken, match="'acme' broke off"):
            await ask(upstream, deployment(server.base_url))

    assert len(server.requests) == 3


async def test_a_request_on_a_new_connection_is_never_sent_again(upstream: RelayUpstream) -> None:
    async with raw_server(DROP, OK) as server:
        with pytest.raises(UpstreamBroken, match="'acme' broke off"):
            await ask(upstream, deployment(server.base_url))

    assert len(server.requests) == 1


async def test_a_request_of_which_an_answer_began_is_never_sent_again(upstream: RelayUpstream) -> None:
    async with raw_server(OK, Act((b"H",), "close"), OK) as server:
        await ask(upstream, deployment(server.base_url))
        with pytest.raises(UpstreamBroken, match="'acme' broke off"):
            await ask(upstream, deployment(server.base_url))

    assert len(server.requests) == 2


async def test_a_request_is_sent_again_on_a_new_connection_though_others_are_kept() -> None:
    upstream = RelayUpstream(max_connections=2)

    async with raw_server(OK, OK, DROP, plain(b"[]")) as server:
        target = deployment(server.base_url)
        await asyncio.gather(ask(upstream, target), ask(upstream, target))
        assert server.connections == 2

        assert await ask(upstream, target) == b"[]"

    assert server.connections == 3
    await upstream.close()


# --- how many, and in which order ------------------------------------------------------------------


async def test_no_more_connections_are_opened_than_allowed_and_waiting_has_an_end() -> None:
    upstream = RelayUpstream(max_connections=1)

    async with raw_server(BEGUN, OK) as server:
        target = deployment(server.base_url, timeouts=Timeouts(connect=0.03))
        first = await upstream.send(target, "x", b"", stream=True)
        with pytest.raises(UpstreamUnreachable, match=r"upstream\.max_connections"):
            await ask(upstream, target)
        await first.close()
        assert await ask(upstream, target) == b"{}"

    assert len(server.requests) == 2
    await upstream.close()


async def test_who_waits_for_a_connection_gets_one_in_turn() -> None:
    upstream = RelayUpstream(max_connections=1)
    order = []

    async with raw_server(*[OK] * 20) as server:

        async def visit(number: int) -> None:
            await ask(upstream, deployment(server.base_url))
            order.append(number)

        await asyncio.gather(*map(visit, range(20)))

    assert server.connections == 1
    assert order == list(range(20))
    await upstream.close()


async def test_one_who_no_longer_waits_takes_nothing_from_the_others() -> None:
    upstream = RelayUpstream(max_connections=1)

    async with raw_server(BEGUN, OK) as server:
        target = deployment(server.base_url)
        first = await upstream.send(target, "x", b"", stream=True)
        waiting = [asyncio.ensure_future(ask(upstream, target)) for _ in range(2)]
        await asyncio.sleep(0.001)

        await first.close()
        waiting[0].cancel()

        assert await waiting[1] == b"{}"
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
    await upstream.close()


async def test_one_who_leaves_just_after_he_was_given_a_connection_passes_it_on() -> None:
    upstream = RelayUpstream(max_connections=1)

    async with raw_server(OK, OK) as server:
        target = deployment(server.base_url)

        async def go_first() -> bytes:
            body = await ask(upstream, target)
            second.cancel()  # its turn has come with this answer, but it has not run since
            return body

        first = asyncio.ensure_future(go_first())
        second, third = (asyncio.ensure_future(ask(upstream, target)) for _ in range(2))

        assert [await first, await third] == [b"{}", b"{}"]
        with pytest.raises(asyncio.CancelledError):
            await second

    assert server.connections == 1
    await upstream.close()


async def test_a_failed_connection_frees_its_place() -> None:
    upstream = RelayUpstream(max_connections=1)

    async with raw_server(OK) as server:
        for _ in range(2):
            with pytest.raises(UpstreamUnreachable, match="Connection refused"):
                await ask(upstream, deployment("http://127.0.0.1:1"))

        assert await ask(upstream, deployment(server.base_url)) == b"{}"
    await upstream.close()


# --- leaving ---------------------------------------------------------------------------------------


async def test_cancelling_a_request_closes_its_connection_at_once(upstream: RelayUpstream) -> None:
    async with raw_server(Act((), "wait")) as server:
        sending = asyncio.ensure_future(upstream.send(deployment(server.base_url), "x", b"", stream=False))
        await until(lambda: server.requests)

        sending.cancel()

        await until(lambda: server.closed)
        with pytest.raises(asyncio.CancelledError):
            await sending


async def test_closing_a_stream_closes_its_connection_at_once(upstream: RelayUpstream) -> None:
    async with raw_server(BEGUN) as server:
        answer = await upstream.send(deployment(server.base_url), "x", b"", stream=True)
        await anext(answer.chunks())

        await answer.close()

        await until(lambda: server.closed)


async def test_cancelling_the_reader_of_a_stream_and_closing_it_closes_its_connection(upstream: RelayUpstream) -> None:
    async with raw_server(BEGUN) as server:
        answer = await upstream.send(deployment(server.base_url), "x", b"", stream=True)
        reading = asyncio.ensure_future(answer.read())
        await asyncio.sleep(0.001)

        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await answer.close()

        await until(lambda: server.closed)


async def test_closing_a_finished_answer_closes_nothing(upstream: RelayUpstream) -> None:
    async with raw_server(OK, OK) as server:
        answer = await upstream.send(deployment(server.base_url), "x", b"", stream=False)
        await answer.read()
        await answer.close()
        await answer.close()
        await ask(upstream, deployment(server.base_url))

    assert server.connections == 1


async def test_a_slow_receiver_makes_the_provider_wait_and_loses_nothing(upstream: RelayUpstream) -> None:
    size = 30_000_000  # more than both sockets and our queue will hold
    act = Act((b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size, *[b"x" * 1_000_000] * 30))

    async with raw_server(act, OK) as server:
        answer = await upstream.send(deployment(server.base_url), "x", b"", stream=True)
        chunks = answer.chunks()
        largest = total = len(await anext(chunks))
        for _ in range(200):
            await asyncio.sleep(0)  # time in which everything would come, were it let in
        async for chunk in chunks:
            largest, total = max(largest, len(chunk)), total + len(chunk)
        assert await ask(upstream, deployment(server.base_url)) == b"{}"

    assert total == size
    assert largest <= 2 * 256 * 1024
    assert server.connections == 1


# --- the end of the gateway ------------------------------------------------------------------------


async def test_closing_fails_what_is_under_way_and_waits_for_every_connection() -> None:
    upstream = RelayUpstream(max_connections=2)

    async with raw_server(BEGUN, Act((), "wait")) as server:
        target = deployment(server.base_url)
        answer = await upstream.send(target, "x", b"", stream=True)
        asking = asyncio.ensure_future(ask(upstream, target))
        waiting = asyncio.ensure_future(ask(upstream, target))
        await until(lambda: len(server.requests) == 2)

        await upstream.close()

        with pytest.raises(UpstreamBroken, match="shutting down"):
            await asking
        with pytest.raises(UpstreamUnreachable, match="shutting down"):
            await waiting
        assert await anext(answer.chunks()) == b"one"
        with pytest.raises(UpstreamBroken, match="shutting down"):
            await anext(answer.chunks())
        await until(lambda: server.closed == 2)


async def test_closing_does_not_wait_for_a_connection_that_is_still_being_made() -> None:
    upstream = RelayUpstream()
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        target = deployment(f"https://127.0.0.1:{deaf.getsockname()[1]}")  # no TLS will ever come back
        asking = asyncio.ensure_future(ask(upstream, target))
        await asyncio.sleep(0.01)

        async with asyncio.timeout(1):
            await upstream.close()

        with pytest.raises(UpstreamUnreachable, match="shutting down"):
            await asking


async def test_a_closed_upstream_sends_nothing(upstream: RelayUpstream) -> None:
    async with raw_server(OK) as server:
        await upstream.close()
        with pytest.raises(UpstreamUnreachable, match="shutting down"):
            await ask(upstream, deployment(server.base_url))

    assert server.requests == []


# --- addresses -------------------------------------------------------------------------------------


class TwoAddresses(asyncio.SelectorEventLoop):
    """Every host has an address at which nobody listens before the one of the server."""

    asked = 0

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        self.asked += 1
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, ("127.0.0.2", port)), (*kind, ("127.0.0.1", port))]


def test_a_host_is_reached_at_its_second_address_where_the_first_is_dead() -> None:
    async def story() -> None:
        upstream = RelayUpstream()
        async with raw_server(OK) as server:
            assert await ask(upstream, deployment(server.base_url)) == b"{}"
        await upstream.close()

    with asyncio.Runner(loop_factory=TwoAddresses) as runner:
        runner.run(story())


async def test_a_host_without_an_address_is_unreachable_and_the_message_says_so(upstream: RelayUpstream) -> None:
    with pytest.raises(UpstreamUnreachable, match=r"No connection to provider 'acme' \(\w.+\): check its `base_url`"):
        await ask(upstream, deployment("http://nowhere.invalid"))


async def test_no_failure_tells_a_key_or_a_url(upstream: RelayUpstream) -> None:
    with pytest.raises(UpstreamUnreachable) as caught:
        await ask(upstream, deployment("http://127.0.0.1:1/secret-path", api_key="secret-key"))

    assert "secret" not in caught.value.message
    assert "127.0.0.1" not in caught.value.message
    assert caught.value.__suppress_context__
