"""Calls whose prompts begin alike go to the same deployment, as far as it is not too busy."""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from farthing.call import Endpoint
from farthing.catalog import Affinity, PromptCache
from gateway.promptcaches import PromptCaches
from gateway.upstreams.testing import Ending, Scripted
from tests.deployments_farm import ask, barn, farm_of, lines, tried
from tests.scripted_pipeline import Stair

LONG = "You are a careful assistant. " * 200
"""About 1,450 tokens: long enough to be cached."""


def sticky(*weights: int, affinity: Affinity = Affinity.PROMPT, prompt_cache: PromptCache = PromptCache.OFF) -> Stair:
    """A pipeline whose small tier has that affinity."""
    stair = Stair(affinity=affinity)
    stair.feature = replace(stair.feature, prompt_cache=prompt_cache)
    barn(*weights, stair=stair)
    prompts = PromptCaches(b"secret", stair.clock, lambda: stair.runtime.generation)
    stair.runtime.forwarder.balancer.key = prompts.affinity
    return stair


def turns(system: str, *said: str) -> dict[str, Any]:
    """The messages of a conversation."""
    roles = ("user", "assistant") * len(said)
    head = [{"role": "system", "content": system}] if system else []
    return {"messages": [*head, *({"role": role, "content": text} for role, text in zip(roles, said, strict=False))]}


async def places_of(stair: Stair, *asked: dict[str, Any]) -> list[str]:
    """Where each of these calls went, one after the other."""
    return [tried(await ask(stair, **body))[0] for body in asked]


async def test_a_long_system_prompt_brings_all_its_calls_to_one_deployment() -> None:
    stair = sticky(1, 1, 1)

    went = await places_of(stair, *(turns(LONG, f"question {number}") for number in range(12)))

    assert len(set(went)) == 1


async def test_a_conversation_stays_where_it_began_and_conversations_are_shared_out() -> None:
    stair = sticky(1, 1, 1)

    began = [await places_of(stair, turns("", f"topic {n}"), turns("", f"topic {n}", "ok", "more")) for n in range(30)]

    assert all(len(set(went)) == 1 for went in began)
    assert len({went[0] for went in began}) == 3


async def test_a_short_system_prompt_does_not_tie_conversations_to_one_another() -> None:
    stair = sticky(1, 1, 1)

    went = await places_of(stair, *(turns("Be brief.", f"topic {number}") for number in range(30)))

    assert len(set(went)) == 3


@pytest.mark.parametrize(
    ("affinity", "prompt_cache", "stays"),
    [
        (Affinity.AUTO, PromptCache.OFF, False),
        (Affinity.AUTO, PromptCache.AUTO, True),
        (Affinity.NONE, PromptCache.AUTO, False),
        (Affinity.PROMPT, PromptCache.OFF, True),
    ],
)
async def test_who_has_affinity_is_for_tier_and_feature_to_say(
    affinity: Affinity, prompt_cache: PromptCache, stays: bool
) -> None:
    stair = sticky(1, 1, 1, affinity=affinity, prompt_cache=prompt_cache)

    went = await places_of(stair, *(turns(LONG, "again") for _ in range(6)))

    assert (len(set(went)) == 1) is stays


async def test_a_prompt_whose_deployment_is_gone_goes_to_one_other_and_comes_back() -> None:
    stair = sticky(1, 1, 1)
    farm = farm_of(stair)
    (home,) = set(await places_of(stair, *[turns(LONG, "a")] * 2))
    farm.says[f"{home}/small-model"] = Scripted(ending=Ending.REFUSED)
    await ask(stair, **turns(LONG, "a"))

    away = await places_of(stair, *[turns(LONG, "a")] * 5)
    farm.says.clear()
    stair.clock.advance(10)
    back = await places_of(stair, *[turns(LONG, "a")] * 3)

    assert len(set(away)) == 1
    assert home not in away
    assert set(back) == {home}


async def test_a_hot_prompt_is_spread_when_it_has_more_than_its_share_under_way() -> None:
    stair = sticky(1, 1, 1, 1)
    farm = farm_of(stair)
    farm.hangs = {f"p{number}/small-model": asyncio.Event() for number in range(4)}

    crowd = [asyncio.ensure_future(ask(stair, **turns(LONG, "hot"))) for _ in range(40)]
    for _ in range(60):
        await asyncio.sleep(0)
    under_way = [line.outstanding for line in lines(stair)]
    for event in farm.hangs.values():
        event.set()
    await asyncio.gather(*crowd)

    assert sum(under_way) == 40
    assert max(under_way) <= 13  # 1.25 * 40 / 4, rounded up
    assert [line.outstanding for line in lines(stair)] == [0] * 4


async def test_calls_without_turns_go_by_turns() -> None:
    stair = sticky(1, 1)

    for _ in range(4):
        await stair.ask(Endpoint.COMPLETIONS, prompt="x")

    assert Counter(tried(record)[0] for record in stair.records) == {"p0": 2, "p1": 2}


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}],
        [{"role": "user", "content": None}],
        [{"role": "user"}],
    ],
)
async def test_turns_without_words_are_calls_like_any_other(messages: list[dict[str, Any]]) -> None:
    stair = sticky(1, 1)

    record = await ask(stair, messages=messages)

    assert record.status == 200
