"""Semantic hits over HTTP: what they say of themselves, and the shadows that ask a model how right they were."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from farthing.money import format_usd
from farthing.record import CacheOutcome, Outcome, Record
from gateway.meanings import read_figures
from tests.gateway import ADMIN_KEY, OTHER_KEY, RunningGateway, running_gateway, until

ASKED = "What is the capital city of France?"
SAME = "What's the capital city of France?"
FEATURE = "  chat: {team: web, cache: {exact: true}}\n"
SEMANTIC = "  chat: {team: web, cache: {exact: true, semantic: true}}\n"
SHADOW = "  farthing-shadow: {team: platform, cache: {exact: false}}\n"
BUDGET = '  - {{id: shadow, limit_usd: "{limit}", window: day, where: {{feature: farthing-shadow}}}}\n'

Gateway = Callable[..., AbstractAsyncContextManager[RunningGateway]]


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    @asynccontextmanager
    async def run(
        *, shadows: bool = True, limit: str = "1", cache: str = "enabled: true"
    ) -> AsyncIterator[RunningGateway]:
        features = SEMANTIC + (SHADOW if shadows else "")
        budgets = "budgets:\n" + (BUDGET.format(limit=limit) if shadows else "")
        changes = (
            ("cache: {semantic: {enabled: false}}", f"cache: {{semantic: {{deadline: 5s, {cache}}}}}"),
            (FEATURE, features),
            ("budgets:\n", budgets),
        )
        async with running_gateway(tmp_path, changes=changes) as running:
            yield running

    return run


async def _learn(running: RunningGateway) -> None:
    """The first question is answered and kept."""
    await running.chat(ASKED)
    semantic = running.application.house.runtime.caches.semantic
    assert semantic is not None
    await until(lambda: semantic.counts.stored > 0)


def _of(running: RunningGateway, feature: str) -> list[Record]:
    return [record for record in running.records() if record.tags.feature == feature]


async def test_a_hit_is_asked_anew_after_it_was_served_on_the_account_of_farthing(gateway: Gateway) -> None:
    async with gateway() as running:
        await _learn(running)

        answer = await running.chat(SAME)
        await until(lambda: len(_of(running, "farthing-shadow")) == 1)

        assert answer.headers["x-farthing-cache"] == "semantic"
        assert not [name for name in answer.headers if "score" in name]
        (shadow,) = _of(running, "farthing-shadow")
        assert (shadow.outcome, shadow.cache, shadow.status) == (Outcome.SUCCESS, CacheOutcome.BYPASS, 200)
        assert (shadow.tags.tenant, shadow.tags.key_id) == ("acme", "farthing-shadow")
        assert shadow.tags.task == "shadow:chat"
        assert shadow.cost > 0
        assert running.holds() == 0


async def test_what_a_shadow_found_is_published(gateway: Gateway) -> None:
    async with gateway() as running:
        await _learn(running)
        await running.chat(SAME)
        await until(lambda: len(_of(running, "farthing-shadow")) == 1)
        house = running.application.house
        await house.runtime.caches.background.settle()
        semantic = house.runtime.caches.semantic
        assert semantic is not None
        await semantic.flush()

        (report,) = read_figures(house.files.meanings).reports

        assert (report.feature, report.hits, report.graded, report.wrong) == ("chat", 1, 1, 0)
        assert report.shadow_cost == _of(running, "farthing-shadow")[0].cost
        assert await running.metric("farthing_semantic_hits_total", rule="conservative") == 1
        assert await running.metric("farthing_semantic_wrong_ratio", of="hits", bound="high") > 0.5


async def test_the_feature_bears_what_its_shadows_cost_and_administrators_alone_see_it(gateway: Gateway) -> None:
    async with gateway() as running:
        await _learn(running)
        await running.chat(SAME)
        await until(lambda: len(_of(running, "farthing-shadow")) == 1)
        house = running.application.house
        await house.runtime.caches.background.settle()
        assert house.runtime.caches.semantic is not None
        await house.runtime.caches.semantic.flush()

        shown = await running.client.get("/api/cache", headers={"authorization": f"Bearer {ADMIN_KEY}"})
        refused = await running.client.get("/api/cache")

        assert refused.status_code == 403
        (chat,) = shown.json()["features"]
        hit, shadow = running.records()[1], _of(running, "farthing-shadow")[0]
        assert chat["caches"]["semantic"] == {
            "requests": 2,
            "hits": 1,
            "partial": 0,
            "hit_rate": 0.5,
            "saved_usd": format_usd(hit.avoided_cache),
            "own_cost_usd": format_usd(shadow.cost),
            "net_usd": format_usd(hit.avoided_cache - shadow.cost),
        }
        assert (chat["semantic"]["graded"], chat["semantic"]["max_wrong"]) == (1, 0.005)
        assert [domain["state"] for domain in chat["semantic"]["domains"]] == ["conservative"]


async def test_the_record_of_a_hit_says_by_which_rule_it_was_served(gateway: Gateway) -> None:
    async with gateway() as running:
        await _learn(running)

        record = running.record_of(await running.chat(SAME))

        assert (record.cache, record.route_reason) == (CacheOutcome.SEMANTIC, "by the conservative rule")


async def test_without_the_feature_nothing_is_asked_anew(gateway: Gateway) -> None:
    async with gateway(shadows=False) as running:
        await _learn(running)

        await running.chat(SAME)
        await running.application.house.runtime.caches.background.settle()

        assert [record.tags.feature for record in running.records()] == ["chat", "chat"]


async def test_a_spent_budget_stops_shadows_and_no_hit(gateway: Gateway) -> None:
    async with gateway(limit="0") as running:
        await _learn(running)
        await running.chat(SAME)
        await until(lambda: len(_of(running, "farthing-shadow")) == 1)

        again = await running.chat("What is France's capital city?")
        same = await running.chat(SAME, headers={"cache-control": "max-age=1000"})
        await running.application.house.runtime.caches.background.settle()

        assert again.status_code == 200
        assert same.headers["x-farthing-cache"] == "semantic"
        (refused,) = _of(running, "farthing-shadow")
        assert (refused.outcome, refused.cost) == (Outcome.REFUSED, 0)


async def test_another_key_is_served_only_after_it_was_given_the_same_answer_itself(gateway: Gateway) -> None:
    async with gateway() as running:
        await _learn(running)
        boss = {"authorization": f"Bearer {ADMIN_KEY}", "x-farthing-environment": "test"}

        first = await running.chat(SAME, headers=boss)
        await running.application.house.runtime.caches.background.settle()
        second = await running.chat(SAME.lower(), headers=boss)
        await running.application.house.runtime.caches.semantic.flush()

        assert first.headers["x-farthing-cache"] == "miss"
        assert second.headers["x-farthing-cache"] == "semantic"
        assert read_figures(running.application.house.files.meanings).reports[0].admitted == 1


async def test_another_tenant_is_never_served(gateway: Gateway) -> None:
    async with gateway() as running:
        await _learn(running)
        other = {"authorization": f"Bearer {OTHER_KEY}", "x-farthing-environment": "test"}

        answer = await running.chat(SAME, headers=other)

        assert answer.headers["x-farthing-cache"] == "miss"
