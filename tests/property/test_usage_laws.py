"""Laws of usage: whatever a provider sends, no token is counted twice, none is lost and none is negative."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.usage import TOKEN_CLASSES, Usage
from ledger.statement import Statement
from ledger.usage import UsageReader

unhurried = settings(deadline=None)  # the first example may meet a busy machine

tokens = st.integers(0, 10**6)
absurd = st.one_of(st.integers(-5, -1), st.floats(), st.text(max_size=3), st.booleans(), st.lists(tokens, max_size=2))
maybe = st.one_of(st.none(), tokens)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


of_input = optional(
    cached_tokens=maybe,
    cache_write_tokens=maybe,
    cache_creation_tokens=maybe,
    audio_tokens=maybe,
    image_tokens=maybe,
    video_tokens=maybe,
    cached_tokens_details=optional(audio_tokens=maybe, image_tokens=maybe),
    cache_creation_token_details=optional(ephemeral_1h_input_tokens=maybe),
)
of_output = optional(reasoning_tokens=maybe, audio_tokens=maybe, image_tokens=maybe)
besides = {
    "total_tokens": maybe,
    "cached_tokens": maybe,
    "prompt_cache_hit_tokens": maybe,
    "reasoning_tokens": maybe,
    "citation_tokens": maybe,
}
chat = st.fixed_dictionaries(
    {"prompt_tokens": tokens, "completion_tokens": tokens},
    optional={
        **besides,
        "prompt_tokens_details": st.one_of(st.none(), of_input),
        "completion_tokens_details": st.one_of(st.none(), of_output),
    },
)
responses = st.fixed_dictionaries(
    {"input_tokens": tokens, "output_tokens": tokens},
    optional={**besides, "input_tokens_details": of_input, "output_tokens_details": of_output},
)
openai = st.one_of(chat, responses)

written = optional(ephemeral_5m_input_tokens=tokens, ephemeral_1h_input_tokens=tokens)
iteration = st.fixed_dictionaries(
    {"input_tokens": tokens, "output_tokens": tokens},
    optional={
        "type": st.sampled_from(["message", "compaction", "advisor_message"]),
        "model": st.sampled_from(["a", "b"]),
        "cache_read_input_tokens": tokens,
        "cache_creation_input_tokens": tokens,
        "cache_creation": written,
    },
)
anthropic = optional(
    input_tokens=maybe,
    output_tokens=maybe,
    cache_read_input_tokens=maybe,
    cache_creation_input_tokens=maybe,
    cache_creation=written,
    output_tokens_details=optional(thinking_tokens=tokens),
    iterations=st.lists(iteration, max_size=3),
)
modalities = st.lists(
    st.fixed_dictionaries(
        {"modality": st.sampled_from(["TEXT", "AUDIO", "IMAGE", "VIDEO"])}, optional={"tokenCount": tokens}
    ),
    max_size=4,
)
gemini = optional(
    promptTokenCount=maybe,
    toolUsePromptTokenCount=maybe,
    candidatesTokenCount=maybe,
    thoughtsTokenCount=maybe,
    cachedContentTokenCount=maybe,
    totalTokenCount=maybe,
    promptTokensDetails=modalities,
    cacheTokensDetails=modalities,
    candidatesTokensDetails=modalities,
)

# Tokens that are counted in a class already: by name of the extra.
COUNTED_IN = {
    "cached_audio": "cache_read",
    "cached_image": "cache_read",
    "input_video": "input_uncached",
    "output_image": "output",
    "output_video": "output",
}


def usage_of(event: dict[str, Any]) -> Usage | None:
    """What a reader makes of this object alone."""
    reader = UsageReader()
    reader.take(event)
    return reader.usage


def classes(usage: Usage) -> list[int]:
    return [getattr(usage, name) for name in TOKEN_CLASSES]


def check(statement: Statement) -> None:
    """No class is negative, the classes are the totals, and no extra counts more than is in its class."""
    for portion in statement.portions:
        assert all(count >= 0 for count in classes(portion.usage))
        assert portion.usage.input_total + portion.usage.output_total == sum(classes(portion.usage))
        for name, count in portion.extras:
            assert count > 0
            assert count <= getattr(portion.usage, COUNTED_IN[name]) if name in COUNTED_IN else True
    rows = [classes(portion.usage) for portion in statement.portions]
    assert classes(statement.usage) == [sum(column) for column in zip(*rows, strict=True)]


def expected_output(figures: dict[str, Any], sent: int) -> int:
    """What is billed as output by the rule of the wire: the larger of what is told and what the total leaves, and
    reasoning that can be in neither on top."""
    made = figures.get("completion_tokens", figures.get("output_tokens")) or 0
    details = figures.get("completion_tokens_details") or figures.get("output_tokens_details") or {}
    at_top = figures.get("reasoning_tokens") or 0
    total = figures.get("total_tokens")
    if total is not None:
        made = max(made, total - sent)
        return made + at_top if at_top > made else made
    reasoning = details.get("reasoning_tokens") or at_top
    return made + reasoning if reasoning > made else made


@unhurried
@given(openai)
def test_openai_classes_are_disjoint_and_sum_to_the_totals_sent(figures: dict[str, Any]) -> None:
    usage = usage_of({"usage": figures})

    if usage is None:
        return
    sent = figures.get("prompt_tokens", figures.get("input_tokens"))
    assert all(count >= 0 for count in classes(usage))
    assert usage.input_total == sent
    assert usage.output_total == expected_output(figures, sent)


@unhurried
@given(openai)
def test_openai_usage_is_refused_only_where_more_was_cached_than_sent_or_nothing_was(figures: dict[str, Any]) -> None:
    details = figures.get("prompt_tokens_details") or figures.get("input_tokens_details") or {}
    cached = max(details.get("cached_tokens") or 0, *(figures.get(name) or 0 for name in besides))
    written_ = max(details.get("cache_write_tokens") or 0, details.get("cache_creation_tokens") or 0)
    sent = figures.get("prompt_tokens", figures.get("input_tokens"))

    usage = usage_of({"usage": figures})

    if cached + written_ <= sent and sent > 0:
        assert usage is not None


@unhurried
@given(st.lists(st.one_of(openai.map(lambda figures: {"choices": [], "usage": figures}), st.just({})), max_size=5))
def test_a_reader_gives_the_last_usage_and_never_a_sum(events: list[dict[str, Any]]) -> None:
    reader = UsageReader()
    for event in events:
        reader.take(event)

    found = [usage for event in events if (usage := usage_of(event)) is not None]
    assert reader.usage == (found[-1] if found else None)
    if reader.statement is not None:
        check(reader.statement)


@unhurried
@given(anthropic, st.lists(anthropic, max_size=3))
def test_anthropic_usage_is_never_negative_and_never_less_than_its_last_figures(
    start: dict[str, Any], deltas: list[dict[str, Any]]
) -> None:
    reader = UsageReader()
    events = [{"type": "message_start", "message": {"usage": start}}]
    events += [{"type": "message_delta", "usage": delta} for delta in deltas]
    for event in events:
        reader.take(event)

    if reader.statement is None:
        return
    check(reader.statement)
    merged: dict[str, Any] = {}
    for figures in (start, *deltas):
        merged |= {name: value for name, value in figures.items() if value is not None}
    usage = reader.statement.usage
    assert usage.output_total >= (merged.get("output_tokens") or 0)
    assert usage.input_total >= (merged.get("input_tokens") or 0)


@unhurried
@given(st.lists(gemini, min_size=1, max_size=3))
def test_gemini_classes_are_disjoint_and_sum_to_the_totals_sent(chunks: list[dict[str, Any]]) -> None:
    reader = UsageReader()
    taken = [figures for figures in chunks if reader.take({"usageMetadata": figures})]

    if reader.statement is None:
        assert not taken
        return
    check(reader.statement)
    last = taken[-1]
    sent = (last.get("promptTokenCount") or 0) + (last.get("toolUsePromptTokenCount") or 0)
    made = (last.get("candidatesTokenCount") or 0) + (last.get("thoughtsTokenCount") or 0)
    assert reader.statement.usage.input_total == sent
    assert reader.statement.usage.output_total == max(made, (last.get("totalTokenCount") or 0) - sent)


@unhurried
@given(
    st.recursive(st.one_of(absurd, tokens, st.none()), lambda inner: st.dictionaries(st.text(), inner), max_leaves=5)
)
def test_nothing_that_a_provider_sends_breaks_the_reader(anything: Any) -> None:
    reader = UsageReader()
    for event in (
        {"usage": anything},
        {"type": "message_start", "message": anything},
        {"type": "message_delta", "usage": anything},
        {"usageMetadata": anything, "candidates": anything, "modelVersion": anything},
        {"type": anything, "response": anything, "x_groq": anything, "service_tier": anything},
        {"usage": {"prompt_tokens": 1, "prompt_tokens_details": anything, "cost": anything}, "output": anything},
        {"type": "message", "usage": {"input_tokens": 1, "iterations": anything, "server_tool_use": anything}},
        {"usageMetadata": {"promptTokenCount": 1, "promptTokensDetails": anything, "serviceTier": anything}},
    ):
        reader.take(event)

    if reader.statement is not None:
        check(reader.statement)
