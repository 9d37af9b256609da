"""Money at the edges: what a call may cost at most, what it is booked at, and to whom, when something is unusual."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from farthing.call import Endpoint
from farthing.catalog import Deployment, PriceOverride, Timeouts
from farthing.errors import LedgerUnavailable
from farthing.hold import Hold
from farthing.record import Outcome, Record
from farthing.usage import UsageSource
from gateway.books import Books
from gateway.pipeline import serve
from gateway.upstreams.testing import Ending, Scripted, ScriptedAnswer, ScriptedUpstream
from ledger.testing import ManualClock, MemoryLedger
from tests.scripted_pipeline import (
    LARGE,
    SMALL,
    Stair,
    chunk,
    completion,
    dollars,
    frames,
    headers_of,
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


class HangingAtSecond(ScriptedUpstream):
    """Never answers the second request."""

    def __init__(self, *script: Scripted) -> None:
        super().__init__(*script)
        self.hanging = asyncio.Event()

    async def send(self, deployment: Deployment, operation: str, body: bytes, *, stream: bool) -> ScriptedAnswer:
        if self.sent:
            self.hanging.set()
            await asyncio.Event().wait()
        return await super().send(deployment, operation, body, stream=stream)


class Uncancellable(asyncio.Future[Any]):
    """The result of a settlement as the port wants it."""

    def cancel(self, msg: object = None) -> bool:
        return False


class SlowlyFailing(MemoryLedger):
    """Its disk refuses each settlement, a moment later."""

    def settle(self, hold: Hold | None, record: Record) -> asyncio.Future[None]:
        result = Uncancellable()
        asyncio.get_running_loop().call_later(0.01, result.set_exception, LedgerUnavailable())
        return result


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

    await stair.ask(Endpoint.EMBEDDINGS, model=SMALL, input=[f"ten words {number}" for number in range(40)])

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


async def test_a_client_that_leaves_during_a_second_attempt_is_booked_at_that_one() -> None:
    upstream = HangingAtSecond(plain({}, 500))
    stair = Stair(upstream=upstream, small=FREE_THEN_DEAR, prices=THEIR_PRICES).open()

    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(serve(stair.request(stream=True), stair.runtime))
        await upstream.hanging.wait()
        call.cancel()

    record = stair.record
    assert (record.outcome, record.provider, record.deployment) == (Outcome.ABORTED, "dear", "dear/dear-model")
    assert record.cost > 0
    assert [attempt.error for attempt in record.attempts] == ["http_500", "unfinished"]


async def test_a_provider_without_money_is_passed_over() -> None:
    stair = Stair(small=FREE_THEN_DEAR, prices=THEIR_PRICES).open()
    stair.upstream.add(plain({"error": {"message": "out of credit"}}, 402), plain(completion(usage=usage(10, 5))))

    answer, _ = await stair.ask()

    assert (answer.status, stair.record.provider) == (200, "dear")


@pytest.mark.parametrize(
    ("provider_field", "sent", "received"),
    [
        ("max_tokens", {}, {"max_tokens": 100}),
        ("max_tokens", {"max_tokens": 7}, {"max_tokens": 7}),
        ("max_tokens", {"max_completion_tokens": 7}, {"max_tokens": 7, "max_completion_tokens": None}),
        ("max_tokens", {"max_tokens": 5, "max_completion_tokens": 7}, {"max_tokens": 5, "max_completion_tokens": 7}),
        ("max_completion_tokens", {}, {"max_completion_tokens": 100}),
        ("max_completion_tokens", {"max_tokens": 7}, {"max_tokens": 7}),
    ],
)
async def test_the_cap_that_is_held_reaches_the_provider_in_a_field_that_it_obeys(
    provider_field: str, sent: dict[str, int], received: dict[str, int]
) -> None:
    place = Deployment(name=SMALL, provider=provider("one", output_cap_field=provider_field), model=SMALL)
    stair = Stair(small=(place,)).open()
    stair.upstream.add(plain(completion(usage=usage(10, 5))))

    await stair.ask(**sent)

    body = orjson.loads(stair.upstream.sent[0].body)
    assert {name: value for name, value in body.items() if name.startswith("max_")} == received


async def test_a_hold_lives_as_long_as_its_call_however_slowly_the_body_came_in() -> None:
    stair = Stair().open()
    request = stair.request(stream=True)
    stair.clock.advance(700)  # more than the 600 seconds of the provider and the 60 of grace
    stair.upstream.add(stream(*frames(chunk("a"), chunk(finish="stop"), usage_chunk(10, 5))))

    async with await serve(request, stair.runtime) as answer:
        expired = await stair.ledger.recover()
        async for _ in answer.chunks():
            pass

    assert expired == 0
    assert stair.record.outcome is Outcome.SUCCESS


async def test_a_ledger_that_is_gone_refuses_before_anything_is_sent() -> None:
    stair = Stair().open()
    stair.ledger.broken = True

    answer, _ = await stair.ask()
    await asyncio.sleep(0)  # nobody waits for what came of the refused call's record

    assert (answer.status, headers_of(answer)["x-should-retry"]) == (503, "true")
    assert not stair.upstream.sent
    assert (stair.records, stair.runtime.books.unwritten) == ([], 1)


async def test_a_ledger_that_goes_in_mid_call_keeps_the_hold_and_is_witnessed_by_nobody() -> None:
    stair = Stair().open()
    stair.upstream.add(stream(*frames(chunk("a"), chunk(finish="stop"), usage_chunk(10, 5))))

    async with await serve(stair.request(stream=True), stair.runtime) as answer:
        async for _ in answer.chunks():
            stair.ledger.broken = True

    assert len(stair.ledger.holds) == 1
    assert (stair.records, stair.runtime.books.unwritten) == ([], 1)


async def test_a_caller_cancelled_while_the_ledger_fails_counts_as_unwritten() -> None:
    ledger = SlowlyFailing(ManualClock())
    witnessed: list[Record] = []
    books = Books(ledger, ManualClock(), lambda _tags, _now: (), (witnessed.append,))
    page = books.open(Stair().request())

    async with asyncio.TaskGroup() as tasks:
        closing = tasks.create_task(page.close(Outcome.REJECTED, 400))
        await asyncio.sleep(0)
        closing.cancel()

    assert closing.cancelled()
    assert (witnessed, books.unwritten) == ([], 1)


async def test_a_failover_to_a_slower_provider_does_not_outlive_the_hold() -> None:
    quick = Deployment(
        name=SMALL, provider=replace(provider("free"), timeouts=Timeouts(total=10.0)), model="free-model"
    )
    stair = Stair(small=(quick, FREE_THEN_DEAR[1]), prices=THEIR_PRICES).open()
    answer = stream(*frames(chunk("a"), chunk(finish="stop"), usage_chunk(10, 5)))
    stair.upstream.add(plain({}, 500), answer)

    async with await serve(stair.request(stream=True), stair.runtime) as served:
        async for _ in served.chunks():
            stair.clock.advance(100)
            assert await stair.ledger.recover() == 0


async def test_a_plain_answer_that_never_came_is_booked_at_its_cap_and_within_its_hold() -> None:
    stair = Stair().open()
    stair.upstream.add(Scripted(ending=Ending.SILENT))

    await stair.ask(max_tokens=50, n=2)

    assert stair.record.usage.source is UsageSource.ESTIMATED
    assert stair.record.usage.output_total == 100
    assert stair.ledger.overages == 0


async def test_a_stored_answer_that_cannot_be_replayed_is_no_hit_on_the_books() -> None:
    stair = Stair().open()
    strange = [{"type": "function_call", "id": "f", "call_id": "c", "status": "completed", "name": "x"}]
    tokens = {"input_tokens": 3, "output_tokens": 3, "total_tokens": 6}
    stair.upstream.add(
        plain({"id": "r", "object": "response", "status": "completed", "output": strange, "usage": tokens})
    )
    await stair.ask(Endpoint.RESPONSES, input="x")

    answer, _ = await stair.ask(Endpoint.RESPONSES, input="x", stream=True)

    assert (answer.status == 200) == (stair.records[-1].outcome is Outcome.HIT)


@pytest.mark.parametrize("streamed", [False, True])
async def test_searches_that_the_provider_made_are_charged_by_the_piece(streamed: bool) -> None:
    stair = Stair(prices=(dollars("one", SMALL, per_web_search=Decimal("0.01")), dollars("one", LARGE))).open()
    counted = usage(10, 5) | {"server_tool_use_details": {"web_search_requests": 2}}
    events = frames(chunk("a"), chunk(finish="stop"), {"choices": [], "usage": counted})
    stair.upstream.add(stream(*events) if streamed else plain(completion(usage=counted)))

    await stair.ask(stream=streamed)

    assert stair.record.cost == 10 * 1000 + 5 * 2000 + 2 * 10_000_000
    assert stair.record.usage.source is UsageSource.PROVIDER


async def test_searches_without_a_price_are_marked() -> None:
    stair = Stair().open()
    counted = usage(10, 5) | {"server_tool_use_details": {"web_search_requests": 2}}
    stair.upstream.add(plain(completion(usage=counted)))

    await stair.ask()

    assert stair.record.usage.source is UsageSource.ESTIMATED
