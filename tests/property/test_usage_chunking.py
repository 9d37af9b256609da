"""The same usage of a stream however its bytes arrive and however it is framed."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.usage_golden import RECORDINGS, manifest
from farthing.sse import Event, Reader
from ledger.statement import Statement
from ledger.usage import UsageReader

TEXT = {"choices": [{"index": 0, "delta": {"content": "é\u2028 data: "}, "finish_reason": None}], "usage": None}
STREAMS: dict[str, list[dict[str, Any]]] = {
    "chat": [
        TEXT,
        {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
        {"choices": [], "service_tier": "flex", "usage": {"prompt_tokens": 9, "completion_tokens": 4, "cost": 0.25}},
    ],
    "chat with an error in the stream": [
        TEXT,
        {"error": {"message": "overloaded", "code": 502}, "usage": {"prompt_tokens": 9, "completion_tokens": 2}},
    ],
    "messages": [
        {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}},
        {"type": "content_block_delta", "delta": {"text": "Hi"}},
        {"type": "message_delta", "usage": {"cache_read_input_tokens": 5, "output_tokens": 3}},
    ],
    "gemini": [
        {"usageMetadata": {"promptTokenCount": 4}},
        {"usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 6, "thoughtsTokenCount": 2}},
    ],
}


def state_events(events: list[Event]) -> Statement | None:
    reader = UsageReader()
    for event in events:
        if event.data and event.data != b"[DONE]":
            parsed = json.loads(event.data)
            if isinstance(parsed, dict):
                reader.take(parsed)
    return reader.statement


def state(parts: list[bytes]) -> Statement | None:
    reader = Reader()
    return state_events([event for part in parts for event in reader.feed(part)] + reader.close())


def frame(event: dict[str, Any], end: str, *, indent: bool, comment: bool) -> str:
    """One event in one of the ways the format allows; indented JSON is data of several lines."""
    lines = json.dumps(event, ensure_ascii=False, indent=1 if indent else None).split("\n")
    return end.join([*([": ping"] if comment else []), *(f"data: {line}" for line in lines), "", ""])


@settings(deadline=None)
@given(
    name=st.sampled_from(sorted(STREAMS)),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    indent=st.booleans(),
    comment=st.booleans(),
    done=st.booleans(),
    cuts=st.lists(st.integers(0, 900), max_size=40),
)
def test_usage_reads_the_same_in_any_framing_and_any_chunks(
    name: str, end: str, indent: bool, comment: bool, done: bool, cuts: list[int]
) -> None:
    events = STREAMS[name]
    stream = "".join(frame(event, end, indent=indent, comment=comment) for event in events).encode()
    stream += b"data: [DONE]\n\n" if done else b""
    places = [0, *sorted(cut for cut in cuts if cut <= len(stream)), len(stream)]
    direct = UsageReader()
    for event in events:
        direct.take(event)

    stated = state([stream[a:b] for a, b in pairwise(places)])

    assert stated == direct.statement is not None


@pytest.mark.skipif(not manifest(), reason="the recorded streams are not beside this checkout")
@pytest.mark.parametrize("size", [1, 61, 4096])
def test_every_recording_states_the_same_in_chunks_of_any_size(size: int) -> None:
    for entry in manifest()[:: 1 if size > 1 else 9]:
        stream = (RECORDINGS / entry["file"]).read_bytes()

        assert state([stream[at : at + size] for at in range(0, len(stream), size)]) == state([stream]), entry["file"]
