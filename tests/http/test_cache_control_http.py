"""What callers may ask of the caches, through the door."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farthing.record import CacheOutcome, Outcome
from tests.gateway import RunningGateway, running_gateway


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path) as running:
        yield running


async def cache_of(gateway: RunningGateway, control: str, **body: object) -> str:
    answer = await gateway.chat(headers={"cache-control": control}, **body)
    assert answer.status_code == 200
    return answer.headers["x-farthing-cache"]


async def test_a_caller_may_ask_for_a_fresh_answer_which_the_next_one_gets(gateway: RunningGateway) -> None:
    await gateway.chat()

    assert await cache_of(gateway, "no-cache") == "bypass"
    assert await cache_of(gateway, "max-age=0") == "bypass"
    assert await cache_of(gateway, "max-age=60") == "exact"


async def test_what_must_not_be_stored_is_not(gateway: RunningGateway) -> None:
    assert await cache_of(gateway, "no-store") == "bypass"
    assert await cache_of(gateway, "max-stale=99") == "miss"


async def test_an_answer_that_does_not_live_long_enough_is_a_miss(gateway: RunningGateway) -> None:
    await gateway.chat()

    assert await cache_of(gateway, "min-fresh=3600") == "exact"
    assert await cache_of(gateway, "min-fresh=86400") == "miss"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_that_wants_nothing_but_a_cached_answer_costs_nothing(
    gateway: RunningGateway, stream: bool
) -> None:
    only = {"cache-control": "only-if-cached"}

    refused = await gateway.chat(headers=only, stream=stream)

    assert (refused.status_code, refused.json()["error"]["code"]) == (504, "not_cached")
    assert refused.headers["x-should-retry"] == "false"
    record = gateway.record_of(refused)
    assert (record.outcome, record.cache, record.cost) == (Outcome.REJECTED, CacheOutcome.MISS, 0)
    assert not gateway.mock.requests

    await gateway.chat()
    answered = await gateway.chat(headers=only, stream=stream)

    assert (answered.status_code, answered.headers["x-farthing-cache"]) == (200, "exact")
    assert int(answered.headers["age"]) >= 0


async def test_only_if_cached_of_a_feature_without_a_cache_is_refused(gateway: RunningGateway) -> None:
    refused = await gateway.chat(headers={"cache-control": "only-if-cached", "x-farthing-feature": "plain"})

    assert (refused.status_code, gateway.record_of(refused).cache) == (504, CacheOutcome.BYPASS)
    assert (len(gateway.mock.requests), gateway.holds()) == (0, 0)
