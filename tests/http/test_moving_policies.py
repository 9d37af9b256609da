"""Policies that look at more than evals, in a running gateway: time and money; and a cascade."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from farthing.record import Outcome
from farthing.routing import Verdict
from tests.gateway import RunningGateway, running_gateway, until
from tests.http.test_reload import record_card

ROUTED = "  routed: {team: web, task: triage, override_model: true}"
POLICIES = """
policies:
  quick: {kind: latency_bound, p95: 15ms}
  thrifty: {kind: budget_aware, full_at: 5%}
"""
SLOW = (
    "deployments: [{provider: mock, model: small-model, context_window: 8000}]",
    "deployments: [{provider: mock, name: small-model, model: mock-slow-first-byte}]",
)
ROUTED_ONLY = "{feature: routed}"
Gateway = Callable[..., AbstractAsyncContextManager[RunningGateway]]


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    @asynccontextmanager
    async def run(policy: str, *changes: tuple[str, str]) -> AsyncIterator[RunningGateway]:
        """The feature `routed` has the policy, and the small tier has passed."""
        named = (ROUTED, ROUTED.replace("}", f", policy: {policy}}}"))
        async with running_gateway(tmp_path, extra=POLICIES, changes=(named, *changes)) as running:
            record_card(running, Verdict.PASS)
            await running.application.house.tick()
            yield running

    return run


def where_a_day_begins() -> str:
    """A time zone in which it is between midnight and one o'clock; the signs of these names are those of POSIX."""
    hour = datetime.now(UTC).hour
    return f"Etc/GMT+{hour}" if hour <= 12 else f"Etc/GMT-{24 - hour}"


async def ask(running: RunningGateway, content: str, **headers: str) -> tuple[str, str]:
    """The tier that answers and why; the record says the same."""
    answer = await running.chat(content, headers={"x-farthing-feature": "routed", **headers}, max_tokens=20)
    assert answer.status_code == 200
    record = running.record_of(answer)
    assert (record.tier, record.reference_tier) == (answer.headers["x-farthing-tier"], "large")
    if answer.headers["x-farthing-cache"] == "miss":
        assert record.route_reason == answer.headers["x-farthing-route"]
    return record.tier, answer.headers["x-farthing-route"]


async def test_a_tier_that_has_become_too_slow_gives_its_calls_to_one_in_time(gateway: Gateway) -> None:
    async with gateway("quick", SLOW) as running:
        first = await ask(running, "one")
        for number in range(19):
            await ask(running, f"filler {number}")
        running.application.house.facts.refresh()
        later = await ask(running, "two")

        assert first[0] == "small"
        assert first[1].endswith("latency not known")
        assert later[0] == "large"
        assert later[1].startswith("latency: large in place of small: small takes 0.0")
        assert running.records()[-1].policy == "quick"
        assert await running.metric("farthing_requests_total", feature="routed", tier="small") == 20


async def test_a_budget_that_is_spent_too_fast_is_answered_by_the_tier_that_passed(gateway: Gateway) -> None:
    day = f'{{id: routed-day, limit_usd: "0.001", window: day, timezone: {where_a_day_begins()}, where: {ROUTED_ONLY}}}'
    async with gateway("thrifty", ("budgets:\n", f"budgets:\n  - {day}\n")) as running:
        told = [await ask(running, f"question {number}") for number in range(20)]

        assert told[0] == ("large", "budget aware: large, spending keeps pace")
        tiers = [tier for tier, _ in told]
        turn = tiers.index("small")
        assert tiers == ["large"] * turn + ["small"] * (len(tiers) - turn)
        assert "% of the limit ahead; cheapest passing: small scored 0.90" in told[-1][1]
        assert running.holds() == 0


async def test_without_a_budget_of_its_own_a_thrifty_feature_asks_the_better_tier(gateway: Gateway) -> None:
    async with gateway("thrifty") as running:
        assert await ask(running, "one") == ("large", "budget aware: large, no budget has a pace")


CUT_SHORT = (
    "deployments: [{provider: mock, model: small-model, context_window: 8000}]",
    "deployments: [{provider: mock, name: small-model, model: mock-length}]",
)


@pytest.mark.parametrize("stream", [False, True])
async def test_headers_ledger_and_metrics_agree_on_a_cascade(gateway: Gateway, stream: bool) -> None:
    async with gateway("cascade", CUT_SHORT) as running:
        record_card(running, Verdict.FAIL)
        await running.application.house.tick()

        answer = await running.chat("one", headers={"x-farthing-feature": "routed"}, max_tokens=20, stream=stream)

        record = running.record_of(answer)
        told = "cascade: small failed its check (length), escalated to large"
        assert (answer.status_code, answer.headers["x-farthing-route"], record.route_reason) == (200, told, told)
        assert [(one.deployment, one.error) for one in record.attempts] == [
            ("mock/mock-length", "check_length"),
            ("mock/large-model", ""),
        ]
        assert all(one.cost > 0 for one in record.attempts)
        labels = {"task": "triage", "tier": "small", "check": "length"}
        assert await running.metric("farthing_cascade_escalations_total", **labels) == 1
        cost = await running.metric("farthing_cost_usd_total", feature="routed")
        assert round(cost * 1e9) == record.cost == sum(one.cost for one in record.attempts)
        assert await running.metric("farthing_requests_total", feature="routed") == 1
        assert running.holds() == 0


async def test_a_client_that_leaves_during_the_second_answer_is_charged_for_both(tmp_path: Path) -> None:
    named = (ROUTED, ROUTED.replace("}", ", policy: cascade}"))
    async with running_gateway(tmp_path, changes=(named, CUT_SHORT), duration_ms=300) as running:
        body = {"model": "auto", "messages": [{"role": "user", "content": "hello"}], "stream": True, "max_tokens": 20}
        headers = {"x-farthing-feature": "routed"}

        async with running.client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
            tier = answer.headers["x-farthing-tier"]  # and gone
        await until(lambda: len(running.records()) == 1)

        (record,) = running.records()
        assert tier == "large"
        assert (record.outcome, record.status, record.tier) == (Outcome.ABORTED, 499, "large")
        assert [one.error for one in record.attempts] == ["check_length", ""]
        assert all(one.cost > 0 for one in record.attempts)
        assert record.cost == sum(one.cost for one in record.attempts)
        assert running.holds() == 0
