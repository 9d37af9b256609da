"""Usage read from what providers send."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farthing.usage import Usage, UsageSource
from ledger.usage import UsageReader, estimate

RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "sse" / "pydantic-ai"

SHAPES: dict[str, tuple[dict[str, Any], Usage]] = {
    "chat": (
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        Usage(input_uncached=10, output=5),
    ),
    "chat with cached, reasoning and audio": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "total_tokens": 150,
            "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 10},
            "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 5},
        },
        Usage(input_uncached=50, cache_read=40, input_audio=10, output=15, reasoning=30, output_audio=5),
    ),
    "cached audio is counted once": (
        {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 6}},
        Usage(input_uncached=0, cache_read=8, input_audio=2, output=1),
    ),
    "details that are null": (
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": None},
        Usage(input_uncached=10, output=5),
    ),
    "embeddings": ({"prompt_tokens": 8, "total_tokens": 8}, Usage(input_uncached=8)),
    "responses": (
        {
            "input_tokens": 158,
            "output_tokens": 32,
            "total_tokens": 190,
            "input_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 43},
            "output_tokens_details": {"reasoning_tokens": 10},
        },
        Usage(input_uncached=15, cache_read=100, cache_write_5m=43, output=22, reasoning=10),
    ),
    "xAI: reasoning outside completion_tokens": (
        {
            "prompt_tokens": 5,
            "completion_tokens": 10,
            "total_tokens": 115,
            "completion_tokens_details": {"reasoning_tokens": 100},
        },
        Usage(input_uncached=5, output=10, reasoning=100),
    ),
    "more reasoning than output, and no total": (
        {"prompt_tokens": 5, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 100}},
        Usage(input_uncached=5, output=10, reasoning=100),
    ),
    "OpenRouter: more reasoning than output, and a total": (
        {
            "prompt_tokens": 43,
            "completion_tokens": 10,
            "total_tokens": 53,
            "completion_tokens_details": {"reasoning_tokens": 11},
        },
        Usage(input_uncached=43, output=0, reasoning=10),
    ),
    "DeepSeek": (
        {"prompt_tokens": 30, "completion_tokens": 2, "prompt_cache_hit_tokens": 20, "prompt_cache_miss_tokens": 10},
        Usage(input_uncached=10, cache_read=20, output=2),
    ),
    "DeepSeek at Azure": (
        {"prompt_tokens": 30, "completion_tokens": 9, "total_tokens": 39, "reasoning_tokens": 7},
        Usage(input_uncached=30, output=2, reasoning=7),
    ),
    "Together: cached tokens at the top": (
        {"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 32, "cached_tokens": 16},
        Usage(input_uncached=14, cache_read=16, output=2),
    ),
    "Anthropic through litellm": (
        {
            "prompt_tokens": 1000,
            "completion_tokens": 20,
            "total_tokens": 1020,
            "prompt_tokens_details": {
                "cached_tokens": 600,
                "cache_creation_tokens": 300,
                "cache_creation_token_details": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
            },
            "cache_creation_input_tokens": 300,
            "cache_read_input_tokens": 600,
        },
        Usage(input_uncached=100, cache_read=600, cache_write_5m=100, cache_write_1h=200, output=20),
    ),
    "no output at all": ({"prompt_tokens": 7, "completion_tokens": 0}, Usage(input_uncached=7)),
}


def usage_of(*events: dict[str, Any], window: int | None = None) -> Usage | None:
    """What a reader makes of an answer, or of the events of a stream."""
    reader = UsageReader(context_window=window)
    for event in events:
        reader.take(event)
    return reader.usage


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_becomes_disjoint_classes(name: str) -> None:
    sent, expected = SHAPES[name]

    assert usage_of({"usage": sent}) == expected


@pytest.mark.parametrize("name", SHAPES)
def test_no_token_is_counted_twice_or_lost(name: str) -> None:
    sent, _ = SHAPES[name]

    usage = usage_of({"usage": sent})

    assert usage is not None
    assert usage.input_total == sent.get("prompt_tokens", sent.get("input_tokens"))
    if "total_tokens" in sent:
        assert usage.input_total + usage.output_total == sent["total_tokens"]


def test_usage_is_found_beside_the_answer_in_groqs_place_and_in_a_responses_event() -> None:
    figures = {"prompt_tokens": 3, "completion_tokens": 4}
    places: list[dict[str, Any]] = [
        {"choices": [], "usage": figures},
        {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": None, "x_groq": {"usage": figures}},
        {"type": "response.completed", "response": {"usage": figures}},
        {"error": {"message": "the stream broke"}, "usage": figures},
    ]

    assert [usage_of(place) for place in places] == [Usage(input_uncached=3, output=4)] * 4


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"usage": None},
        {"usage": []},
        {"usage": {}},
        {"usage": "12 tokens"},
        {"response": None},
        {"x_groq": {"id": "req_1"}},
        {"usage": {"completion_tokens": 5}},
        {"usage": {"prompt_tokens": None, "completion_tokens": None}},
    ],
)
def test_missing_usage_is_none(answer: dict[str, Any]) -> None:
    assert usage_of(answer) is None


@pytest.mark.parametrize("absurd", [-1, 1.5, float("nan"), float("inf"), "7", True, 10**12, [7], {}])
@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens"])
def test_a_figure_that_cannot_be_true_discards_the_usage(field: str, absurd: object) -> None:
    figures = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, field: absurd}

    assert usage_of({"usage": figures}) is None


def test_zeros_are_no_usage_because_no_call_is_empty() -> None:
    assert usage_of({"usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}) is None


def test_more_cached_than_sent_is_absurd() -> None:
    figures = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 11}}

    assert usage_of({"usage": figures}) is None


def test_more_input_than_the_context_window_holds_is_absurd() -> None:
    at_the_edge = {"usage": {"prompt_tokens": 1000, "completion_tokens": 1}}
    beyond = {"usage": {"prompt_tokens": 1001, "completion_tokens": 1}}

    assert usage_of(at_the_edge, window=1000) is not None
    assert usage_of(beyond, window=1000) is None


def test_many_choices_may_pass_the_context_window_together() -> None:
    answer = {"usage": {"prompt_tokens": 10, "completion_tokens": 5000}}

    assert usage_of(answer, window=1000) is not None
    assert usage_of(answer, window=30) is None  # 128 choices of 30 tokens are fewer


def test_an_estimate_says_that_it_is_one() -> None:
    usage = estimate(input_tokens=12, output_tokens=3)

    assert usage == Usage(input_uncached=12, output=3, source=UsageSource.ESTIMATED)


def recordings() -> list[dict[str, str]]:
    """Rows of the manifest of recorded streams; none in a clone that stands alone."""
    manifest = RECORDINGS / "MANIFEST.tsv"
    if not manifest.exists():
        return []
    head, *lines = manifest.read_text(encoding="utf-8").splitlines()
    rows = (dict(zip(head.split("\t"), line.split("\t"), strict=True)) for line in lines)
    return [row for row in rows if row["wire"] in ("openai-chat", "openai-responses")]


def events(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines():
        if line.startswith(b"data:") and (data := line[5:].strip()) != b"[DONE]":
            event = json.loads(data)
            if isinstance(event, dict):
                yield event


@pytest.mark.skipif(not recordings(), reason="the recorded streams are not beside this checkout")
def test_the_last_usage_of_every_recorded_stream_is_read_whole() -> None:
    read = 0
    for row in recordings():
        found = usage_of(*events(RECORDINGS / row["file"]))
        if not row["last_usage"]:
            assert found is None, row["file"]
            continue
        assert found is not None, row["file"]
        last = json.loads(row["last_usage"])
        sent_input = last.get("prompt_tokens", last.get("input_tokens"))
        assert found.input_total == sent_input, row["file"]
        assert found.output_total == last["total_tokens"] - sent_input, row["file"]
        read += 1

    assert read > 90
