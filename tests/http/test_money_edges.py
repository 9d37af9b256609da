"""Money at the edges: what a call may cost at most, what it is booked at, and to whom, when something is unusual."""

from decimal import Decimal

from farthing.call import Endpoint
from farthing.catalog import Deployment, PriceOverride
from farthing.usage import UsageSource
from gateway.pipeline import serve
from gateway.upstreams.testing import Ending, Scripted
from tests.scripted_pipeline import (
    LARGE,
    SMALL,
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

FREE_THEN_DEAR = (
    Deployment(name=SMALL, provider=provider("free"), model="free-model"),
    Deployment(name=SMALL, provider=provider("dear"), model="dear-model"),
)
THEIR_PRICES = (dollars("free", "free-model", "0", "0"), dollars("dear", "dear-model"), dollars("one", LARGE))


def windowed(tokens: int) -> tuple[Deployment]:
    """The small model with a context window."""
    return (Deployment(name=SMALL, provider=provider("one"), model=SMALL, context_window=tokens),)


async def test_a_reference_tier_without_a_price_does_not_spoil_a_paid_answer() -> None:
    stair = Stair(prices=(dollars("one", SMALL),)).open()
    stair.upstream.add(plain(completion(usage=usage(10, 5))))

    answer, _ = await stair.ask()

    assert answer.status == 200
    # 10 tokens in at 1000 nano-dollars, 5 out at 2000.
    assert (stair.record.cost, stair.record.avoided_routing) == (20_000, 0)


async def test_a_reference_tier_without_a_price_leaves_no_hold_of_a_stream_behind() -> None:
    stair = Stair(prices=(dollars("one", SMALL),)).open()
    stair.upstream.add(stream(*frames(chunk("a"), chunk(finish="stop"), usage_chunk(10, 5))))

    await stair.ask(stream=True)

    assert stair.record.cost == 20_000


async def test_a_timeout_after_a_failover_is_booked_at_the_deployment_that_timed_out() -> None:
    stair = Stair(small=FREE_THEN_DEAR, prices=THEIR_PRICES).open()
    stair.upstream.add(plain({}, 500), Scripted(ending=Ending.SILENT))

    answer, _ = await stair.ask()

    record = stair.record
    assert answer.status == 504
    assert (record.deployment, record.provider, record.model_served) == ("dear/dear-model", "dear", "dear-model")
    assert record.cost > 0
    assert [attempt.cost for attempt in record.attempts] == [0, record.cost]


async def test_a_batch_of_embeddings_may_pass_the_window_that_binds_each_of_its_texts() -> None:
    stair = Stair(small=windowed(100)).open()
    data = [{"embedding": [1.0]}] * 40
    stair.upstream.add(plain({"object": "list", "data": data, "usage": {"prompt_tokens": 400, "total_tokens": 400}}))

    await stair.ask(Endpoint.EMBEDDINGS, model=SMALL, input=["ten words"] * 40)

    assert (stair.record.cost, stair.record.usage.source) == (400_000, UsageSource.PROVIDER)
    assert stair.ledger.overages == 0


async def test_several_prompts_may_together_pass_the_window_that_binds_each_of_them() -> None:
    stair = Stair(small=windowed(100)).open()
    choices = [{"index": index, "text": "a", "finish_reason": "stop"} for index in range(4)]
    stair.upstream.add(plain({"id": "x", "object": "text_completion", "choices": choices, "usage": usage(300, 4)}))

    await stair.ask(Endpoint.COMPLETIONS, model=SMALL, prompt=["word " * 75] * 4)

    assert (stair.record.usage.input_total, stair.record.usage.source) == (300, UsageSource.PROVIDER)
    assert stair.ledger.overages == 0


async def test_a_search_run_by_the_provider_may_read_more_than_the_window_turn_after_turn() -> None:
    stair = Stair(small=windowed(1000)).open()
    figures = {"input_tokens": 31_772, "output_tokens": 20, "total_tokens": 31_792}
    stair.upstream.add(plain({"id": "r", "object": "response", "status": "completed", "output": [], "usage": figures}))

    await stair.ask(Endpoint.RESPONSES, input="news?", tools=[{"type": "web_search"}])

    assert (stair.record.usage.input_total, stair.record.usage.source) == (31_772, UsageSource.PROVIDER)
    assert stair.ledger.overages == 0


async def test_an_estimate_stays_within_what_was_held() -> None:
    stair = Stair(small=windowed(100)).open()
    stair.upstream.add(Scripted(ending=Ending.SILENT))

    await stair.ask(messages=[{"role": "user", "content": "x" * 5000}])

    assert stair.record.usage.input_total == 100
    assert stair.ledger.overages == 0


async def test_a_client_that_reads_slowly_pays_no_more_seconds_than_the_provider_may_work() -> None:
    by_the_second = PriceOverride(provider="one", model=SMALL, per_second=Decimal("0.01"))
    stair = Stair(prices=(by_the_second, dollars("one", LARGE))).open()
    stair.upstream.add(stream(*frames(chunk("a"), chunk(finish="stop"), usage_chunk(10, 5))))

    async with await serve(stair.request(stream=True), stair.runtime) as answer:
        async for _ in answer.chunks():
            stair.clock.advance(1000)

    # 600 seconds, the total that the provider is given, at 0.01 USD.
    assert stair.record.cost == 6_000_000_000
    assert stair.ledger.overages == 0
