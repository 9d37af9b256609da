"""A tier none of whose deployments answers: the next one does, and route, headers, ledger and holds agree on it."""

import asyncio
from dataclasses import replace

import pytest

from farthing.catalog import Step
from farthing.money import Nano
from gateway.admission import admit, authenticate
from gateway.thresholds import Reached
from gateway.upstreams.testing import Ending, Scripted
from tests.deployments_farm import ask, barn, farm_of, tried
from tests.scripted_pipeline import LARGE, Stair, headers_of, plain

DEAD = Scripted(ending=Ending.REFUSED)
SICK = plain({"error": {"message": "overloaded"}}, 503)
PINNED = "tier/small"


def falling(*weights: int, **more: object) -> Stair:
    """A pipeline whose small tier falls to the large one, which costs ten times as much."""
    return barn(*weights, stair=Stair(fallback="large", **more))  # type: ignore[arg-type]


async def test_route_headers_and_ledger_name_the_tier_that_answered() -> None:
    stair = falling(1)
    farm_of(stair).says["p0/small-model"] = DEAD

    answer, _ = await stair.ask()

    record, headers = stair.record, headers_of(answer)
    assert (answer.status, headers["x-farthing-tier"], record.tier) == (200, "large", "large")
    assert headers["x-farthing-route"] == record.route_reason
    assert record.route_reason.startswith("fallback: large in place of small, of which no deployment answers; fixed:")
    assert (record.model_served, tried(record)) == (LARGE, ["p0", "one"])
    assert record.cost == 30_000  # one token in and one out at the large tier's price


async def test_a_stream_of_the_fallback_names_its_tier_too() -> None:
    stair = falling(1)
    farm_of(stair).says["p0/small-model"] = SICK

    answer, body = await stair.ask(stream=True)

    assert (headers_of(answer)["x-farthing-tier"], stair.record.tier, stair.record.model_served) == (
        *("large", "large"),
        LARGE,
    )
    assert b"[DONE]" in body


async def test_a_tier_that_answers_is_not_left() -> None:
    stair = falling(1, 1)
    farm_of(stair).says["p0/small-model"] = DEAD

    await ask(stair)
    record = await ask(stair)

    assert {one.tier for one in stair.records} == {"small"}
    assert "fallback" not in record.route_reason


async def test_the_last_attempt_is_the_fallbacks_however_many_deployments_there_are() -> None:
    stair = falling(1, 1, 1, 1)
    for number in range(4):
        farm_of(stair).says[f"p{number}/small-model"] = SICK

    record = await ask(stair)

    assert (record.tier, len(record.attempts)) == ("large", 3)
    assert tried(record)[-1] == "one"


async def test_once_all_are_left_out_calls_go_to_the_fallback_straight_away_and_come_back() -> None:
    stair = falling(1, 1)
    farm = farm_of(stair)
    farm.says = {"p0/small-model": DEAD, "p1/small-model": DEAD}
    await ask(stair)

    away = await ask(stair)
    farm.says.clear()
    stair.clock.advance(10)
    back = await ask(stair)

    assert (away.tier, tried(away)) == ("large", ["one"])
    assert (back.tier, len(back.attempts)) == ("small", 1)


async def test_where_the_fallback_fails_too_the_record_names_who_was_asked_last() -> None:
    stair = falling(1)
    farm_of(stair).says[""] = SICK

    answer, _ = await stair.ask()

    assert (answer.status, stair.record.tier, tried(stair.record)) == (503, "large", ["p0", "one"])
    assert stair.record.deployment == "one/large-model"


async def test_the_hold_covers_the_dearest_deployment_that_may_be_tried() -> None:
    stair = falling(1)
    event = farm_of(stair).hangs["p0/small-model"] = asyncio.Event()

    call = asyncio.ensure_future(ask(stair, max_tokens=100))
    for _ in range(20):
        await asyncio.sleep(0)
    (held,) = [intent.amount for intent in stair.ledger.holds.values()]
    event.set()
    await call

    assert held >= 100 * 20_000  # at the large tier's price
    assert not stair.ledger.holds


async def test_where_the_budget_has_no_room_for_the_fallback_the_call_goes_without_it() -> None:
    stair = falling(1, limit=Nano(1_000_000))  # 100 tokens at the large tier cost two million
    answer, _ = await stair.ask(max_tokens=100)
    farm_of(stair).says["p0/small-model"] = DEAD

    refused, _ = await stair.ask(max_tokens=100)

    assert (answer.status, refused.status) == (200, 502)
    assert [record.tier for record in stair.records] == ["small", "small"]
    assert stair.ledger.overages == 0
    assert not stair.ledger.holds


async def test_a_caller_who_names_a_tier_gets_that_tier_or_none() -> None:
    stair = falling(1)
    farm_of(stair).says["p0/small-model"] = DEAD

    answer, _ = await stair.ask(model=PINNED)

    assert (answer.status, stair.record.tier) == (502, "small")


@pytest.mark.parametrize("name", ["small", "large"])
async def test_an_answer_of_the_fallback_is_kept_for_calls_to_the_tier_and_says_who_made_it(name: str) -> None:
    stair = falling(1)
    stair.feature = replace(stair.feature, exact_cache=True)
    farm = farm_of(stair)
    stair.open()
    stair.runtime.forwarder.upstream = farm
    if name == "large":
        farm.says["p0/small-model"] = DEAD

    await stair.ask()
    hit, _ = await stair.ask()

    assert (headers_of(hit)["x-farthing-cache"], headers_of(hit)["x-farthing-tier"]) == ("exact", name)


def test_a_budget_that_allows_the_cheapest_with_one_try_allows_no_fallback() -> None:
    stair = falling(1, 1)
    generation = stair.runtime.generation
    request = stair.request()
    key = authenticate(generation.keys, request.secret, request.received_ns)
    call = admit(request, key, generation.catalog, count_unregistered=False)
    found = generation.destinations.find(call, stair.feature, None)

    reached = Reached(budget="all", percent="80%", do=Step.CHEAPEST)
    lowered = generation.destinations.lower(found, stair.feature, None, reached)

    route = stair.runtime.route(lowered)
    assert [place.model for place in found.deployments] == ["small-model", "small-model", LARGE]
    assert [place.model for place in route.deployments] == ["small-model"]
