"""A database of the semantic cache that is away, hangs, is late or refuses: misses and a metric, never an error, and no
call waits longer than its deadline."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed: scripts/install postgres")

import psycopg

from bench.mock_upstream import MockSettings, running_mock
from cache.finding import SemanticRules
from cache.rows import RowsAway
from cache.semantic import Learning, SemanticCache
from cache.stores.pgvector import PgvectorRows, prepare
from cache.stores.postgres_link import PATIENCE_S, Line, PostgresLink
from cache.testing import FixedCalibration, FixedGrader, FixedScorer, WordEmbedder, example_answer, example_call
from cache.testing import example_question as example
from cache.vectors.pgvector import PgvectorNearby
from farthing.errors import ConfigError
from gateway.clock import SystemClock
from ledger.testing import ManualClock
from tests.gateway import ADMIN_KEY, RunningGateway, change, reached, until, write_tree
from tests.postgres import Server, processes

SCOPE = b"s" * 32
ASKED = "What is the capital city of France?"
SAME = "What's the capital city of France?"
RULES = SemanticRules(floor=0.5, max_wrong=0.05)
NOWHERE = "postgresql://me:hunter2@127.0.0.1:1/nothing"
ADMIN = {"authorization": f"Bearer {ADMIN_KEY}"}
FEATURE = "  chat: {team: web, cache: {exact: true}}\n"
SEMANTIC = "  chat: {team: web, cache: {exact: true, semantic: true}}\n"


def ping(connection: Line) -> object:
    return connection.execute("SELECT 1").fetchone()


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """All its processes stand still, as behind a network that swallows what is sent."""
    pids = [server.pid, *processes(server.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def caching(url: str, *, deadline_s: float = 5.0) -> AsyncIterator[SemanticCache]:
    embedder, clock = WordEmbedder(), SystemClock()
    rows = await asyncio.to_thread(PgvectorRows.open, url, clock, late_s=deadline_s)
    learning = Learning(scorer=FixedScorer(), calibrations=FixedCalibration, grader=FixedGrader())
    nearby = PgvectorNearby(rows.link)
    cache = SemanticCache(rows, nearby, embedder, clock, learning=learning, deadline_s=deadline_s)
    yield cache
    await cache.close()


async def is_served(cache: SemanticCache) -> bool:
    return (await cache.find(example_call(example(SAME)), SCOPE, RULES)).hit is not None


async def add(cache: SemanticCache) -> None:
    await cache.add(example_call(example(ASKED)), SCOPE, example_answer(), ttl_s=600)


async def test_two_processes_share_what_they_keep(postgres_url: str) -> None:
    async with caching(postgres_url) as here, caching(postgres_url) as there:
        assert not await is_served(there)

        await add(here)

        assert await is_served(there)
        assert (there.counts.errors, there.counts.away) == (0, 0)


async def test_a_server_that_ends_makes_misses_and_is_used_again_when_it_is_back(own_postgres: Server) -> None:
    async with caching(own_postgres.url) as cache:
        await add(cache)
        assert await is_served(cache)

        own_postgres.end()
        assert [await is_served(cache) for _ in range(3)] == [False] * 3
        await add(cache)
        assert cache.counts.errors <= 1
        assert cache.counts.away >= 2

        own_postgres.start()
        async with asyncio.timeout(20):
            while not await is_served(cache):  # noqa: ASYNC110 - it is tried again once in a while
                await asyncio.sleep(0.02)


async def test_connections_that_were_ended_are_made_anew(postgres: Server, postgres_url: str) -> None:
    database = postgres_url.rpartition("/")[2]
    async with caching(postgres_url) as cache:
        await add(cache)
        postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")

        assert not await is_served(cache)

        async with asyncio.timeout(20):
            while not await is_served(cache):  # noqa: ASYNC110 - it is tried again once in a while
                await asyncio.sleep(0.01)
    assert cache.counts.errors == 1


async def test_tables_that_somebody_has_removed_are_made_anew(postgres_url: str) -> None:
    async with caching(postgres_url) as cache:
        await add(cache)
        with psycopg.connect(postgres_url, autocommit=True) as other:
            other.execute("DROP SCHEMA farthing_cache_1 CASCADE")

        assert not await is_served(cache)

        await until(cache._nearby.ready)
        await add(cache)
        assert await is_served(cache)


def test_what_is_logged_about_a_refused_password_does_not_hold_it(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = f"postgresql://farthing:hunter2@{postgres_url.partition('@')[2]}"

    link = PostgresLink(wrong, ManualClock(), prepare, late_s=1)
    link.open()

    assert not link.is_up
    assert "semantic cache server: no answer (connection failed" in caplog.text
    assert "hunter2" not in caplog.text
    link.close()


async def test_a_server_that_hangs_is_waited_for_no_longer_than_the_deadline_and_then_no_more(
    own_postgres: Server,
) -> None:
    clock = SystemClock()
    async with caching(own_postgres.url, deadline_s=0.2) as cache:
        await add(cache)
        with frozen(own_postgres):
            assert not await is_served(cache)
            assert cache.counts.late == 1
            await until(lambda: not cache._nearby.ready())

            started = clock.monotonic()
            assert [await is_served(cache) for _ in range(50)] == [False] * 50

            assert cache.counts.away == 50
            assert clock.monotonic() - started < 0.2


def test_a_link_gives_up_a_statement_that_takes_too_long(postgres_url: str) -> None:
    clock = SystemClock()
    link = PostgresLink(postgres_url, clock, prepare, late_s=1)
    link.open()
    started = clock.monotonic()

    with pytest.raises(psycopg.OperationalError):
        link.ask(lambda connection: connection.execute("SELECT pg_sleep(30)"))

    assert PATIENCE_S <= clock.monotonic() - started < 10
    assert link.errors == 1
    with pytest.raises(RowsAway):
        link.ask(ping)
    link.close()


def test_a_link_whose_answers_are_late_again_and_again_is_left_alone_for_a_second(postgres_url: str) -> None:
    clock = ManualClock()
    link = PostgresLink(postgres_url, clock, prepare, late_s=0.05)
    link.open()

    def late(connection: Line) -> object:
        clock.advance(0.06)
        return ping(connection)

    for _ in range(3):
        assert link.ask(late) == (1,)
    with pytest.raises(RowsAway):
        link.ask(ping)
    assert (link.is_up, link.errors) == (False, 3)

    clock.advance(1.01)
    assert link.ask(ping) == (1,)
    assert link.is_up
    link.close()


def test_what_the_statement_itself_gets_wrong_leaves_the_connection_as_it_was(postgres_url: str) -> None:
    link = PostgresLink(postgres_url, ManualClock(), prepare, late_s=1)
    link.open()

    with pytest.raises(psycopg.DataError):
        link.ask(lambda connection: connection.execute("SELECT 1 / 0"))

    assert link.ask(ping) == (1,)
    assert link.errors == 1
    link.close()


def test_a_database_in_which_nothing_may_be_made_is_refused_with_what_to_do(
    postgres: Server, postgres_url: str
) -> None:
    postgres.execute("DROP ROLE IF EXISTS guest")
    postgres.execute("CREATE ROLE guest LOGIN PASSWORD 'hunter2'")
    guest = f"postgresql://guest:hunter2@{postgres_url.partition('@')[2]}"

    with pytest.raises(ConfigError, match=r"cannot be used .*permission.*CREATE EXTENSION.*GRANT CREATE") as caught:
        PgvectorRows.open(guest, ManualClock(), late_s=1)

    assert "hunter2" not in caught.value.message


def test_tables_that_somebody_else_has_made_are_used_without_the_right_to_make_any(
    postgres: Server, postgres_url: str
) -> None:
    PgvectorRows.open(postgres_url, ManualClock(), late_s=1).close()
    postgres.execute("DROP ROLE IF EXISTS reader")
    postgres.execute("CREATE ROLE reader LOGIN PASSWORD 'hunter2'")
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute("GRANT USAGE ON SCHEMA farthing_cache_1 TO reader")
        owner.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA farthing_cache_1 TO reader")

    rows = PgvectorRows.open(f"postgresql://reader:hunter2@{postgres_url.partition('@')[2]}", ManualClock(), late_s=1)
    row_id = rows.insert(SCOPE, "a question", bytes(16), b"answer", writer="k", expires_ns=1)

    assert rows.alive(SCOPE, [row_id], 0)[row_id].prompt == "a question"
    rows.close()
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute("DROP OWNED BY reader")


@asynccontextmanager
async def machines(directory: Path, url: str, names: str) -> AsyncIterator[list[RunningGateway]]:
    """Gateways with one secret, one database for the semantic cache and one provider, and nothing else in common."""
    async with running_mock(MockSettings(recording=True)) as mock, AsyncExitStack() as stack:
        gateways = []
        for name in names:
            home = directory / name
            (home / "data").mkdir(parents=True)
            (home / "data" / "secret").write_bytes(b"s" * 32)
            config = write_tree(home, mock.base_url)
            semantic = "cache: {semantic: {deadline: 5s, url: '${MEANINGS}'}}"
            change(config, ("cache: {semantic: {enabled: false}}", semantic), (FEATURE, SEMANTIC))
            running = reached(config, mock, environment={"MEANINGS": url})
            gateways.append(await stack.enter_async_context(running))
        yield gateways


async def cache_of(gateway: RunningGateway, content: str) -> str:
    answer = await gateway.chat(content)
    assert answer.status_code == 200
    return answer.headers["x-farthing-cache"]


async def kept(gateway: RunningGateway) -> None:
    semantic = gateway.application.house.runtime.caches.semantic
    assert semantic is not None
    await until(lambda: semantic.counts.stored > 0)


async def test_gateways_of_two_machines_answer_each_others_paraphrases(tmp_path: Path, postgres_url: str) -> None:
    async with machines(tmp_path, postgres_url, "ab") as (here, there):
        assert await cache_of(here, ASKED) == "miss"
        await kept(here)

        assert await cache_of(there, SAME) == "semantic"

        assert await there.metric("farthing_semantic_server_up") == 1
        assert not there.application.house.files.meanings.exists()
        stats = await there.client.get("/metrics")
        assert "farthing_semantic_domains" in stats.text

        purged = await here.client.post("/api/cache/purge", json={"feature": "chat"}, headers=ADMIN)
        await there.application.house.tick()
        assert purged.status_code == 200
        assert await cache_of(there, SAME) == "miss"


async def test_a_gateway_starts_while_its_database_is_away_and_says_so(tmp_path: Path) -> None:
    async with machines(tmp_path, NOWHERE, "a") as (gateway,):
        assert [await cache_of(gateway, text) for text in (ASKED, SAME, ASKED)] == ["miss", "miss", "exact"]

        assert await gateway.metric("farthing_semantic_server_up") == 0
        assert await gateway.metric("farthing_semantic_server_errors") >= 1
        refused = await gateway.client.post("/api/cache/purge", json={"feature": "chat"}, headers=ADMIN)
        assert refused.status_code == 503
