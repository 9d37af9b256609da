import asyncio
import random

from farthing.catalog import Deployment, Timeouts
from farthing.errors import UpstreamError
from gateway.upstreams.relay import RelayUpstream
from tests.unit.relay_client_setup import DROP, OK, Act, ask, deployment, plain, raw_server, until

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ACTS = (
    OK,
    OK,
    DROP,
    plain(b"{}", then="close"),
    plain(b"{}", "connection: close\r\n"),
    Act((b"HTTP/1.1 200 OK\r\n\r\nall",), "close"),
    Act((CHUNKED, b"3\r\none\r\n", b"0\r\n\r\n")),
    Act((CHUNKED, b"3\r\none\r\n"), "close"),
    Act((CHUNKED, b"3\r\none\r\n"), "wait"),
    Act((), "wait"),
    Act((b"garbage",)),
    Act((OK.pieces[0] + b"HTTP",)),
)


async def visit(upstream: RelayUpstream, target: Deployment, dice: random.Random) -> None:
    """Ask once, and leave early, at any moment, more often than not."""
    try:
        async with asyncio.timeout(dice.choice([0.001, 0.003, 1])):
            answer = await upstream.send(target, "x", b"", stream=True)
            try:
                async for _ in answer.chunks():
                    if dice.random() < 0.2:
                        break
            finally:
                await answer.close()
    except (UpstreamError, TimeoutError):
        pass


async def test_no_storm_of_faults_and_of_clients_that_leave_loses_a_connection_or_its_place() -> None:
    dice = random.Random(7)
    upstream, queue = RelayUpstream(max_connections=3), asyncio.Semaphore(12)
    timeouts = Timeouts(connect=0.05, first_byte=0.01, idle=0.01, total=0.1)

    async def queued(target: Deployment) -> None:
        async with queue:
            await visit(upstream, target, dice)

    async with raw_server(*dice.choices(ACTS, k=400), *[OK] * 400) as server:
        target = deployment(server.base_url, timeouts=timeouts)
        await asyncio.gather(*(queued(target) for _ in range(400)))
        await until(lambda: server.connections - server.closed <= 3)
        while len(server.requests) < 400:  # the rest of the faults
            await visit(upstream, target, dice)

        patient = deployment(server.base_url)
        assert await asyncio.gather(*(ask(upstream, patient) for _ in range(9))) == [b"{}"] * 9
        await upstream.close()
        await until(lambda: server.connections == server.closed)
