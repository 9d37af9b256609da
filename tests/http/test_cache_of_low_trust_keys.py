"""Keys that are trusted less: served from the caches that others fill, and leaving nothing there."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from cache.finding import SemanticCounts
from gateway.meanings import read_figures
from tests.gateway import ADMIN_KEY, RunningGateway, hash_of, running_gateway, until

GUEST_KEY = "fk-test-key-in-less-trusted-hands"
OUTSIDER_KEY = "fk-test-key-without-any-cache"
LIKE_FIRST = "tenant: acme, feature: chat, environment: test"
KEYS = (
    f'  - {{id: guest, hash: "{hash_of(GUEST_KEY)}", {LIKE_FIRST}, cache: read}}\n'
    f'  - {{id: outsider, hash: "{hash_of(OUTSIDER_KEY)}", {LIKE_FIRST}, cache: none}}\n'
)
GUEST = {"authorization": f"Bearer {GUEST_KEY}"}
OUTSIDER = {"authorization": f"Bearer {OUTSIDER_KEY}"}
BOSS = {"authorization": f"Bearer {ADMIN_KEY}", "x-farthing-environment": "test"}
ASKED = "What is the capital city of France?"
SAME = "What's the capital city of France?"
SHADOW = "  farthing-shadow: {team: platform, cache: {exact: false}}\n"
BUDGET = 'budgets:\n  - {id: shadow, limit_usd: "1", window: day, where: {feature: farthing-shadow}}\n'

Gateway = Callable[..., AbstractAsyncContextManager[RunningGateway]]


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    @asynccontextmanager
    async def run(*, semantic: bool = False, duration_ms: int = 0) -> AsyncIterator[RunningGateway]:
        changes = [("keys:\n", "keys:\n" + KEYS)]
        if semantic:
            changes += [
                ("cache: {semantic: {enabled: false}}", "cache: {semantic: {deadline: 5s}}"),
                (
                    "  chat: {team: web, cache: {exact: true}}\n",
                    "  chat: {team: web, cache: {exact: false, semantic: true}}\n" + SHADOW,
                ),
                ("budgets:\n", BUDGET),
            ]
        async with running_gateway(tmp_path, changes=changes, duration_ms=duration_ms) as running:
            yield running

    return run


def outcome(answer: httpx.Response) -> str:
    assert answer.status_code == 200
    return answer.headers["x-farthing-cache"]


async def embed(running: RunningGateway, *texts: str, headers: dict[str, str] | None = None) -> httpx.Response:
    body = {"model": "plain-model", "input": list(texts)}
    return await running.client.post("/v1/embeddings", json=body, headers=headers)


def counts_of(running: RunningGateway) -> SemanticCounts:
    semantic = running.application.house.runtime.caches.semantic
    assert semantic is not None
    return semantic.counts


async def settled(running: RunningGateway) -> None:
    caches = running.application.house.runtime.caches
    await caches.background.settle()
    if caches.semantic is not None:
        await caches.semantic.flush()


# --- exact ---------------------------------------------------------------------------------------


async def test_a_reading_key_is_served_what_others_have_asked(gateway: Gateway) -> None:
    async with gateway() as running:
        await running.chat(ASKED)

        assert outcome(await running.chat(ASKED, headers=GUEST)) == "exact"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_reading_key_asks_is_nobodys_answer_not_even_its_own(gateway: Gateway, stream: bool) -> None:
    async with gateway() as running:
        first = await running.chat(ASKED, headers=GUEST, stream=stream)
        again = await running.chat(ASKED, headers=GUEST, stream=stream)
        other = await running.chat(ASKED)

        assert [outcome(one) for one in (first, again, other)] == ["miss", "miss", "miss"]
        assert outcome(await running.chat(ASKED, headers=GUEST)) == "exact"


async def test_a_key_without_caches_is_neither_served_nor_remembered(gateway: Gateway) -> None:
    async with gateway() as running:
        first = await running.chat(ASKED, headers=OUTSIDER)
        other = await running.chat(ASKED)
        again = await running.chat(ASKED, headers=OUTSIDER)
        only = await running.chat(ASKED, headers=OUTSIDER | {"cache-control": "only-if-cached"})

        assert [outcome(one) for one in (first, other, again)] == ["bypass", "miss", "bypass"]
        assert (only.status_code, only.json()["error"]["code"]) == (504, "not_cached")


async def test_a_reading_key_may_ask_for_nothing_but_a_cached_answer(gateway: Gateway) -> None:
    only = GUEST | {"cache-control": "only-if-cached"}
    async with gateway() as running:
        before = await running.chat(ASKED, headers=only)
        await running.chat(ASKED)

        assert before.status_code == 504
        assert outcome(await running.chat(ASKED, headers=only)) == "exact"


# --- coalescing ----------------------------------------------------------------------------------


async def test_a_reading_key_reads_along_the_stream_that_another_waits_for(gateway: Gateway) -> None:
    async with gateway(duration_ms=150) as running:
        leader = asyncio.create_task(running.chat(ASKED, stream=True))
        await until(lambda: len(running.application.house.runtime.caches.flights) == 1)

        guest = await running.chat(ASKED, headers=GUEST, stream=True)

        assert (outcome(guest), outcome(await leader)) == ("coalesced", "miss")


async def test_nobody_shares_the_answer_that_a_reading_key_waits_for(gateway: Gateway) -> None:
    async with gateway(duration_ms=150) as running:
        guest = asyncio.create_task(running.chat(ASKED, headers=GUEST, stream=True))
        await until(lambda: len(running.mock.requests) == 1)

        other = await running.chat(ASKED, stream=True)

        assert (outcome(other), outcome(await guest)) == ("miss", "miss")
        assert len(running.mock.requests) == 2


# --- embeddings ----------------------------------------------------------------------------------


async def test_a_reading_key_is_served_known_vectors_and_its_own_are_not_kept(gateway: Gateway) -> None:
    async with gateway() as running:
        await embed(running, "one", "two")

        mixed = await embed(running, "one", "three", headers=GUEST)
        whole = await embed(running, "two", headers=GUEST)
        other = await embed(running, "three")

        assert [outcome(one) for one in (mixed, whole, other)] == ["partial", "exact", "miss"]
        assert mixed.headers["x-farthing-inputs-sent"] == "1/2"


# --- semantic ------------------------------------------------------------------------------------


async def test_a_question_of_a_reading_key_is_no_entry(gateway: Gateway) -> None:
    async with gateway(semantic=True) as running:
        await running.chat(ASKED, headers=GUEST)
        await settled(running)

        own = await running.chat(SAME, headers=GUEST)
        other = await running.chat(SAME)

        assert (outcome(own), outcome(other)) == ("miss", "miss")


async def test_questions_of_a_reading_key_that_find_nothing_do_not_dilute_the_share_of_wrong_answers(
    gateway: Gateway,
) -> None:
    """The budget is a share of all requests: idle ones, each in a scope of its own, would buy room for wrong ones."""
    async with gateway(semantic=True) as running:
        for number in range(3):
            system = {"role": "system", "content": f"You are assistant {number}."}
            await running.chat(messages=[system, {"role": "user", "content": ASKED}], headers=GUEST)
        await settled(running)

        assert counts_of(running).finds == 3
        assert [report.requests for report in read_figures(running.application.house.files.meanings).reports] == []


async def test_a_reading_key_admits_nothing(gateway: Gateway) -> None:
    async with gateway(semantic=True) as running:
        await running.chat(ASKED)
        await until(lambda: counts_of(running).stored == 1)
        for _ in range(2):
            await running.chat(SAME, headers=GUEST)
            await settled(running)

        boss = await running.chat(SAME.lower(), headers=BOSS)

        assert outcome(boss) == "miss"
        (report,) = read_figures(running.application.house.files.meanings).reports
        assert report.admitted == 0


async def test_a_reading_key_is_served_what_is_admitted_and_grades_and_counts_nothing(gateway: Gateway) -> None:
    async with gateway(semantic=True) as running:
        await running.chat(ASKED)
        await until(lambda: counts_of(running).stored == 1)
        await running.chat(SAME, headers=BOSS)
        await settled(running)
        (before,) = read_figures(running.application.house.files.meanings).reports

        guest = await running.chat("what's the capital city of france?", headers=GUEST)
        await settled(running)

        (after,) = read_figures(running.application.house.files.meanings).reports
        assert before.admitted == 1
        assert outcome(guest) == "semantic"
        assert counts_of(running).hits == 1
        assert after == before
        assert running.record_of(guest).route_reason == "by the conservative rule"
        assert [record for record in running.records() if record.tags.feature == "farthing-shadow"] == []


async def test_a_key_without_caches_asks_no_meaning(gateway: Gateway) -> None:
    async with gateway(semantic=True) as running:
        await running.chat(ASKED, headers=OUTSIDER)
        await settled(running)

        assert (counts_of(running).finds, counts_of(running).stored) == (0, 0)
