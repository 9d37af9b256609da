"""What every adapter of the port Upstream guarantees, played by one script on each."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest

from farthing.catalog import Deployment, Provider, Timeouts
from farthing.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from farthing.ports import Upstream
from gateway.upstreams.pyreqwest import PyreqwestUpstream
from gateway.upstreams.relay import RelayUpstream
from gateway.upstreams.testing import Ending, Scripted, ScriptedUpstream, scripted_server

LONG = Timeouts(connect=5, first_byte=5, idle=5, total=5)
SHORT = Timeouts(connect=5, first_byte=0.05, idle=0.05, total=5)


@dataclass
class Wire:
    upstream: Upstream
    base_url: str

    async def send(self, *, stream: bool = False, timeouts: Timeouts = LONG):  # type: ignore[no-untyped-def]
        provider = Provider(name="p", adapter="openai", base_url=self.base_url, timeouts=timeouts)
        deployment = Deployment(name="m", provider=provider, model="m")
        return await self.upstream.send(deployment, "chat/completions", b"{}", stream=stream)


Playing = Callable[..., AbstractAsyncContextManager[Wire]]


@asynccontextmanager
async def pyreqwest_playing(*script: Scripted) -> AsyncIterator[Wire]:
    async with scripted_server(*script) as server:
        upstream = PyreqwestUpstream()
        try:
            yield Wire(upstream, server.base_url)
        finally:
            await upstream.close()


@asynccontextmanager
async def relay_playing(*script: Scripted) -> AsyncIterator[Wire]:
    async with scripted_server(*script) as server:
        upstream = RelayUpstream()
        try:
            yield Wire(upstream, server.base_url)
        finally:
            await upstream.close()


@asynccontextmanager
async def scripted_playing(*script: Scripted) -> AsyncIterator[Wire]:
    upstream = ScriptedUpstream(*script)
    yield Wire(upstream, "http://unused")
    await upstream.close()


@pytest.fixture(params=[relay_playing, pyreqwest_playing, scripted_playing], ids=["relay", "pyreqwest", "scripted"])
def playing(request: pytest.FixtureRequest) -> Playing:
    return request.param


@pytest.mark.parametrize("stream", [False, True])
async def test_a_plain_body_is_read_whole(playing: Playing, stream: bool) -> None:
    async with playing(Scripted(chunks=(b'{"id":', b"1}"))) as wire:
        answer = await wire.send(stream=stream)

        assert (answer.status, await answer.read()) == (200, b'{"id":1}')
        await answer.close()


async def test_a_body_of_stated_length_is_read_whole(playing: Playing) -> None:
    async with playing(Scripted(chunks=(b"12345",), headers={"content-length": "5"})) as wire:
        answer = await wire.send()

        assert await answer.read() == b"12345"
        await answer.close()


async def test_a_large_body_arrives_unchanged(playing: Playing) -> None:
    parts = tuple(bytes([number]) * 100_000 for number in range(5))

    async with playing(Scripted(chunks=parts)) as wire:
        answer = await wire.send()

        assert await answer.read() == b"".join(parts)
        await answer.close()


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_an_error_status_is_an_answer_with_its_headers(playing: Playing, status: int) -> None:
    script = Scripted(status=status, headers={"retry-after": "7", "x-request-id": "r"}, chunks=(b"{}",))

    async with playing(script) as wire:
        answer = await wire.send()

        assert answer.status == status
        assert answer.headers["retry-after"] == "7"
        assert answer.headers.get("x-request-id") == "r"
        assert answer.headers.get("x-missing") is None
        assert await answer.read() == b"{}"
        await answer.close()


async def test_the_chunks_of_a_stream_are_its_body(playing: Playing) -> None:
    async with playing(Scripted(chunks=(b"data: 1\n\n", b"data: 2\n\n"))) as wire:
        answer = await wire.send(stream=True)

        assert b"".join([chunk async for chunk in answer.chunks()]) == b"data: 1\n\ndata: 2\n\n"
        await answer.close()


async def test_a_stream_that_is_cut_gives_its_chunks_and_then_breaks(playing: Playing) -> None:
    got = []

    async with playing(Scripted(chunks=(b"data: 1\n\n",), ending=Ending.CUT)) as wire:
        answer = await wire.send(stream=True)
        with pytest.raises(UpstreamBroken, match="'p'"):
            async for chunk in answer.chunks():
                got.append(chunk)  # noqa: PERF401 - what came before the break must be seen
        await answer.close()

    assert got == [b"data: 1\n\n"]


async def test_a_plain_body_that_is_cut_is_broken(playing: Playing) -> None:
    async with playing(Scripted(chunks=(b"{",), ending=Ending.CUT)) as wire:
        with pytest.raises(UpstreamBroken):
            await (await wire.send()).read()


async def test_a_stream_that_falls_silent_runs_into_the_idle_timeout(playing: Playing) -> None:
    async with playing(Scripted(chunks=(b"data: 1\n\n",), ending=Ending.STALL)) as wire:
        answer = await wire.send(stream=True, timeouts=SHORT)
        with pytest.raises(UpstreamTimeout, match=r"timeouts\.idle"):
            async for _ in answer.chunks():
                pass
        await answer.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_no_answer_runs_into_the_first_byte_timeout(playing: Playing, stream: bool) -> None:
    async with playing(Scripted(ending=Ending.SILENT)) as wire:
        with pytest.raises(UpstreamTimeout, match=r"'p' .* 0\.05 s .*timeouts\.first_byte"):
            await wire.send(stream=stream, timeouts=SHORT)


async def test_a_closed_port_is_unreachable(playing: Playing) -> None:
    async with playing(Scripted(ending=Ending.REFUSED)) as wire:
        with pytest.raises(UpstreamUnreachable, match="'p'"):
            await wire.send()


async def test_a_provider_that_hangs_up_on_the_request_is_broken_and_not_unreachable(playing: Playing) -> None:
    async with playing(Scripted(ending=Ending.UNANSWERED)) as wire:
        with pytest.raises(UpstreamBroken, match="'p'"):
            await wire.send()


async def test_an_answer_may_be_closed_twice_and_unread(playing: Playing) -> None:
    async with playing(Scripted(chunks=(b"data: 1\n\n",), ending=Ending.STALL)) as wire:
        answer = await wire.send(stream=True)

        await answer.close()
        await answer.close()


async def test_many_requests_at_once_each_get_their_answer(playing: Playing) -> None:
    async def ask(wire: Wire) -> bytes:
        answer = await wire.send()
        body = await answer.read()
        await answer.close()
        return bytes(body)

    async with playing(*(Scripted(chunks=(b"%d" % number,)) for number in range(20))) as wire:
        bodies = await asyncio.gather(*(ask(wire) for _ in range(20)))

    assert sorted(map(int, bodies)) == list(range(20))
