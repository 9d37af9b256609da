"""The usage of a whole answer, in the shape of each provider, read event by event."""

from typing import Any

import pytest

from farthing.money import Nano
from farthing.usage import Usage
from ledger.statement import Portion
from ledger.usage import UsageReader


def read(*events: dict[str, Any], context_window: int | None = None) -> UsageReader:
    reader = UsageReader(context_window=context_window)
    for event in events:
        reader.take(event)
    return reader


def start(**figures: Any) -> dict[str, Any]:
    return {"type": "message_start", "message": {"type": "message", "model": "claude-sonnet-4-6", "usage": figures}}


def delta(**figures: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": figures}


TEXT = {"choices": [{"delta": {"content": "Hi"}, "finish_reason": None}], "usage": None}

SHAPES: dict[str, tuple[list[dict[str, Any]], Usage, dict[str, int], str, int | None]] = {
    "OpenAI chat: a chunk of its own": (
        [
            TEXT | {"service_tier": "auto"},
            {
                "choices": [],
                "service_tier": "default",
                "usage": {
                    "prompt_tokens": 100,
                    "completion_tokens": 20,
                    "total_tokens": 120,
                    "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 15},
                },
            },
        ],
        Usage(input_uncached=40, cache_read=60, output=5, reasoning=15),
        {},
        "default",
        None,
    ),
    "OpenAI chat: moderation after the usage": (
        [TEXT, {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}, {"choices": [], "usage": None}],
        Usage(input_uncached=3, output=4),
        {},
        "",
        None,
    ),
    "OpenAI audio: cached audio is told apart": (
        [
            {
                "usage": {
                    "prompt_tokens": 100,
                    "completion_tokens": 10,
                    "prompt_tokens_details": {
                        "cached_tokens": 50,
                        "audio_tokens": 70,
                        "cached_tokens_details": {"text_tokens": 20, "audio_tokens": 30},
                    },
                    "completion_tokens_details": {"audio_tokens": 8},
                }
            }
        ],
        # 70 of audio less 30 cached ones; 100 less 50 cached less 40 of audio
        Usage(input_uncached=10, cache_read=50, input_audio=40, output=2, output_audio=8),
        {"cached_audio": 30},
        "",
        None,
    ),
    "OpenAI Responses: the last event, and the searches in its output": (
        [
            {"type": "response.created", "response": {"status": "in_progress", "service_tier": "auto", "usage": None}},
            {"type": "response.output_text.delta", "delta": "Hi"},
            {
                "type": "response.completed",
                "response": {
                    "service_tier": "flex",
                    "output": [
                        {"type": "web_search_call"},
                        {"type": "web_search_call", "action": {"type": "search", "query": "q"}},
                        {"type": "web_search_call", "action": {"type": "open_page", "url": "u"}},
                        {"type": "file_search_call"},
                        {"type": "message"},
                    ],
                    "usage": {
                        "input_tokens": 50,
                        "output_tokens": 9,
                        "total_tokens": 59,
                        "input_tokens_details": {"cached_tokens": 0},
                        "output_tokens_details": {"reasoning_tokens": 4},
                    },
                },
            },
        ],
        Usage(input_uncached=50, output=5, reasoning=4),
        {"web_searches": 2, "storage_searches": 1},
        "flex",
        None,
    ),
    "Anthropic: the end wins field by field over the start": (
        [
            start(
                input_tokens=2050,
                cache_creation_input_tokens=300,
                cache_read_input_tokens=1000,
                cache_creation={"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
                output_tokens=1,
                service_tier="standard",
            ),
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hi"}},
            delta(
                input_tokens=31772,
                cache_read_input_tokens=None,
                output_tokens=644,
                output_tokens_details={"thinking_tokens": 44},
                server_tool_use={"web_search_requests": 2, "web_fetch_requests": 7},
            ),
        ],
        Usage(input_uncached=31772, cache_read=1000, cache_write_5m=100, cache_write_1h=200, output=600, reasoning=44),
        {"web_searches": 2},
        "standard",
        None,
    ),
    "Anthropic's compatible vendors: cache figures come at the end alone": (
        [
            start(input_tokens=10, output_tokens=1),
            delta(cache_read_input_tokens=500, cache_creation_input_tokens=20, output_tokens=7),
        ],
        Usage(input_uncached=10, cache_read=500, cache_write_5m=20, output=7),
        {},
        "",
        None,
    ),
    "Anthropic, not streamed, in fast mode": (
        [
            {
                "type": "message",
                "usage": {"input_tokens": 8, "output_tokens": 2, "speed": "fast", "service_tier": "standard"},
            }
        ],
        Usage(input_uncached=8, output=2),
        {},
        "fast",
        None,
    ),
    "Gemini: every chunk, cumulative": (
        [
            {"usageMetadata": {"promptTokenCount": 30, "totalTokenCount": 30}},
            {
                "candidates": [{"groundingMetadata": {"webSearchQueries": ["a", "", "b", "c", "a"]}}],
                "modelVersion": "gemini-3-flash-preview",
                "usageMetadata": {
                    "promptTokenCount": 30,
                    "toolUsePromptTokenCount": 100,
                    "candidatesTokenCount": 20,
                    "thoughtsTokenCount": 7,
                    "cachedContentTokenCount": 12,
                    "totalTokenCount": 157,
                    "promptTokensDetails": [
                        {"modality": "TEXT", "tokenCount": 10},
                        {"modality": "AUDIO", "tokenCount": 20},
                    ],
                    "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 12}],
                    "serviceTier": "STANDARD",
                },
            },
        ],
        Usage(input_uncached=110, cache_read=12, input_audio=8, output=20, reasoning=7),
        {"cached_audio": 12, "web_searches": 3},
        "standard",
        None,
    ),
    "Gemini 2 bills a grounded prompt once": (
        [
            {
                "candidates": [{"groundingMetadata": {"webSearchQueries": ["a", "b"]}}],
                "modelVersion": "gemini-2.5-pro",
                "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 6, "totalTokenCount": 11},
            }
        ],
        Usage(input_uncached=5, output=6),
        {"web_searches": 1},
        "",
        None,
    ),
    "Gemini without candidates, at Vertex": (
        [
            {
                "usageMetadata": {
                    "promptTokenCount": 87,
                    "thoughtsTokenCount": 78,
                    "totalTokenCount": 165,
                    "trafficType": "ON_DEMAND_FLEX",
                }
            }
        ],
        Usage(input_uncached=87, reasoning=78),
        {},
        "flex",
        None,
    ),
    "Gemini: images and video made": (
        [
            {
                "usageMetadata": {
                    "promptTokenCount": 9,
                    "candidatesTokenCount": 100,
                    "totalTokenCount": 109,
                    "candidatesTokensDetails": [
                        {"modality": "TEXT", "tokenCount": 10},
                        {"modality": "IMAGE", "tokenCount": 30},
                        {"modality": "VIDEO", "tokenCount": 60},
                    ],
                }
            }
        ],
        Usage(input_uncached=9, output=100),
        {"output_image": 30, "output_video": 60},
        "",
        None,
    ),
    "Groq: in x_groq alone": (
        [{"choices": [{"finish_reason": "stop"}], "x_groq": {"usage": {"prompt_tokens": 21, "completion_tokens": 9}}}],
        Usage(input_uncached=21, output=9),
        {},
        "",
        None,
    ),
    "OpenRouter: its own cost beside ours": (
        [
            {
                "choices": [],
                "usage": {
                    "prompt_tokens": 8174,
                    "completion_tokens": 30,
                    "total_tokens": 8204,
                    "cost": 0.0133176,
                    "is_byok": False,
                    "cost_details": {"upstream_inference_cost": 0.0133176},
                    "server_tool_use_details": {"web_search_requests": 1},
                },
            }
        ],
        Usage(input_uncached=8174, output=30),
        {"web_searches": 1},
        "",
        13_317_600,
    ),
    "OpenRouter with the caller's own key: its fee and what the provider bills": (
        [
            {
                "usage": {
                    "prompt_tokens": 1,
                    "completion_tokens": 1,
                    "cost": 0.00005,
                    "is_byok": True,
                    "cost_details": {"upstream_inference_cost": 0.001},
                }
            }
        ],
        Usage(input_uncached=1, output=1),
        {},
        "",
        1_050_000,
    ),
    "xAI: reasoning outside completion tokens, cost in ticks": (
        [
            {
                "choices": [],
                "usage": {
                    "prompt_tokens": 5,
                    "completion_tokens": 10,
                    "total_tokens": 115,
                    "completion_tokens_details": {"reasoning_tokens": 100},
                    "cost_in_usd_ticks": 37_756_000,
                },
            }
        ],
        Usage(input_uncached=5, output=10, reasoning=100),
        {},
        "",
        3_775_600,
    ),
    "vLLM: every chunk, cumulative, and never a sum": (
        [
            {"choices": [{}], "usage": {"prompt_tokens": 9, "completion_tokens": made, "total_tokens": 9 + made}}
            for made in (1, 2, 3)
        ],
        Usage(input_uncached=9, output=3),
        {},
        "",
        None,
    ),
    "Perplexity's deep research: reasoning and citations outside the total": (
        [
            {
                "choices": [{}],
                "usage": {
                    "prompt_tokens": 33,
                    "completion_tokens": 7163,
                    "total_tokens": 7196,
                    "citation_tokens": 19294,
                    "num_search_queries": 18,
                    "reasoning_tokens": 95305,
                    "cost": {"input_tokens_cost": 0.0, "total_cost": 0.5},
                },
            }
        ],
        Usage(input_uncached=33, output=7163, reasoning=95305),
        {"output_citation": 19294, "web_searches": 18},
        "",
        500_000_000,
    ),
    "DeepSeek: hits and misses at the top": (
        [
            {
                "choices": [{"finish_reason": "stop"}],
                "usage": {
                    "prompt_tokens": 366,
                    "completion_tokens": 59,
                    "total_tokens": 425,
                    "prompt_cache_hit_tokens": 256,
                    "prompt_cache_miss_tokens": 110,
                },
            }
        ],
        Usage(input_uncached=110, cache_read=256, output=59),
        {},
        "",
        None,
    ),
    "embeddings": (
        [{"data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}}],
        Usage(input_uncached=8),
        {},
        "",
        None,
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_an_answer_in_this_shape_is_read_whole(name: str) -> None:
    events, usage, extras, tier, stated = SHAPES[name]

    reader = read(*events)

    assert reader.statement is not None
    assert reader.usage == reader.statement.usage == usage
    assert reader.statement.extras == extras
    assert reader.statement.service_tier == tier
    assert reader.statement.stated_cost == (None if stated is None else Nano(stated))


def test_an_event_that_brings_a_usage_is_told_from_one_that_does_not() -> None:
    reader = UsageReader()

    taken = [reader.take(event) for event in (TEXT, {"choices": [], "usage": {"prompt_tokens": 3}}, TEXT, {})]

    assert taken == [False, True, False, False]


def test_every_iteration_keeps_its_own_model_and_the_top_level_is_not_added() -> None:
    def iteration(kind: str, sent: int, made: int, **more: Any) -> dict[str, Any]:
        return {"type": kind, "input_tokens": sent, "output_tokens": made, **more}

    reader = read(
        start(input_tokens=1128, output_tokens=2),
        delta(
            input_tokens=2411,
            output_tokens=145,
            output_tokens_details={"thinking_tokens": 140},
            server_tool_use={"web_search_requests": 1},
            iterations=[
                iteration("message", 1128, 135),
                iteration("advisor_message", 2543, 18, model="claude-opus-4-8"),
                iteration("message", 1283, 10),
            ],
        ),
    )

    assert reader.statement is not None
    assert reader.statement.portions == (
        Portion(usage=Usage(input_uncached=1128, reasoning=135), kind="message", extras=(("web_searches", 1),)),
        Portion(usage=Usage(input_uncached=1283, output=5, reasoning=5), kind="message"),
        Portion(usage=Usage(input_uncached=2543, output=18), kind="advisor_message", model="claude-opus-4-8"),
    )
    assert reader.usage == Usage(input_uncached=4954, output=23, reasoning=140)


def test_what_compaction_read_and_wrote_is_counted_though_the_top_level_leaves_it_out() -> None:
    compaction = {"type": "compaction", "input_tokens": 100, "output_tokens": 83, "cache_read_input_tokens": 55096}

    reader = read(
        start(input_tokens=100, cache_read_input_tokens=55096, output_tokens=7),
        delta(
            input_tokens=181,
            cache_read_input_tokens=0,
            output_tokens=8,
            iterations=[compaction, {"type": "message", "input_tokens": 181, "output_tokens": 8}],
        ),
    )

    assert reader.usage == Usage(input_uncached=281, cache_read=55096, output=91)


@pytest.mark.parametrize(
    "iterations", [[{"type": "advisor_message", "input_tokens": 9, "model": "m"}], [{"output_tokens": 1}]]
)
def test_where_iterations_leave_out_the_answer_itself_the_top_level_stands_for_it(iterations: list[Any]) -> None:
    reader = read({"type": "message", "usage": {"input_tokens": 50, "output_tokens": 5, "iterations": iterations}})

    assert reader.statement is not None
    assert reader.statement.portions[0] == Portion(usage=Usage(input_uncached=50, output=5))


@pytest.mark.parametrize("absurd", [-1, 1.5, "7", True, 10**12, [7], {}])
@pytest.mark.parametrize(
    "good",
    [
        {"type": "message_delta", "usage": {"input_tokens": 5, "output_tokens": 6}},
        {"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 6}},
        {"usage": {"prompt_tokens": 5, "completion_tokens": 6}},
    ],
)
def test_a_figure_that_cannot_be_true_leaves_what_was_known(good: dict[str, Any], absurd: object) -> None:
    place = "usageMetadata" if "usageMetadata" in good else "usage"
    bad = good | {place: dict.fromkeys(good[place], absurd)}

    reader = UsageReader()
    taken = [reader.take(good), reader.take(bad), reader.take(bad | {place: 7})]

    assert taken == [True, False, False]
    assert reader.usage == Usage(input_uncached=5, output=6)


def test_an_absurd_end_does_not_spoil_the_next_one() -> None:
    reader = read(
        start(input_tokens=10, output_tokens=1),
        delta(output_tokens=-3),
        delta(cache_read_input_tokens=4, output_tokens=9),
    )

    assert reader.usage == Usage(input_uncached=10, cache_read=4, output=9)


@pytest.mark.parametrize("iterations", ["two", [1], [{"input_tokens": -1}], [[]]])
def test_iterations_that_cannot_be_read_discard_the_usage(iterations: object) -> None:
    reader = read({"type": "message", "usage": {"input_tokens": 50, "output_tokens": 5, "iterations": iterations}})

    assert reader.statement is None
    assert reader.usage is None


def test_the_window_holds_for_each_portion_and_not_for_their_sum() -> None:
    usage = {
        "input_tokens": 900,
        "output_tokens": 2,
        "iterations": [
            {"type": "message", "input_tokens": 900, "output_tokens": 2},
            {"type": "advisor_message", "model": "m", "input_tokens": 800, "output_tokens": 2},
        ],
    }

    assert read({"type": "message", "usage": usage}, context_window=1000).usage is not None
    assert read({"type": "message", "usage": usage}, context_window=850).usage is None


def test_written_tokens_that_the_start_did_not_know_have_the_age_the_request_uses() -> None:
    by_age = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 100}

    reader = read(
        start(input_tokens=1, cache_creation_input_tokens=100, cache_creation=by_age, output_tokens=1),
        delta(cache_creation_input_tokens=140, output_tokens=2),
    )

    assert reader.usage == Usage(input_uncached=1, cache_write_1h=140, output=2)


@pytest.mark.parametrize("tier", [None, 7, "", "auto", "x" * 500, "line\nbreak", ["flex"]])
def test_a_tier_that_says_nothing_does_not_replace_one_that_does(tier: object) -> None:
    reader = read({"service_tier": "flex", "usage": {"prompt_tokens": 1}}, {"service_tier": tier, "choices": []})

    assert reader.statement is not None
    assert reader.statement.service_tier == "flex"


def test_the_tier_of_an_anthropic_model_behind_the_openai_shape_stands_in_its_usage() -> None:
    fast = read({"usage": {"prompt_tokens": 1, "speed": "fast", "service_tier": "standard"}})
    batch = read({"usage": {"prompt_tokens": 1, "speed": "standard", "service_tier": "batch"}})

    assert (fast.service_tier, batch.service_tier) == ("fast", "batch")


def test_the_tier_is_known_before_the_usage() -> None:
    reader = read({"choices": [], "service_tier": "priority"})

    assert (reader.service_tier, reader.statement) == ("priority", None)


def test_a_tier_named_after_the_usage_counts() -> None:
    reader = read({"usage": {"prompt_tokens": 1}}, {"service_tier": "priority", "choices": []})

    assert reader.statement is not None
    assert reader.statement.service_tier == "priority"


@pytest.mark.parametrize("cost", [-0.1, float("nan"), float("inf"), "0.1", True, None, {"total_cost": "1"}, 1e7])
def test_a_stated_cost_that_cannot_be_is_not_kept(cost: object) -> None:
    reader = read({"usage": {"prompt_tokens": 1, "cost": cost}})

    assert reader.statement is not None
    assert reader.statement.stated_cost is None
