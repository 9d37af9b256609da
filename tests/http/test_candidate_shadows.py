"""The policy shadow over HTTP: a candidate is asked what the reference has answered, graded, and heard by nobody."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from farthing.record import CacheOutcome, Outcome
from gateway.story import tell
from tests.gateway import RunningGateway, running_gateway
from tests.http.test_live_grading import BUDGET, FEATURE, ROUTED, SHADOW, TASK, demotions, of, settled, watched

FOLLOWED = "  routed: {team: web, task: triage, override_model: true, policy: beside}\n"
Gateway = Callable[..., AbstractAsyncContextManager[RunningGateway]]


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    @asynccontextmanager
    async def run(share: str = "100%", limit: str = "1") -> AsyncIterator[RunningGateway]:
        """Nothing has passed: the large tier answers, and the small one is asked besides."""
        changes = (
            (TASK, watched("share: 100%")),
            (FEATURE, FOLLOWED + SHADOW),
            ("budgets:\n", "budgets:\n" + BUDGET.format(limit=limit)),
        )
        policies = f"\npolicies:\n  beside: {{kind: shadow, share: {share}}}\n"
        async with running_gateway(tmp_path, changes=changes, extra=policies) as running:
            yield running

    return run


async def graded(running: RunningGateway) -> float:
    return await running.metric("farthing_drift_answers", task="triage", tier="small", signal="grades")


@pytest.mark.parametrize("stream", [False, True])
async def test_the_reference_answers_and_the_candidate_is_asked_after_it_on_the_account_of_farthing(
    gateway: Gateway, stream: bool
) -> None:
    async with gateway() as running:
        answer = await running.chat("item", headers=ROUTED, stream=stream)
        await settled(running)

        record = running.record_of(answer)
        assert (record.tier, record.model_served, record.policy) == ("large", "large-model", "beside")
        told = "reference: large, and small is asked besides for 1 of the calls"
        assert answer.headers["x-farthing-route"] == record.route_reason == told
        (aside,) = of(running, "farthing-shadow")
        assert (aside.model_served, aside.outcome, aside.stream) == ("small-model", Outcome.SUCCESS, False)
        assert (aside.tags.task, aside.cache) == ("candidate:routed", CacheOutcome.BYPASS)
        assert "to know how good the tiers are for feature 'routed'" in " ".join(tell(aside))
        assert await graded(running) == 1
        assert running.holds() == 0


async def test_grades_of_a_candidate_become_evidence(gateway: Gateway) -> None:
    async with gateway() as running:
        for number in range(4):
            await running.chat(f"item {number}", headers=ROUTED)
            await settled(running)
        running.application.house.facts.refresh()

        (evidence,) = (one for one in running.application.house.facts.now.evidence if one.tier == "small")

        assert (evidence.task, evidence.graded) == ("triage", 4)
        assert evidence.e_worse < 10


async def test_answers_that_disagree_count_against_the_candidate(gateway: Gateway) -> None:
    async with gateway() as running:
        running.mock.broken["small-model"] = "I like trains"
        for number in range(4):
            answer = await running.chat(f"item {number}", headers=ROUTED)
            await settled(running)
        running.application.house.facts.refresh()

        (evidence,) = (one for one in running.application.house.facts.now.evidence if one.tier == "small")

        assert (evidence.graded, answer.headers["x-farthing-tier"]) == (4, "large")
        assert evidence.e_worse > 1
        assert demotions(running) == ()  # it has no pass to lose


async def test_hits_of_the_cache_are_not_followed(gateway: Gateway) -> None:
    async with gateway() as running:
        await running.chat("the same", headers=ROUTED)
        hit = await running.chat("the same", headers=ROUTED)
        await settled(running)

        assert hit.headers["x-farthing-cache"] == "exact"
        assert len(of(running, "farthing-shadow")) == 1


async def test_a_spent_budget_stops_what_is_asked_besides_and_nothing_else(gateway: Gateway) -> None:
    async with gateway(limit="0") as running:
        answers = [await running.chat(f"item {number}", headers=ROUTED) for number in range(3)]
        await settled(running)

        assert {answer.status_code for answer in answers} == {200}
        assert {record.outcome for record in of(running, "farthing-shadow")} == {Outcome.REFUSED}
        assert await graded(running) == 0


async def test_a_small_share_follows_few_calls(gateway: Gateway) -> None:
    async with gateway(share="1%") as running:
        for number in range(10):
            await running.chat(f"item {number}", headers=ROUTED)
        await settled(running)

        assert len(of(running, "farthing-shadow")) <= 3


async def test_what_routing_asks_besides_is_no_cost_of_the_caches(gateway: Gateway) -> None:
    async with gateway() as running:
        await running.chat("item", headers=ROUTED)
        await settled(running)
        admin = {"authorization": "Bearer fk-test-key-of-an-admin"}

        shown = (await running.client.get("/api/cache", headers=admin)).json()

        costs = [cache["own_cost_usd"] for one in shown["features"] for cache in one["caches"].values()]
        assert not any(float(cost) for cost in costs if cost)
