"""Invoice forms: the kinds of files that providers export, as data.

Sources: exports of the OpenAI usage dashboard and of the Anthropic console as seen in 2025 and 2026, and FOCUS 1.0 to
1.4 with the AI keys of the 1.5 draft.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Meter(StrEnum):
    """What a provider meters. Reasoning is output; audio is input or output, images are where they go in."""

    INPUT = "input"
    CACHE_READ = "cache read"
    CACHE_WRITE = "cache write"
    OUTPUT = "output"
    IMAGE_OUTPUT = "image output"
    VIDEO_OUTPUT = "video output"
    CITATIONS = "citations"
    SEARCHES = "searches"
    """By the piece, so that no tokens are told of them."""
    OTHER = "other"
    """Fees, or what no meter is told of."""


Sum = tuple[tuple[str, int], ...]
"""Columns to be added (1) or subtracted (-1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A kind of file: the names its columns go by (the first that is there counts), and how a row becomes figures.
    `counts` gives for each meter its sums, of which the first whose columns are all there counts."""

    name: str
    told_by: tuple[tuple[str, ...], ...]
    """For every place at least one of these columns is in such a file."""
    since: tuple[str, ...]
    until: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    counts: Mapping[Meter, tuple[Sum, ...]] = field(default_factory=dict)
    cost: tuple[str, ...] = ()
    currency: tuple[str, ...] = ()
    meter: tuple[str, ...] = ()
    quantity: tuple[str, ...] = ()
    unit: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    """Where it is given and is not OURS, the row is of another service."""
    provider: tuple[str, ...] = ()
    """Who sells what a row is about, where a file may be of many."""


def _plus(*columns: str) -> Sum:
    return tuple((column, 1) for column in columns)


_ANTHROPIC_COUNTS: Final[Mapping[Meter, tuple[Sum, ...]]] = {
    Meter.INPUT: (_plus("usage_input_tokens_no_cache"), _plus("uncached_input_tokens")),
    Meter.CACHE_READ: (_plus("usage_input_tokens_cache_read"), _plus("cache_read_input_tokens")),
    Meter.CACHE_WRITE: (
        _plus("usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h"),
        _plus("usage_input_tokens_cache_write"),
        _plus("cache_creation_input_tokens"),
    ),
    Meter.OUTPUT: (_plus("usage_output_tokens"), _plus("output_tokens")),
}
_OPENAI_COUNTS: Final[Mapping[Meter, tuple[Sum, ...]]] = {
    Meter.INPUT: (
        _plus("input_uncached_tokens"),
        (("input_tokens", 1), ("input_cached_tokens", -1)),
        _plus("input_tokens"),
        _plus("n_context_tokens_total"),
        _plus("prompt_tokens"),
    ),
    Meter.CACHE_READ: (_plus("input_cached_tokens"),),
    Meter.OUTPUT: (_plus("output_tokens"), _plus("n_generated_tokens_total"), _plus("completion_tokens")),
}
_STARTS: Final = ("start_time_iso", "start_time", "date", "timestamp")

FORMS: Final = (
    Form(
        name="focus",
        told_by=(("chargeperiodstart",), ("billedcost",)),
        since=("chargeperiodstart",),
        until=("chargeperiodend",),
        model=("x_modelid", "skuid"),
        cost=("billedcost",),
        currency=("billingcurrency",),
        meter=("skumeter", "chargedescription"),
        quantity=("consumedquantity",),
        unit=("consumedunit",),
        details=("skupricedetails",),
        category=("servicecategory",),
        provider=("serviceprovidername", "providername", "invoiceissuername"),
    ),
    Form(
        name="anthropic",
        told_by=(("usage_date_utc",), ("usage_output_tokens", "cost_usd")),
        since=("usage_date_utc",),
        model=("model_version", "model"),
        counts=_ANTHROPIC_COUNTS,
        cost=("cost_usd",),
        meter=("token_type",),
    ),
    Form(
        name="openai-costs",
        told_by=(_STARTS, ("amount_value",)),
        since=_STARTS,
        until=("end_time_iso", "end_time"),
        cost=("amount_value",),
        currency=("amount_currency",),
        meter=("line_item",),
        quantity=("quantity",),
        unit=("quantity_unit",),
    ),
    Form(
        name="openai-usage",
        told_by=(_STARTS, ("output_tokens", "n_generated_tokens_total", "completion_tokens")),
        since=_STARTS,
        until=("end_time_iso", "end_time"),
        model=("model", "snapshot_id"),
        counts=_OPENAI_COUNTS,
    ),
)
"""In the order in which a file is tried."""

METER_WORDS: Final = (
    (re.compile(r"search"), Meter.SEARCHES),
    (re.compile(r"citation"), Meter.CITATIONS),
    (re.compile(r"image.*(output|generat)|(output|generat).*image"), Meter.IMAGE_OUTPUT),
    (re.compile(r"video.*(output|generat)|(output|generat).*video"), Meter.VIDEO_OUTPUT),
    (re.compile(r"cache.?(write|creation)|write.*cache"), Meter.CACHE_WRITE),
    (re.compile(r"cache.?read|cached|read.*cache"), Meter.CACHE_READ),
    (re.compile(r"output|completion|generated|reasoning"), Meter.OUTPUT),
    (re.compile(r"input|prompt"), Meter.INPUT),
)
"""What the name of a meter tells it by, in the order in which they are tried (`input_no_cache` tells of no cache, since
nothing follows the word)."""
