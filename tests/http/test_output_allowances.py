"""Streams that hold less than their cap: more is held as they go on, they stop where there is no more, and no cap is
ever passed."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.call import Endpoint
from farthing.catalog import HangUp, OutputBound
from farthing.money import Nano
from farthing.record import Outcome
from farthing.usage import Usage, UsageSource
from gateway.allowances import UNSEEN_TOKENS, output_bytes
from gateway.outputbounds import LEAST_SAMPLES
from gateway.pipeline import serve
from gateway.relay import frames as cut_into_frames
from tests.scripted_pipeline import (
    CHAT,
    PLENTY,
    SMALL,
    Stair,
    chunk,
    completion,
    dollars,
    frames,
    leave_after,
    plain,
    stream,
    usage,
    usage_chunk,
)

INPUT = 1_000_000
"""Nano-dollars that are more than enough for the input of these calls, about 100 tokens of 1000 each."""
TOKEN = 2000
"""Nano-dollars of an output token."""
SEEN = 40
LEARNED = SEEN * 3 // 2 + UNSEEN_TOKENS
CAP = 10_000


def learned(*, limit: int = PLENTY, samples: int = LEAST_SAMPLES, **feature: object) -> Stair:
    """A stair whose feature has had answers of SEEN tokens."""
    policy = replace(CHAT, output_bound=OutputBound.LEARNED, max_output_tokens=CAP, **feature)  # type: ignore[arg-type]
    stair = Stair(feature=policy, limit=Nano(limit)).open()
    stair.runtime.outputs.seed([("chat", SMALL, Usage(output=SEEN))] * samples)
    return stair


def pieces(count: int, size: int = 10) -> Sequence[bytes]:
    """Chunks of so many characters each, then the end."""
    return frames(*[chunk("x" * size) for _ in range(count)], chunk("", "stop"), usage_chunk(20, count))


async def held_at_first(stair: Stair, **body: object) -> int:
    """Nano-dollars set aside before anything came."""
    answer = await serve(stair.request(stream=True, **body), stair.runtime)
    (hold,) = stair.ledger.holds.values()
    async with answer:
        async for _ in answer.chunks():
            pass
    return hold.amount


async def test_a_stream_holds_what_answers_were_like_and_not_its_cap() -> None:
    stair = learned()
    stair.upstream.add(stream(*pieces(3)))

    amount = await held_at_first(stair)

    assert LEARNED * TOKEN < amount < LEARNED * TOKEN + INPUT
    assert stair.record.cost == 20 * 1000 + 3 * TOKEN


@pytest.mark.parametrize(
    ("feature", "samples", "body"),
    [
        ({"output_bound": OutputBound.CAP}, LEAST_SAMPLES, {}),
        ({}, LEAST_SAMPLES - 1, {}),
        ({}, LEAST_SAMPLES, {"reasoning_effort": "low"}),
        ({}, LEAST_SAMPLES, {"modalities": ["text", "audio"]}),
        ({}, LEAST_SAMPLES, {"web_search_options": {}}),
        ({}, LEAST_SAMPLES, {"n": 2}),
    ],
    ids=["not asked for", "too few answers", "reasoning", "audio", "tools of the provider", "choices"],
)
async def test_the_cap_is_held_where_the_output_may_not_be_seen(
    feature: dict[str, object], samples: int, body: dict[str, object]
) -> None:
    stair = learned(samples=samples)
    if feature:
        stair.feature = replace(stair.feature, **feature)  # type: ignore[arg-type]
        stair.runtime.generation = stair._generation()
    stair.upstream.add(stream(*pieces(3)))

    amount = await held_at_first(stair, **body)

    whole = LEARNED + UNSEEN_TOKENS if body.get("n") else CAP
    assert whole * TOKEN < amount


async def test_a_plain_call_holds_its_cap() -> None:
    stair = learned(limit=CAP * TOKEN)
    stair.upstream.add(plain(completion(usage=usage(20, 3))))

    answer, _ = await stair.ask()

    assert answer.status == 402


async def test_a_stream_that_outgrows_its_hold_holds_more_and_goes_on() -> None:
    stair = learned()
    stair.upstream.add(stream(*pieces(200)))
    request = stair.request(stream=True)

    async with await serve(request, stair.runtime) as answer:
        received = [data async for data in answer.chunks()]
        told = stair.ledger.records[request.id]

    assert len(received) == 202  # the chunk that only we asked for is not among them
    assert (told.outcome, told.cost) == (Outcome.SUCCESS, 20 * 1000 + 200 * TOKEN)
    assert (stair.ledger.overages, stair.ledger.holds) == (0, {})


async def test_a_stream_stops_where_the_budget_has_no_more_and_is_booked_by_what_came() -> None:
    stair = learned(limit=LEARNED * TOKEN + INPUT)
    stair.upstream.add(stream(*pieces(2000)))

    answer, body = await stair.ask(stream=True)

    assert answer.status == 200
    *said, error = body.removesuffix(b"\n\n").split(b"\n\n")
    told = orjson.loads(error.removeprefix(b"data: "))["error"]
    assert (told["code"], told["budget"]["id"]) == ("budget_exceeded", "all")
    assert len(said) * 10 < LEARNED + INPUT // TOKEN
    assert stair.upstream.answers[0].closed
    record = stair.record
    assert (record.outcome, record.status, record.error_code) == (Outcome.ABORTED, 402, "budget_exceeded")
    assert record.refused_by == f"all|{told['budget']['scope']}"
    assert record.usage.source is UsageSource.ESTIMATED
    assert 0 < record.cost <= LEARNED * TOKEN + INPUT
    assert (stair.ledger.overages, sum(stair.ledger.held.values())) == (0, 0)


async def test_a_responses_stream_is_stopped_in_its_own_dialect() -> None:
    stair = learned(limit=LEARNED * TOKEN + INPUT)
    deltas = [{"type": "response.output_text.delta", "delta": "x" * 20, "sequence_number": n} for n in range(500)]
    stair.upstream.add(stream(*frames(*deltas, done=False)))

    _, body = await stair.ask(Endpoint.RESPONSES, stream=True, input="hello")

    last = body.removesuffix(b"\n\n").split(b"\n\n")[-1]
    assert last.startswith(b"event: error\ndata: ")
    assert orjson.loads(last.removeprefix(b"event: error\ndata: "))["code"] == "budget_exceeded"


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
async def test_a_stream_that_comes_all_at_once_is_paid_for_event_by_event(end: bytes) -> None:
    stair = learned(limit=LEARNED * TOKEN + INPUT)
    whole = b"".join(frame.replace(b"\n\n", end) for frame in pieces(2000))
    stair.upstream.add(stream(whole))

    _, body = await stair.ask(stream=True)

    assert b"budget_exceeded" in body
    assert stair.record.cost <= LEARNED * TOKEN + INPUT
    assert stair.ledger.overages == 0


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r", b"data: x\n\n", b"\r\n\r\n"]), max_size=12).map(b"".join))
def test_cutting_into_frames_loses_no_byte(data: bytes) -> None:
    cut = cut_into_frames(data)

    assert b"".join(cut) == data
    assert all(cut)


async def test_a_stopped_stream_is_not_kept() -> None:
    stair = learned(limit=LEARNED * TOKEN + INPUT)
    stair.upstream.add(stream(*pieces(2000)))

    await stair.ask(stream=True)
    stair.upstream.add(stream(*pieces(1)))
    await stair.ask(stream=True)

    assert len(stair.upstream.sent) == 2


async def test_a_ledger_that_fails_stops_the_stream_too() -> None:
    stair = learned()
    stair.upstream.add(stream(*pieces(2000)))

    async with await serve(stair.request(stream=True), stair.runtime) as answer:
        received = answer.chunks()
        await anext(received)
        stair.ledger.broken = True
        body = b"".join([data async for data in received])

    assert b"ledger_unavailable" in body
    assert stair.upstream.answers[0].closed


async def test_a_plain_answer_to_a_stream_is_held_whole_before_it_is_read() -> None:
    fits, does_not = learned(), learned(limit=LEARNED * TOKEN + INPUT)
    for stair in (fits, does_not):
        stair.upstream.add(plain(completion(usage=usage(20, 3))))

    served, _ = await fits.ask(stream=True)
    refused, _ = await does_not.ask(stream=True)

    assert (served.status, refused.status) == (200, 402)
    assert (does_not.record.outcome, does_not.record.error_code) == (Outcome.ABORTED, "budget_exceeded")
    assert 0 < does_not.record.cost <= LEARNED * TOKEN + INPUT
    assert does_not.upstream.answers[0].closed
    assert does_not.ledger.overages == 0


async def test_a_provider_that_sends_an_answer_in_one_piece_is_not_trusted_with_less_than_the_cap_again() -> None:
    stair = learned()
    stair.upstream.add(stream(*pieces(1, size=5000)), stream(*pieces(1)))
    await stair.ask(stream=True)

    amount = await held_at_first(stair, messages=[{"role": "user", "content": "another"}])

    assert amount > CAP * TOKEN


@pytest.mark.parametrize("chunks", [0, 1, 30])
async def test_a_drained_stream_outgrows_its_hold_as_well_and_loses_no_frame(chunks: int) -> None:
    stair = learned(on_hang_up=HangUp.DRAIN)
    stair.upstream.add(stream(b"".join(pieces(200))))

    await leave_after(stair, chunks)
    await stair.runtime.drains.settle()

    assert (stair.record.outcome, stair.record.cost) == (Outcome.ABORTED, 20 * 1000 + 200 * TOKEN)
    assert stair.ledger.overages == 0


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 120), min_size=1, max_size=12),
    characters=st.sampled_from(["x", "é", "語", "🙂"]),
    room=st.integers(0, 3000),
)
async def test_no_crowd_of_streams_passes_the_cap_whatever_they_say(
    sizes: list[int], characters: str, room: int
) -> None:
    limit = room * TOKEN
    stair = learned(limit=limit)
    for size in sizes:
        deltas = [chunk(characters) for _ in range(size)]  # the densest there can be: a token for each byte
        billed = size * len(characters.encode())
        stair.upstream.add(stream(*frames(*deltas, chunk("", "stop"), usage_chunk(20, billed))))

    asked = [stair.ask(stream=True, messages=[{"role": "user", "content": str(n)}]) for n in range(len(sizes))]
    await asyncio.gather(*asked)

    assert sum(stair.ledger.spent.values()) <= limit
    assert (stair.ledger.overages, sum(stair.ledger.held.values()), stair.ledger.holds) == (0, 0, {})
    assert len(stair.ledger.records) == len(sizes)


@pytest.mark.parametrize(
    ("event", "least"),
    [
        (chunk("abc"), 3),
        (chunk("語"), 3),
        ({"choices": [{"delta": {"tool_calls": [{"function": {"name": "f", "arguments": '{"a":1}'}}]}}]}, 8),
        ({"choices": [{"text": "abc", "logprobs": None}]}, 3),
        ({"type": "response.output_text.delta", "delta": "abc"}, 3),
        ({"type": "response.completed", "response": {"output": "abc"}}, 0),
        ({"choices": None}, 0),
        ({"choices": ["odd"]}, 0),
        ({"error": {"message": "x"}}, 0),
    ],
)
def test_every_text_of_an_event_counts_by_its_bytes(event: dict[str, object], least: int) -> None:
    assert output_bytes(event) == least


async def test_a_learned_bound_needs_the_price_of_its_model_as_any_hold() -> None:
    stair = learned()
    stair.prices = (dollars("other", "m"),)
    stair.runtime.generation = stair._generation()

    answer, body = await stair.ask(stream=True)

    assert (answer.status, orjson.loads(body)["error"]["code"]) == (400, "unpriced_model")
