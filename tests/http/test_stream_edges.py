"""Streams that end in unusual ways: what the client reads, what the books say, what the cache keeps."""

from typing import Any

import orjson

from farthing.call import Endpoint
from farthing.catalog import Deployment
from farthing.record import Outcome
from farthing.usage import UsageSource
from gateway.pipeline import serve
from gateway.upstreams.testing import Ending
from tests.scripted_pipeline import (
    SMALL,
    Stair,
    chunk,
    frames,
    headers_of,
    provider,
    stream,
    usage,
    usage_chunk,
)


def text_chunk(text: str = "", finish: str | None = None) -> dict[str, Any]:
    """One chunk of /v1/completions."""
    choices = [{"index": 0, "text": text, "finish_reason": finish, "logprobs": None}]
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": choices}


async def test_a_cut_while_one_of_two_choices_is_running_is_told_and_is_no_success() -> None:
    stair = Stair().open()
    begun = (chunk("a"), chunk("b", index=1), chunk(finish="stop"), chunk("more", index=1))
    stair.upstream.add(stream(*frames(*begun, done=False)))

    _, text = await stair.ask(stream=True, n=2)

    assert stair.record.outcome is Outcome.UPSTREAM_ERROR
    assert b'"error"' in text
    assert b"[DONE]" not in text


async def test_two_finished_choices_without_done_are_a_success() -> None:
    stair = Stair().open()
    ended = (chunk("a"), chunk("b", index=1), chunk(finish="stop"), chunk(finish="stop", index=1), usage_chunk(9, 2))
    stair.upstream.add(stream(*frames(*ended, done=False)))

    _, text = await stair.ask(stream=True, n=2)

    assert stair.record.outcome is Outcome.SUCCESS
    assert text.endswith(b"data: [DONE]\n\n")


async def test_done_without_a_finish_reason_is_a_success_and_not_a_client_that_left() -> None:
    stair = Stair().open()
    stair.upstream.add(stream(*frames(chunk("a"), usage_chunk(10, 1))))

    await stair.ask(stream=True)

    assert (stair.record.outcome, stair.record.status) == (Outcome.SUCCESS, 200)


async def test_a_connection_cut_after_done_loses_nothing_and_the_answer_is_kept() -> None:
    stair = Stair().open()
    whole = frames(chunk("a"), chunk(finish="stop"), usage_chunk(10, 1))
    stair.upstream.add(stream(*whole, ending=Ending.CUT))

    await stair.ask(stream=True)

    assert stair.record.outcome is Outcome.SUCCESS
    again, _ = await stair.ask(stream=True)
    assert headers_of(again)["x-farthing-cache"] == "exact"


async def test_a_response_that_failed_is_no_success() -> None:
    stair = Stair().open()
    failed = {"type": "response.failed", "response": {"status": "failed", "error": {"message": "x"}, "usage": None}}
    stair.upstream.add(stream(b"event: response.failed\ndata: " + orjson.dumps(failed) + b"\n\n"))

    _, text = await stair.ask(Endpoint.RESPONSES, input="x", stream=True)

    assert stair.record.outcome is Outcome.UPSTREAM_ERROR
    assert text.count(b"event:") == 1


async def test_a_cut_response_ends_in_an_error_event_of_its_own_dialect() -> None:
    stair = Stair().open()
    created = b'event: response.created\ndata: {"type":"response.created","sequence_number":0}\n\n'
    stair.upstream.add(stream(created, ending=Ending.CUT))

    _, text = await stair.ask(Endpoint.RESPONSES, input="x", stream=True)

    name, data = text.removesuffix(b"\n\n").split(b"\n\n")[-1].split(b"\n")
    event = orjson.loads(data.removeprefix(b"data: "))
    assert name == b"event: error"
    assert (event["type"], event["sequence_number"]) == ("error", 1)
    assert {"message", "code", "param"} <= event.keys()


async def test_a_usage_chunk_that_cannot_be_relied_on_is_hidden_all_the_same() -> None:
    place = Deployment(name=SMALL, provider=provider("one", usage_covers_choices=False), model=SMALL)
    stair = Stair(small=(place,)).open()
    ended = (chunk("a"), chunk("b", index=1), chunk(finish="stop"), chunk(finish="stop", index=1), usage_chunk(9, 1))
    stair.upstream.add(stream(*frames(*ended)))

    _, text = await stair.ask(stream=True, n=2)

    assert b'"choices":[]' not in text
    assert stair.record.usage.source is UsageSource.ESTIMATED


async def test_an_empty_chunk_without_usage_is_passed_on() -> None:
    stair = Stair().open()
    flagged = {**chunk(), "choices": [], "prompt_filter_results": [], "usage": None}
    stair.upstream.add(stream(*frames(flagged, chunk("a"), chunk(finish="stop"), usage_chunk(10, 1))))

    _, text = await stair.ask(stream=True)

    assert b"prompt_filter_results" in text
    assert b'"total_tokens"' not in text


async def test_half_an_event_before_a_silent_close_is_dropped_and_the_cut_is_told() -> None:
    stair = Stair().open()
    stair.upstream.add(stream(*frames(chunk("a"), done=False), b'data: {"id": "half'))

    _, text = await stair.ask(stream=True)

    assert b"half" not in text
    assert b'"error"' in text


async def test_a_whole_last_event_without_its_blank_line_is_passed_on() -> None:
    stair = Stair().open()
    whole = frames(chunk("a"), chunk(finish="stop"), usage_chunk(10, 1))
    stair.upstream.add(stream(*whole[:-1], b"data: [DONE]"))

    _, text = await stair.ask(stream=True)

    assert text.endswith(b"data: [DONE]\n\n")
    assert text.count(b"[DONE]") == 1


async def test_a_first_usage_is_not_the_bill_of_a_stream_that_is_cut() -> None:
    stair = Stair().open()
    deltas = [chunk("word ") for _ in range(30)]
    stair.upstream.add(stream(*frames(chunk(usage=usage(10, 1)), *deltas, done=False), ending=Ending.CUT))

    await stair.ask(stream=True)

    booked = stair.record.usage
    assert booked.source is UsageSource.ESTIMATED
    # "word word word ... ": a token a word, and one for the space at the end.
    assert (booked.input_total, booked.output_total) == (10, 31)


async def test_an_error_with_its_usage_inside_a_stream_is_billed_by_that_usage() -> None:
    stair = Stair().open()
    failed = chunk(finish="error", error={"message": "boom", "code": 502}, usage=usage(9, 8))
    stair.upstream.add(stream(*frames(chunk("abcd" * 10), failed)))

    await stair.ask(stream=True)

    assert stair.record.outcome is Outcome.UPSTREAM_ERROR
    assert (stair.record.usage.output_total, stair.record.usage.source) == (8, UsageSource.PROVIDER)
    again, _ = await stair.ask(stream=True)
    assert headers_of(again)["x-farthing-cache"] == "miss"


async def test_a_client_that_leaves_between_the_finish_and_the_usage_pays_for_what_it_got() -> None:
    stair = Stair().open()
    stair.upstream.add(stream(*frames(chunk("abcd" * 10), chunk(finish="stop"), usage_chunk(10, 10))))

    async with await serve(stair.request(stream=True), stair.runtime) as answer:
        async for data in answer.chunks():
            if b'"stop"' in data:
                break

    assert (stair.record.usage.output_total, stair.record.usage.source) == (10, UsageSource.ESTIMATED)
    assert stair.upstream.answers[0].closed


async def test_a_text_completion_stream_is_priced_hidden_and_kept() -> None:
    stair = Stair().open()
    last = {**text_chunk(), "choices": [], "usage": usage(3, 2)}
    stair.upstream.add(stream(*frames(text_chunk("a"), text_chunk("b"), text_chunk(finish="stop"), last)))

    _, text = await stair.ask(Endpoint.COMPLETIONS, prompt="x", stream=True)

    assert b'"choices":[]' not in text
    assert stair.record.usage.output_total == 2
    again, _ = await stair.ask(Endpoint.COMPLETIONS, prompt="x", stream=True)
    assert headers_of(again)["x-farthing-cache"] == "exact"
