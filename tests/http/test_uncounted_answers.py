"""What is booked where the provider did not count: by the tokenizer what was delivered and what was asked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from farthing.call import Endpoint
from farthing.record import Outcome
from farthing.usage import UsageSource
from gateway.tokens import COUNTED_AT_ONCE
from gateway.upstreams.testing import Ending
from ledger.tokens import count_tokens, load
from tests.scripted_pipeline import (
    Stair,
    chunk,
    completion,
    frames,
    leave_after,
    plain,
    provider,
    stream,
    usage,
    with_provider,
)

RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "sse" / "pydantic-ai"
ASKED = [{"role": "user", "content": "hello"}]
IN = 1 + 4 + 3
"""Its input: a token of text, four around the message, three before the answer."""


def delta(**members: Any) -> dict[str, Any]:
    return {**chunk(), "choices": [{"index": 0, "delta": members, "finish_reason": None}]}


def call(at: int, arguments: str, **function: str) -> dict[str, Any]:
    more = {"id": f"c{at}", "type": "function"} if function else {}
    return delta(tool_calls=[{"index": at, "function": {"arguments": arguments, **function}, **more}])


SPOKEN: Sequence[dict[str, Any]] = (
    delta(role="assistant", content=""),
    *(delta(reasoning_content=text) for text in ("The user ", "greets; ", "antiestab", "lishment.")),
    *(delta(content=text) for text in ("Guten", " Tag", ", 你", "好", "! 👋🏽", " Wie", " geht", " es", " Ihnen", "?")),
    call(0, "", name="get_weather"),
    *(call(0, text) for text in ('{"ci', 'ty": ', '"Köln"}')),
    call(1, '{"unit":', name="convert"),
    call(1, '"celsius"}'),
)
"""As recorded: text in pieces that are no tokens, reasoning, calls of tools."""
ODD = delta(content=" (odd)", annotation_of_a_kind_that_nobody_knows={"a": 1})


def least(events: Sequence[dict[str, Any]]) -> int:
    """The count, or the pieces of text where these are more: a provider sends a token at least with each."""
    return max(said(events), sum(bool(said([event])) for event in events))


def said(events: Sequence[dict[str, Any]]) -> int:
    """The tokenizer's count of all that these events say, each kind of text whole. Written apart from the gateway."""
    texts: dict[object, str] = {}
    for event in events:
        for choice in event.get("choices") or ():
            at, piece = choice.get("index"), choice.get("delta") or {}
            for name in ("content", "reasoning_content", "reasoning", "refusal"):
                if isinstance(piece.get(name), str):
                    texts[at, name] = texts.get((at, name), "") + piece[name]
            for tool in piece.get("tool_calls") or ():
                for name, text in (tool.get("function") or {}).items():
                    if text and name in ("name", "arguments"):
                        key = (at, tool["index"], name)
                        texts[key] = texts.get(key, "") + text if name == "arguments" else text
    return count_tokens(texts.values())


def recorded(name: str) -> list[dict[str, Any]]:
    """The events of a recording up to its end, without the usage that would spare us the estimate."""
    lines = (RECORDINGS / name).read_bytes().splitlines()
    events = [orjson.loads(line[5:]) for line in lines if line.startswith(b"data:") and b"[DONE]" not in line]
    return [{key: value for key, value in event.items() if key not in ("usage", "x_groq")} for event in events]


async def booked_after(events: Sequence[dict[str, Any]], received: int) -> Any:
    """The record of a stream whose client leaves when it has so many of the events."""
    stair = Stair().open()
    stair.upstream.add(stream(*frames(*events, done=False), ending=Ending.STALL))
    await leave_after(stair, received)
    return stair.record


@pytest.mark.parametrize("events", [SPOKEN, [*SPOKEN[:9], ODD, *SPOKEN[9:]]], ids=["understood", "not understood"])
async def test_a_client_that_leaves_is_charged_what_was_delivered_wherever_it_leaves(
    events: Sequence[dict[str, Any]],
) -> None:
    for received in range(1, len(events) + 1):
        record = await booked_after(events, received)

        assert record.outcome is Outcome.ABORTED
        assert (record.usage.source, record.usage.input_total) == (UsageSource.ESTIMATED, IN)
        assert record.cost > 0
        assert abs(record.usage.output_total - least(events[:received])) <= 1, received


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not here")
@pytest.mark.parametrize(
    "name",
    [
        "api.openai.com__test_openai__test_run_stream_sync_streams_real_model__1.sse",
        "api.groq.com__test_groq__test_tool_use_failed_error_streaming__0.sse",
        "api.groq.com__test_groq__test_tool_use_failed_error_streaming_with_text__0.sse",
        "openrouter.ai__test_openrouter__test_openrouter_stream_with_reasoning__0.sse",
        "openrouter.ai__test_openrouter__test_openrouter_stream_with_native_options__0.sse",
    ],
)
async def test_the_same_for_streams_of_providers(name: str) -> None:
    events = [event for event in recorded(name) if not event.get("error")]
    for received in range(1, len(events) + 1):
        record = await booked_after(events, received)

        assert record.cost > 0
        assert abs(record.usage.output_total - least(events[:received])) <= 2, received


async def test_every_choice_is_counted_by_itself() -> None:
    one, two = chunk("One answer.", index=0), chunk("Another answer.", index=1)
    stair = Stair().open()
    stair.upstream.add(stream(*frames(one, two, done=False), ending=Ending.CUT))

    await stair.ask(stream=True, n=2)

    assert stair.record.usage.output_total == count_tokens(["One answer.", "Another answer."])


async def test_a_stream_of_responses_is_counted_by_its_items() -> None:
    def event(text: str, item: int, kind: str = "response.output_text.delta") -> dict[str, Any]:
        return {"type": kind, "output_index": item, "content_index": 0, "delta": text}

    calls = "response.function_call_arguments.delta"
    events = [event("anti", 0), event('{"a"', 1, calls), event("establish", 0), event(":1}", 1, calls)]
    stair = Stair().open()
    stair.upstream.add(stream(*frames(*events, done=False), ending=Ending.CUT))

    await stair.ask(Endpoint.RESPONSES, stream=True, input="hello")

    assert stair.record.usage.output_total == count_tokens(["antiestablish", '{"a":1}'])


async def test_a_long_answer_is_counted_off_the_loop_and_as_exactly() -> None:
    load()
    text = "Sphinx of black quartz, judge my vow. " * 2_000
    assert len(text) > COUNTED_AT_ONCE
    stair = Stair().open()
    pieces = [chunk(text[at : at + 1_000]) for at in range(0, len(text), 1_000)]
    stair.upstream.add(stream(*frames(*pieces, done=False), ending=Ending.CUT))

    await stair.ask(stream=True)

    assert abs(stair.record.usage.output_total - count_tokens([text])) <= 1


async def test_a_plain_answer_without_usage_is_counted() -> None:
    stair = Stair().open()
    stair.upstream.add(plain(completion("Guten Tag, 你好!")))

    await stair.ask()

    booked = stair.record.usage
    assert (booked.input_total, booked.output_total) == (IN, count_tokens(["Guten Tag, 你好!"]))
    assert booked.source is UsageSource.ESTIMATED


async def test_a_provider_that_counts_one_choice_of_two_is_not_believed() -> None:
    stair = Stair(small=(with_provider(provider("one", usage_covers_choices=False)),)).open()
    stair.upstream.add(plain(completion("Hello there.", usage=usage(1, 1))))

    await stair.ask(n=2)

    assert stair.record.usage.output_total == count_tokens(["Hello there."])
