"""Shapes, Anthropic: the usage of its Messages API, whose stream tells it twice and whose answer may be of many models.

`message_start` brings the service tier and the age of cache writes; the figures of `message_delta` win over it, field
by field. Input figures exclude cached and written tokens.
"""

from collections.abc import Mapping
from typing import Any, Final

from farthing.usage import Usage
from farthing.value import changed
from ledger.shapes import AbsurdError, count, details, extras_of
from ledger.statement import Portion, total_usage

EVENTS: Final = ("message_start", "message_delta", "message")
"""The types of the objects that may bring a usage; `message` is a whole answer."""
_OWN: Final = ("", "message", "compaction")
"""Iterations of the model that was asked; `message` are those that the top level adds up."""


def find_anthropic(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """The usage object of an event."""
    holder = event.get("message") if event.get("type") == "message_start" else event
    figures = holder.get("usage") if type(holder) is dict else None
    return figures if type(figures) is dict else None


def overlay(figures: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """`figures` with every field that `later` gives."""
    return {**figures, **{name: value for name, value in later.items() if value is not None}}


def read_anthropic(figures: Mapping[str, Any]) -> tuple[Portion, ...]:
    """Every iteration with its own model, or the answer as one portion. Raises AbsurdError.

    The top level leaves out compaction and the calls of other models (an advisor), so iterations win; where they tell
    less of the answer itself than the top level does, the top level stands in for them.
    """
    top = Portion(usage=_read(figures), extras=_extras(figures))
    iterations = figures.get("iterations")
    if not iterations:
        return (top,)
    if type(iterations) is not list or not all(type(item) is dict for item in iterations):
        raise AbsurdError
    portions = tuple(_iteration(item) for item in iterations)
    messages = tuple(portion for portion in portions if portion.kind in ("", "message"))
    others = tuple(portion for portion in portions if portion.kind not in ("", "message"))
    summed = total_usage(messages)
    is_less = summed.input_total < top.usage.input_total or summed.output_total < top.usage.output_total
    if is_less or not messages:
        return (top, *others)
    own = _with_reasoning(messages, top.usage.reasoning)
    # What is told once for the whole answer stays with its first portion.
    return (changed(own[0], extras=top.extras), *own[1:], *others)


def tier_of(figures: Mapping[str, Any]) -> str:
    """The tier as it is priced: fast mode is told in a field of its own."""
    tier = "fast" if figures.get("speed") == "fast" else figures.get("service_tier")
    return tier if type(tier) is str else ""


def _iteration(item: Mapping[str, Any]) -> Portion:
    kind, model = item.get("type"), item.get("model")
    kind = kind if type(kind) is str else ""
    named = type(model) is str and kind not in _OWN
    return Portion(usage=_read(item), model=str(model) if named else "", kind=kind)


def _read(figures: Mapping[str, Any]) -> Usage:
    written = count(figures, "cache_creation_input_tokens")
    by_age = details(figures, "cache_creation")
    written_1h = _written_1h(
        written, count(by_age, "ephemeral_5m_input_tokens"), count(by_age, "ephemeral_1h_input_tokens")
    )
    output = count(figures, "output_tokens")
    reasoning = min(count(details(figures, "output_tokens_details"), "thinking_tokens"), output)
    return Usage(
        input_uncached=count(figures, "input_tokens"),
        cache_read=count(figures, "cache_read_input_tokens"),
        cache_write_5m=written - written_1h,
        cache_write_1h=written_1h,
        output=output - reasoning,
        reasoning=reasoning,
    )


def _written_1h(written: int, told_5m: int, told_1h: int) -> int:
    """How much was written for an hour. The ages are those of the start; what was written later has the dearer age
    that the request is known to use."""
    if not told_1h:
        return 0
    return min(written, max(told_1h, written - told_5m))


def _with_reasoning(portions: tuple[Portion, ...], reasoning: int) -> tuple[Portion, ...]:
    """Thinking is told for the whole answer only: it is taken from the output of its iterations, in order."""
    told = []
    for portion in portions:
        part = min(reasoning, portion.usage.output)
        reasoning -= part
        usage = changed(portion.usage, output=portion.usage.output - part, reasoning=portion.usage.reasoning + part)
        told.append(changed(portion, usage=usage))
    return tuple(told)


def _extras(figures: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """Searches cost by the piece; fetching a page costs its tokens only."""
    return extras_of(web_searches=count(details(figures, "server_tool_use"), "web_search_requests"))
