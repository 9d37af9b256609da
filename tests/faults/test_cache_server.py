"""A cache server that is away, hangs or forgets: misses and a metric, never an error, and no call waits long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("redis", reason="the client is not installed: scripts/install redis")

from bench.mock_upstream import MockSettings, running_mock
from cache.stores.redis import DEADLINE_S, Away, RedisLeases, RedisLink, RedisStore
from gateway.embeddings import AT_ONCE, LOOKUP_S
from gateway.tasks import Background
from ledger.testing import ManualClock
from tests.gateway import ADMIN_KEY, RunningGateway, change, reached, running_gateway, write_tree
from tests.valkey import Server

KEY = bytes(range(32))
SAME = ("127.0.0.1", "127.0.0.1")
ADMIN = {"authorization": f"Bearer {ADMIN_KEY}"}


def shared(url: str, *more: tuple[str, str]) -> list[tuple[str, str]]:
    return [("cache: {semantic: {enabled: false}}", f"cache: {{url: '{url}', semantic: {{enabled: false}}}}"), *more]


@pytest.fixture
async def gateway(tmp_path: Path, own_valkey: Server) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, changes=shared(own_valkey.url)) as running:
        yield running


async def cache_of(gateway: RunningGateway, content: str) -> str:
    answer = await gateway.chat(content)
    assert answer.status_code == 200
    return answer.headers["x-farthing-cache"]


@asynccontextmanager
async def two_machines(
    directory: Path, url: str, *, secrets: tuple[bytes, bytes] = (b"s" * 32, b"s" * 32), hosts: tuple[str, str] = SAME
) -> AsyncIterator[tuple[RunningGateway, RunningGateway]]:
    """Two gateways with one secret, one cache server and one provider, and nothing else in common."""
    async with running_mock(MockSettings(chunks=10, duration_ms=200, recording=True)) as mock, AsyncExitStack() as both:
        gateways = []
        for name, secret, host in zip("ab", secrets, hosts, strict=True):
            home = directory / name
            (home / "data").mkdir(parents=True)
            (home / "data" / "secret").write_bytes(secret)
            config = write_tree(home, mock.base_url.replace("127.0.0.1", host))
            change(config, *shared(url))
            gateways.append(await both.enter_async_context(reached(config, mock)))
        yield gateways[0], gateways[1]


async def sent(gateway: RunningGateway) -> None:
    await gateway.application.house.runtime.caches.exact.store.written()  # type: ignore[attr-defined]


async def reads(server: Server) -> int:
    """How often the server was asked for values, one or many at a time."""
    link = RedisLink(server.url)
    stats = await link.ask(lambda client: client.info("commandstats"))
    await link.close()
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("get", "mget"))


async def test_two_machines_share_answers_and_purges(tmp_path: Path, own_valkey: Server) -> None:
    async with two_machines(tmp_path, own_valkey.url) as (here, there):
        assert await cache_of(here, "one") == "miss"
        await sent(here)
        assert [await cache_of(there, "one") for _ in range(2)] == ["exact", "exact"]

        purged = await here.client.post("/api/cache/purge", json={"tenant": "acme"}, headers=ADMIN)
        await there.application.house.tick()

        assert purged.status_code == 200
        assert await cache_of(there, "one") == "miss"
        await sent(there)
        assert await cache_of(here, "one") == "exact"


@pytest.mark.parametrize("different", [{"secrets": (b"a" * 32, b"b" * 32)}, {"hosts": ("127.0.0.1", "localhost")}])
async def test_machines_with_another_secret_or_address_of_the_provider_share_nothing(
    tmp_path: Path, own_valkey: Server, different: dict[str, Any]
) -> None:
    async with two_machines(tmp_path, own_valkey.url, **different) as (here, there):
        await cache_of(here, "one")
        await sent(here)

        assert await cache_of(there, "one") == "miss"


async def test_two_machines_ask_the_provider_once(tmp_path: Path, own_valkey: Server) -> None:
    async with two_machines(tmp_path, own_valkey.url) as (here, there):
        caches = await asyncio.gather(*(cache_of(one, "at once") for one in (here, there) * 20))

        assert len(here.mock.requests) == 1
        assert sorted(set(caches)) == ["coalesced", "miss"]
        assert caches.count("miss") == 1


async def test_a_batch_of_known_inputs_takes_one_trip_to_the_server(tmp_path: Path, own_valkey: Server) -> None:
    body = {"model": "plain-model", "input": [f"text {number}" for number in range(100)]}
    async with two_machines(tmp_path, own_valkey.url) as (here, there):
        await here.client.post("/v1/embeddings", json=body)
        await sent(here)
        before = await reads(own_valkey)

        answer = await there.client.post("/v1/embeddings", json=body)

        assert (answer.headers["x-farthing-cache"], answer.headers["x-farthing-inputs-sent"]) == ("exact", "0/100")
        assert await reads(own_valkey) - before == 1


async def test_a_server_that_dies_makes_misses_and_comes_back(gateway: RunningGateway, own_valkey: Server) -> None:
    assert await cache_of(gateway, "one") == "miss"
    own_valkey.end()

    assert [await cache_of(gateway, text) for text in ("one", "two", "two", "three")] == [
        "exact",
        "miss",
        "exact",
        "miss",
    ]
    assert await gateway.metric("farthing_cache_server_up") == 0
    assert await gateway.metric("farthing_cache_server_errors") >= 1
    refused = await gateway.client.post("/api/cache/purge", json={"everything": True}, headers=ADMIN)
    assert refused.status_code == 503

    own_valkey.start()
    await gateway.application.house.tick()
    assert await gateway.metric("farthing_cache_server_up") == 1
    # It has forgotten what was purged, so nothing is served that it might have meant.
    assert await cache_of(gateway, "two") == "miss"


async def test_a_server_that_hangs_is_waited_for_a_moment_and_then_no_more(own_valkey: Server) -> None:
    link = RedisLink(own_valkey.url)
    assert await link.ask(lambda client: client.ping())
    own_valkey.freeze()

    for _ in range(3):
        with pytest.raises(TimeoutError):
            await link.ask(lambda client: client.ping())
    with pytest.raises(Away):
        await link.ask(lambda client: client.ping())
    assert link.errors == 3

    own_valkey.thaw()
    assert await link.probe(lambda client: client.ping())
    assert await link.ask(lambda client: client.ping())
    await link.close()


class NotingLink:
    """In place of `RedisLink`: a server that has nothing, and the deadlines of what it was asked."""

    is_up = True

    def __init__(self) -> None:
        self.deadlines: list[float] = []

    async def ask(self, question: Any, deadline_s: float) -> list[None]:
        self.deadlines.append(deadline_s)
        keys: list[bytes] = []

        class Client:
            def mget(self, asked: list[bytes]) -> None:
                keys.extend(asked)

        question(Client())
        return [None] * len(keys)


async def test_many_values_may_take_longer_than_one_but_less_than_an_embedding_call_waits() -> None:
    link, background = NotingLink(), Background()
    store = RedisStore(link, ManualClock(), background.start)  # type: ignore[arg-type]

    for count in (1, AT_ONCE):
        await store.read([bytes([number]) * 32 for number in range(count)], 0)

    assert link.deadlines[0] == DEADLINE_S
    assert DEADLINE_S < link.deadlines[1] < LOOKUP_S


async def test_a_lease_is_held_by_one_until_it_lets_go(valkey_url: str) -> None:
    links = [RedisLink(valkey_url) for _ in range(2)]
    here, there = map(RedisLeases, links)

    assert [await here.take(KEY), await here.take(KEY), await there.take(KEY)] == [True, True, False]
    await here.release(KEY)
    await here.renew()
    assert not await there.take(KEY)
    await here.release(KEY)
    assert await there.take(KEY)
    assert not await here.take(KEY)
    await there.close()
    assert await here.take(KEY)

    for link in links:
        await link.close()


async def test_a_lease_that_was_lost_is_neither_renewed_nor_released_for_another(valkey_url: str) -> None:
    links = [RedisLink(valkey_url) for _ in range(2)]
    here, there = map(RedisLeases, links)
    await here.take(KEY)
    await links[0].ask(lambda client: client.flushdb())  # as if it had expired
    assert await there.take(KEY)

    await here.renew()
    await here.release(KEY)

    assert not await here.take(KEY)
    for link in links:
        await link.close()


async def test_where_the_server_is_away_everybody_takes() -> None:
    link = RedisLink("redis://127.0.0.1:1/0")
    leases = RedisLeases(link)

    assert await leases.take(KEY)
    assert not link.is_up
    assert await leases.take(KEY)
    await leases.release(KEY)
    await link.close()


async def test_a_gateway_starts_while_its_server_is_away(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, changes=shared("redis://127.0.0.1:1/0")) as running:
        assert [await cache_of(running, "one") for _ in range(2)] == ["miss", "exact"]
