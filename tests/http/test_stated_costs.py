"""What a provider says that its answer cost: kept beside our figure, whichever way that came about."""

from typing import Any

import pytest

from farthing.catalog import Deployment
from farthing.usage import UsageSource
from tests.scripted_pipeline import Stair, chunk, completion, dollars, frames, plain, provider, stream, usage

COMPUTED = 10 * 1000 + 5 * 2000


def stair(**quirks: Any) -> Stair:
    place = Deployment(name="m", provider=provider("one", **quirks), model="m")
    return Stair(small=(place,), prices=(dollars("one", "m"),)).open()


def figures(**more: Any) -> dict[str, Any]:
    return {**usage(10, 5), **more}


@pytest.mark.parametrize(
    ("told", "stated"),
    [
        ({}, None),
        ({"cost": 0.0000123}, 12_300),  # OpenRouter, USD
        ({"cost": 0}, 0),
        ({"cost": 0.000001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.00002}}, 21_000),
        ({"cost_in_usd_ticks": 123_456}, 12_346),  # xAI, 1e-10 USD
        ({"cost": -1}, None),
        ({"cost": "0.1"}, None),
    ],
)
async def test_the_figure_of_the_provider_stands_beside_ours(told: dict[str, Any], stated: int | None) -> None:
    plainly, streamed = stair(), stair()
    plainly.upstream.add(plain(completion(usage=figures(**told))))
    end = {"object": "chat.completion.chunk", "choices": [], "usage": figures(**told)}
    streamed.upstream.add(stream(*frames(chunk("a", "stop"), end)))

    await plainly.ask()
    await streamed.ask(stream=True)

    for record in (plainly.record, streamed.record):
        assert (record.cost, record.stated_cost) == (COMPUTED, stated)
        assert record.usage.source is UsageSource.PROVIDER


async def test_it_is_kept_with_the_tier_where_the_tokens_are_counted_by_us() -> None:
    built = stair(usage_covers_choices=False)
    built.upstream.add(plain(completion("Hello there.", usage=figures(cost=0.0000123), service_tier="default")))

    await built.ask(n=2)

    assert built.record.usage.source is UsageSource.ESTIMATED
    assert (built.record.stated_cost, built.record.service_tier) == (12_300, "")


async def test_the_tier_of_an_answer_counts_where_its_usage_does_not() -> None:
    place = Deployment(name="m", provider=provider("one", usage_covers_choices=False), model="m")
    prices = (dollars("one", "m"), dollars("one", "m", "0.5", "1", service_tier="flex"))
    costs = []
    for tier in ("flex", "default"):
        built = Stair(small=(place,), prices=prices).open()
        built.upstream.add(plain(completion("Hello there.", usage=figures(), service_tier=tier)))
        await built.ask(n=2, service_tier="flex")
        costs.append(built.record.cost)

    flex, standard = costs
    assert standard == 2 * flex
