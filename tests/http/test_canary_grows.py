"""A canary over HTTP: its share grows with graded answers of real calls, and is gone where these speak against it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.gateway import RunningGateway, running_gateway
from tests.http.test_live_grading import (
    BUDGET,
    CARD,
    FEATURE,
    ROUTED,
    SHADOW,
    TASK,
    demotions,
    of,
    promote,
    settled,
    watched,
)

CAREFUL = "  routed: {team: web, task: triage, override_model: true, cache: {exact: false}, policy: careful}\n"
Gateway = Callable[..., AbstractAsyncContextManager[RunningGateway]]


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    @asynccontextmanager
    async def run(items: int) -> AsyncIterator[RunningGateway]:
        """The small tier has just passed; each of its answers is graded."""
        changes = (
            (TASK, watched("share: 100%")),
            (FEATURE, CAREFUL + SHADOW),
            ("budgets:\n", "budgets:\n" + BUDGET.format(limit="1")),
        )
        policies = f"\npolicies:\n  careful: {{kind: canary, items: {items}}}\n"
        async with running_gateway(tmp_path, changes=changes, extra=policies) as running:
            await promote(running, CARD)
            yield running

    return run


async def tier_of(running: RunningGateway, number: int) -> tuple[str, str]:
    answer = await running.chat(f"item {number}", headers=ROUTED)
    return answer.headers["x-farthing-tier"], answer.headers["x-farthing-route"]


async def ask_the_canary(running: RunningGateway, numbers: "Numbers") -> str:
    """New conversations until one falls to the small tier; its answer is graded, and what it shows is known."""
    for number in numbers:
        tier, reason = await tier_of(running, number)
        if tier == "small":
            await settled(running)
            running.application.house.facts.refresh()
            return reason
    raise AssertionError("the canary was never asked")


class Numbers:
    """Counts on, at most to a thousand."""

    def __init__(self) -> None:
        self._next = 0

    def __iter__(self) -> "Numbers":
        return self

    def __next__(self) -> int:
        self._next += 1
        if self._next > 1000:
            raise StopIteration
        return self._next


async def test_the_share_grows_with_each_step_of_graded_answers(gateway: Gateway) -> None:
    async with gateway(items=1) as running:
        numbers = Numbers()

        first = await ask_the_canary(running, numbers)
        second = await ask_the_canary(running, numbers)
        after = [await tier_of(running, 2000 + number) for number in range(20)]

        assert first.startswith("canary 5%, 0 graded: cheapest passing: small scored 0.95")
        assert second.startswith("canary 25%, 1 graded: cheapest passing: small")
        assert {tier for tier, _ in after} == {"small"}
        assert after[0][1].endswith("; canary 100%, 2 graded")


async def test_a_conversation_that_was_in_the_share_stays_in_it_as_it_grows(gateway: Gateway) -> None:
    async with gateway(items=6) as running:
        before = [number for number in range(3000, 3060) if (await tier_of(running, number))[0] == "small"]
        numbers, reason = Numbers(), ""
        while not reason.startswith("canary 25%"):
            reason = await ask_the_canary(running, numbers)

        after = [number for number in range(3000, 3060) if (await tier_of(running, number))[0] == "small"]

        assert 0 < len(before) < 12
        assert set(before) <= set(after)
        assert len(before) < len(after) < 60


async def test_a_canary_whose_answers_disagree_has_no_share_any_more(gateway: Gateway) -> None:
    async with gateway(items=50) as running:
        running.mock.broken["small-model"] = "I like trains"
        numbers, asked = Numbers(), 0
        while asked < 20 and not demotions(running):
            reason = await ask_the_canary(running, numbers)
            asked += 1
            if running.application.house.facts.now.evidence[0].e_worse >= 10:
                break

        tiers = {(await tier_of(running, 5000 + number))[0] for number in range(40)}

        assert reason.startswith("canary 5%")
        assert tiers == {"large"}


async def test_one_in_twenty_conversations_goes_to_a_tier_that_has_just_passed(gateway: Gateway) -> None:
    async with gateway(items=50) as running:
        tiers = [(await tier_of(running, number))[0] for number in range(100)]
        again = [(await tier_of(running, number))[0] for number in range(20)]

        assert 1 <= tiers.count("small") <= 15
        assert again == tiers[:20]
        reasons = {record.tier: record.route_reason for record in of(running, "routed")}
        assert reasons["small"].startswith("canary 5%, ")
        assert reasons["large"].startswith("not in the canary of small; reference: ")


async def test_the_calls_of_one_run_stay_with_one_tier(gateway: Gateway) -> None:
    async with gateway(items=50) as running:
        run = ROUTED | {"x-farthing-run": "job-7"}

        answers = [await running.chat(f"step {number}", headers=run, max_tokens=20) for number in range(12)]

        assert len({answer.headers["x-farthing-tier"] for answer in answers}) == 1
