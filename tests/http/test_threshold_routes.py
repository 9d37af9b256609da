"""Thresholds in a running gateway: told, then a cheaper proven tier, then one try, then refusal."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from farthing.routing import Verdict
from tests.gateway import RunningGateway, running_gateway
from tests.http.test_reload import change as reload_with
from tests.http.test_reload import record_card
from tests.ledgers import Engine

BUDGET = (
    '\n  - {id: routed-day, limit_usd: "0.001", window: day, where: {feature: routed}, thresholds: '
    "[{at: 0.000001, do: notify}, {at: 0.02, do: downgrade}, {at: 0.4, do: cheapest}]}\n"
)
CHANGES = (
    ("budgets:\n", "budgets:" + BUDGET),
    (
        "  routed: {team: web, task: triage, override_model: true}",
        "  routed: {team: web, task: triage, override_model: true, policy: fixed, tier: large}",
    ),
    (
        "deployments: [{provider: mock, model: small-model, context_window: 8000}]",
        "deployments: [{provider: dead, model: small-model}, {provider: mock, model: small-model}]",
    ),
)
ROUTED = {"x-farthing-feature": "routed"}


@pytest.fixture
async def gateway(tmp_path: Path, engine: Engine) -> AsyncIterator[RunningGateway]:
    """The feature `routed` asks the large tier, though the small one has passed; its first deployment is dead."""
    async with running_gateway(tmp_path, changes=CHANGES, engine=engine) as running:
        record_card(running, Verdict.PASS)
        await running.application.house.tick()
        yield running


async def ask(gateway: RunningGateway, content: str, model: str = "auto", **headers: str) -> httpx.Response:
    return await gateway.chat(content, headers=ROUTED | headers, model=model, max_tokens=20)


async def spend_until(gateway: RunningGateway, share: str) -> None:
    """Calls until the route tells of that share of the budget, at most forty."""
    for number in range(40):
        answer = await ask(gateway, f"filler {number}")
        if f"at {share}" in answer.headers.get("x-farthing-route", ""):
            return
    raise AssertionError(f"the budget never came to {share}")


async def test_a_routed_call_is_lowered_to_the_tier_that_passed_and_the_headers_say_why(
    gateway: RunningGateway,
) -> None:
    first = await ask(gateway, "one")

    await spend_until(gateway, "2%")
    lowered = await ask(gateway, "two")

    assert first.headers["x-farthing-tier"] == "large"
    assert (lowered.status_code, lowered.headers["x-farthing-tier"]) == (200, "small")
    assert lowered.headers["x-farthing-route"].startswith("budget routed-day at 2%: downgrade, small in place of large")
    record = gateway.record_of(lowered)
    assert (record.tier, record.reference_tier) == ("small", "large")
    assert record.route_reason == lowered.headers["x-farthing-route"]
    assert await gateway.metric("farthing_budget_decisions_total", decision="downgrade", feature="routed") >= 1


async def test_what_the_caller_named_is_not_lowered(gateway: RunningGateway) -> None:
    await spend_until(gateway, "2%")

    pinned = await ask(gateway, "pinned", model="tier/large")

    assert pinned.headers["x-farthing-tier"] == "large"
    assert pinned.headers["x-farthing-route"] == "pinned to tier large"


async def test_answers_of_a_lowered_call_are_kept_under_the_lower_tier_alone(gateway: RunningGateway) -> None:
    kept = await ask(gateway, "asked before")
    await spend_until(gateway, "2%")

    from_large = await ask(gateway, "asked before")
    fresh = await ask(gateway, "asked while full")
    from_small = await ask(gateway, "asked while full")
    await reload_with(gateway, ('limit_usd: "0.001", window: day, where: {feature: routed}', "LIMIT"), *RICH)
    after = await ask(gateway, "asked while full")

    assert kept.headers["x-farthing-tier"] == "large"
    assert (from_large.headers["x-farthing-cache"], from_large.headers["x-farthing-tier"]) == ("exact", "large")
    assert (fresh.headers["x-farthing-cache"], fresh.headers["x-farthing-tier"]) == ("miss", "small")
    assert (from_small.headers["x-farthing-cache"], from_small.headers["x-farthing-tier"]) == ("exact", "small")
    assert (after.headers["x-farthing-cache"], after.headers["x-farthing-tier"]) == ("miss", "large")


async def test_identical_calls_that_are_lowered_at_once_share_one_upstream_call(gateway: RunningGateway) -> None:
    await spend_until(gateway, "2%")
    before = len(gateway.records())

    answers = await asyncio.gather(*(ask(gateway, "the same for all") for _ in range(6)))

    assert {answer.headers["x-farthing-tier"] for answer in answers} == {"small"}
    assert len({answer.json()["choices"][0]["message"]["content"] for answer in answers}) == 1
    assert sum(record.cost > 0 for record in gateway.records()[before:]) == 1


RICH = (("LIMIT", 'limit_usd: "100", window: day, where: {feature: routed}'),)


async def test_without_a_valid_pass_no_call_is_lowered(gateway: RunningGateway) -> None:
    record_card(gateway, Verdict.FAIL)
    await gateway.application.house.tick()

    answers = [await ask(gateway, f"call {number}") for number in range(8)]

    assert {answer.headers["x-farthing-tier"] for answer in answers} == {"large"}


async def test_at_the_last_threshold_one_deployment_is_tried_and_no_other(gateway: RunningGateway) -> None:
    await reload_with(gateway, ("{at: 0.4, do: cheapest}", "{at: 0.03, do: cheapest}"))
    for number in range(4):
        await ask(gateway, f"filler {number}", "tier/large")
    await gateway.application.house.tick()

    answers = [await ask(gateway, f"call {number}") for number in range(2)]

    attempts = [len(gateway.record_of(answer).attempts) for answer in answers]
    assert attempts == [1, 1]
    assert {answer.status_code for answer in answers} <= {200, 502}
    assert all("cheapest, small" in gateway.record_of(answer).route_reason for answer in answers)


async def test_a_new_worker_starts_at_the_step_that_the_ledger_says(gateway: RunningGateway) -> None:
    await spend_until(gateway, "2%")
    async with gateway.another_worker() as (_, port):
        headers = dict(gateway.client.headers) | ROUTED
        body = {"model": "auto", "max_tokens": 20, "messages": [{"role": "user", "content": "first of this worker"}]}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            answer = await client.post("/v1/chat/completions", json=body, headers=headers)

    assert answer.headers["x-farthing-tier"] == "small"


async def test_a_threshold_is_told_once_by_two_workers(gateway: RunningGateway) -> None:
    await ask(gateway, "one")
    async with gateway.another_worker() as (other, port):
        headers = dict(gateway.client.headers) | ROUTED
        body = {"model": "auto", "max_tokens": 20, "messages": [{"role": "user", "content": "two"}]}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            await client.post("/v1/chat/completions", json=body, headers=headers)
        await ask(gateway, "three")
        await asyncio.gather(gateway.application.house.tick(), other.house.tick())
        await asyncio.gather(gateway.application.house._telling.settle(), other.house._telling.settle())
        told = [house.metrics.render().decode() for house in (gateway.application.house, other.house)]

    lines = [line for page in told for line in page.splitlines() if 'decision="notify"' in line]
    assert lines == ['farthing_budget_decisions_total{feature="routed",decision="notify"} 1'], lines
