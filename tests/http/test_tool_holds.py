"""Tools that the provider runs and bills by the piece: held as often as the request lets them run."""

from decimal import Decimal
from typing import Any

import pytest

from farthing.call import Endpoint
from farthing.catalog import Deployment
from farthing.record import Outcome
from gateway.pipeline import serve
from gateway.pricing import UNSTATED_USES
from tests.scripted_pipeline import (
    Stair,
    chunk,
    completion,
    dollars,
    frames,
    plain,
    provider,
    stream,
    usage,
    usage_chunk,
)

SEARCH = 10_000_000
"""Nano-dollars of a search: 10 USD a thousand."""
FUNCTION = {"type": "function", "function": {"name": "web_search", "parameters": {}}}
ANTHROPIC = {"type": "web_search_20250305", "name": "web_search"}
PLACE = Deployment(name="m", provider=provider("one"), model="m")


def stair() -> Stair:
    return Stair(small=(PLACE,), prices=(dollars("one", "m", per_web_search=Decimal("0.01")),)).open()


async def held(endpoint: Endpoint = Endpoint.CHAT, *, searches_cost: bool = True, **body: Any) -> int:
    """What is set aside for a call."""
    built = stair() if searches_cost else Stair(small=(PLACE,), prices=(dollars("one", "m"),)).open()
    built.upstream.add(stream(*frames(chunk("a", "stop"), usage_chunk(1, 1))))
    async with await serve(built.request(endpoint, stream=True, **body), built.runtime):
        (hold,) = built.ledger.holds.values()
        return hold.amount


async def of_searches(endpoint: Endpoint = Endpoint.CHAT, **body: Any) -> int:
    """How many searches the hold of a call has, beyond what it would have if they cost nothing."""
    searches, rest = divmod(await held(endpoint, **body) - await held(endpoint, searches_cost=False, **body), SEARCH)
    assert rest == 0
    return searches


@pytest.mark.parametrize(
    ("body", "searches"),
    [
        ({}, 0),
        ({"tools": [FUNCTION]}, 0),
        ({"tools": [{"type": "code_interpreter"}]}, 0),
        ({"tools": [{**ANTHROPIC, "max_uses": 3}]}, 3),
        ({"tools": [{**ANTHROPIC, "max_uses": 3}], "n": 2}, 6),
        ({"tools": [ANTHROPIC]}, UNSTATED_USES),
        ({"tools": [{**ANTHROPIC, "max_uses": -3}]}, UNSTATED_USES),
        ({"tools": [{**ANTHROPIC, "max_uses": 0}]}, 0),
        ({"tools": [{"google_search": {}}, FUNCTION]}, UNSTATED_USES),
        ({"web_search_options": {}}, UNSTATED_USES),
        ({"tools": [{"type": "web_search"}], "max_tool_calls": 25}, 25),
        ({"tools": [{**ANTHROPIC, "max_uses": 9}, {"type": "web_search"}], "max_tool_calls": 4}, 4),
    ],
)
async def test_the_hold_has_the_searches_that_the_request_lets_happen(body: dict[str, Any], searches: int) -> None:
    assert await of_searches(**body) == searches


async def test_a_responses_call_states_it_for_all_tools() -> None:
    body = {"input": "hi", "tools": [{"type": "web_search_preview"}], "max_tool_calls": 2}

    assert await of_searches(Endpoint.RESPONSES, **body) == 2


async def test_a_call_that_searches_more_than_it_stated_is_booked_as_it_is_and_counted() -> None:
    built = stair()
    told = usage(1, 1) | {"server_tool_use": {"web_search_requests": 1_000}}
    built.upstream.add(plain(completion(usage=told)))

    await built.ask(tools=[{**ANTHROPIC, "max_uses": 1}])

    assert built.record.outcome is Outcome.SUCCESS
    assert built.record.cost == 1_000 * SEARCH + 1_000 + 2_000
    assert built.ledger.overages == 1
