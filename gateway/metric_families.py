"""Metric families: every metric about requests, and how each is folded from the rows of the tallies."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from farthing.call import Endpoint
from farthing.record import CacheOutcome, Outcome
from farthing.usage import TOKEN_CLASSES
from gateway.exposition import Family, Kind, Unit, histogram_lines, value_lines
from gateway.tallies import Key

OTHER: Final = "__other__"
"""Label value of everything that is not registered, besides features."""
NOBODY: Final = "__none__"
"""Label value of a model, provider or tier where none was reached."""

COST_BUCKETS: Final = (*(m * 10**e for e in range(2, 9) for m in (10, 25, 50)), 10**10)
"""22 bounds in nano-dollars: 1, 2.5, 5 times each power of ten from 1e-6 USD on, up to 10 USD."""
DURATION_BUCKETS: Final = tuple(10_000 * 2**step for step in range(14))
"""Microseconds: 10 ms doubling to 81.92 s, as OpenTelemetry's gen_ai.client.operation.duration."""
FIRST_BYTE_BUCKETS: Final = tuple(
    milliseconds * 1000
    for milliseconds in (1, 5, 10, 20, 40, 60, 80, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)
)
"""Microseconds, as OpenTelemetry's gen_ai.server.time_to_first_token."""

# Slots of a row. A histogram holds its sum, a count for each bound, then the count of the overflow.
REQUESTS: Final = 0
AVOIDED_CACHE: Final = 1
AVOIDED_ROUTING: Final = 2
TOKENS: Final = 3
INPUT_UNCACHED: Final = TOKENS + TOKEN_CLASSES.index("input_uncached")
CACHE_READ: Final = TOKENS + TOKEN_CLASSES.index("cache_read")
OUTPUT: Final = TOKENS + TOKEN_CLASSES.index("output")
COST_HISTOGRAM: Final = TOKENS + len(TOKEN_CLASSES)
DURATION: Final = COST_HISTOGRAM + len(COST_BUCKETS) + 2
FIRST_BYTE: Final = DURATION + len(DURATION_BUCKETS) + 2
PROMPT_SAVED: Final = FIRST_BYTE + len(FIRST_BYTE_BUCKETS) + 2
PROMPT_PREMIUM: Final = PROMPT_SAVED + 1
END: Final = PROMPT_PREMIUM + 1

_BUDGET_ERRORS: Final = {"budget_exceeded": "refused", "ledger_unavailable": "unavailable"}
NO_OUTCOME: Final = ""
"""Outcome of rows that count what thresholds and cascades did, in `error`, and no requests."""
ESCALATED: Final = "escalated:"
"""Begins the `error` of a cascade's rows, whose `provider` is a task."""
_UNPRICED: Final = "unpriced_model"
COUNTED_ERRORS: Final = frozenset({*_BUDGET_ERRORS, _UNPRICED})
"""Error codes with a metric of their own; requests with any other share the row of no error."""
_NEVER_SENT: Final = frozenset({Outcome.REFUSED, Outcome.REJECTED})
_SENT: Final = frozenset({Outcome.SUCCESS, Outcome.UPSTREAM_ERROR, Outcome.ABORTED, Outcome.LOST})
_NO_HIT: Final = frozenset({CacheOutcome.MISS, CacheOutcome.BYPASS, CacheOutcome.PARTIAL})
_TOKEN_TYPES: Final = tuple(
    (TOKENS + index, "cache_write" if name.startswith("cache_write") else name)
    for index, name in enumerate(TOKEN_CLASSES)
)


class Row(NamedTuple):
    """The labels of one row of the tallies: its key, by name."""

    feature: str
    provider: str
    model: str
    tier: str
    endpoint: str
    outcome: str
    cache: str
    error: str


Counts = Sequence[int]
Samples = Iterator[tuple[tuple[str, ...], int]]


def _cost(row: Row, counts: Counts) -> Samples:
    if row.outcome not in _NEVER_SENT:
        category = "embedding" if row.endpoint == Endpoint.EMBEDDINGS else "inference"
        yield (row.feature, row.provider, row.model, row.tier, category), counts[COST_HISTOGRAM]


def _tokens(row: Row, counts: Counts) -> Samples:
    for slot, name in _TOKEN_TYPES:
        if counts[slot]:
            yield (row.feature, row.provider, row.model, name), counts[slot]


def _requests(row: Row, counts: Counts) -> Samples:
    yield (row.feature, row.model, row.tier, row.outcome), counts[REQUESTS]


def _lookups(row: Row, counts: Counts) -> Samples:
    if row.cache == CacheOutcome.MISS:
        yield (row.feature, "none", "miss"), counts[REQUESTS]
    elif row.cache == CacheOutcome.PARTIAL:
        yield (row.feature, "exact", "partial"), counts[REQUESTS]
    elif row.cache != CacheOutcome.BYPASS:
        yield (row.feature, row.cache, "hit"), counts[REQUESTS]
    elif row.outcome not in _NEVER_SENT:
        yield (row.feature, "none", "bypass"), counts[REQUESTS]


def _avoided_by_cache(row: Row, counts: Counts) -> Samples:
    if counts[AVOIDED_CACHE]:
        yield (row.feature, row.cache), counts[AVOIDED_CACHE]


def _avoided_by_routing(row: Row, counts: Counts) -> Samples:
    if counts[AVOIDED_ROUTING]:
        yield (row.feature, row.tier), counts[AVOIDED_ROUTING]


def _saved_by_prompts(row: Row, counts: Counts) -> Samples:
    if counts[PROMPT_SAVED]:
        yield (row.feature, row.provider, row.model), counts[PROMPT_SAVED]


def _paid_for_prompts(row: Row, counts: Counts) -> Samples:
    if counts[PROMPT_PREMIUM]:
        yield (row.feature, row.provider, row.model), counts[PROMPT_PREMIUM]


def _decisions(row: Row, counts: Counts) -> Samples:
    if row.outcome == NO_OUTCOME:
        if not row.error.startswith(ESCALATED):
            yield (row.feature, row.error), counts[REQUESTS]
    elif row.error in _BUDGET_ERRORS:
        yield (row.feature, _BUDGET_ERRORS[row.error]), counts[REQUESTS]
    elif row.outcome in _SENT and row.cache in _NO_HIT:
        yield (row.feature, "allowed"), counts[REQUESTS]


def _escalations(row: Row, counts: Counts) -> Samples:
    if row.outcome == NO_OUTCOME and row.error.startswith(ESCALATED):
        yield (row.provider, row.tier, row.error.removeprefix(ESCALATED)), counts[REQUESTS]


def _unpriced(row: Row, counts: Counts) -> Samples:
    if row.error == _UNPRICED:
        yield (row.provider, row.model), counts[REQUESTS]


def _usd(name: str, text: str, *labels: str) -> Family:
    return Family(name=name, kind=Kind.COUNTER, help=text, labels=labels, unit=Unit.USD)


def _count(name: str, text: str, *labels: str) -> Family:
    return Family(name=name, kind=Kind.COUNTER, help=text, labels=labels)


COUNTERS: Final[tuple[tuple[Family, Callable[[Row, Counts], Samples]], ...]] = (
    (
        _usd(
            "farthing_cost_usd_total",
            "USD spent, every attempt included.",
            *("feature", "provider", "model", "tier", "category"),
        ),
        _cost,
    ),
    (
        _count(
            "farthing_tokens_total",
            "Tokens billed, in types that do not overlap.",
            *("feature", "provider", "model", "type"),
        ),
        _tokens,
    ),
    (
        _count(
            "farthing_requests_total",
            "Requests finished, by how they ended.",
            *("feature", "model", "tier", "outcome"),
        ),
        _requests,
    ),
    (
        _count(
            "farthing_cache_lookups_total",
            "Requests by what the caches did; each counts once, a hit under the cache that answered.",
            *("feature", "cache", "result"),
        ),
        _lookups,
    ),
    (
        _usd(
            "farthing_avoided_cost_usd_total",
            "USD that answers from a cache had cost when they were made.",
            *("feature", "cache"),
        ),
        _avoided_by_cache,
    ),
    (
        _usd(
            "farthing_avoided_routing_cost_usd_total",
            "USD that the reference tier would have cost more for the same tokens.",
            *("feature", "tier"),
        ),
        _avoided_by_routing,
    ),
    (
        _usd(
            "farthing_prompt_cache_saved_usd_total",
            "USD that tokens read from a provider's prompt cache cost less than others.",
            *("feature", "provider", "model"),
        ),
        _saved_by_prompts,
    ),
    (
        _usd(
            "farthing_prompt_cache_premium_usd_total",
            "USD that tokens written to a provider's prompt cache cost more than others.",
            *("feature", "provider", "model"),
        ),
        _paid_for_prompts,
    ),
    (
        _count(
            "farthing_budget_decisions_total",
            "Calls put to the budgets, and what thresholds did: notify, downgrade, cheapest.",
            *("feature", "decision"),
        ),
        _decisions,
    ),
    (
        _count(
            "farthing_cascade_escalations_total",
            "Calls of a cascade that went on to a better tier, by what the first answer failed.",
            *("task", "tier", "check"),
        ),
        _escalations,
    ),
    (
        _count(
            "farthing_unpriced_requests_total",
            "Requests refused because no price is known.",
            *("provider", "model"),
        ),
        _unpriced,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """A histogram over rows: where its slots lie, and the label values of a row (None: the row is left
    out)."""

    family: Family
    bounds: tuple[int, ...]
    slot: int
    labels_of: Callable[[Row], tuple[str, ...] | None]

    @property
    def slots(self) -> slice:
        """Its part of a row: the sum, a count for each bound, the overflow."""
        return slice(self.slot, self.slot + len(self.bounds) + 2)


HISTOGRAMS: Final = (
    Histogram(
        family=Family(
            name="farthing_request_cost_usd",
            kind=Kind.HISTOGRAM,
            help="USD of one request, every attempt included; a hit costs 0.",
            labels=("feature", "tier"),
            unit=Unit.USD,
        ),
        bounds=COST_BUCKETS,
        slot=COST_HISTOGRAM,
        labels_of=lambda row: None if row.outcome in _NEVER_SENT else (row.feature, row.tier),
    ),
    Histogram(
        family=Family(
            name="farthing_request_duration_seconds",
            kind=Kind.HISTOGRAM,
            help="Seconds from the request's arrival to the end of its answer.",
            labels=("endpoint", "tier", "cache"),
            unit=Unit.SECONDS,
        ),
        bounds=DURATION_BUCKETS,
        slot=DURATION,
        labels_of=lambda row: (row.endpoint, row.tier, row.cache),
    ),
    Histogram(
        family=Family(
            name="farthing_time_to_first_token_seconds",
            kind=Kind.HISTOGRAM,
            help="Seconds from the request's arrival to the first byte of its answer.",
            labels=("endpoint", "tier", "cache"),
            unit=Unit.SECONDS,
        ),
        bounds=FIRST_BYTE_BUCKETS,
        slot=FIRST_BYTE,
        labels_of=lambda row: (row.endpoint, row.tier, row.cache),
    ),
)


_OF_DECISIONS: Final = (_decisions, _escalations)


def request_lines(totals: Mapping[Key, Counts]) -> list[str]:
    """The text of every family about requests, without an end."""
    rows = [(Row(*key), counts) for key, counts in totals.items()]
    lines: list[str] = []
    requests = [(row, counts) for row, counts in rows if row.outcome != NO_OUTCOME]
    for family, fold in COUNTERS:
        lines += value_lines(family, _summed(fold, rows if fold in _OF_DECISIONS else requests).items())
    for histogram in HISTOGRAMS:
        lines += histogram_lines(histogram.family, histogram.bounds, _merged(histogram, requests).items())
    return lines


def _summed(fold: Callable[[Row, Counts], Samples], rows: Sequence[tuple[Row, Counts]]) -> dict[tuple[str, ...], int]:
    sums: dict[tuple[str, ...], int] = {}
    for row, counts in rows:
        for labels, number in fold(row, counts):
            sums[labels] = sums.get(labels, 0) + number
    return sums


def _merged(histogram: Histogram, rows: Sequence[tuple[Row, Counts]]) -> dict[tuple[str, ...], Counts]:
    merged: dict[tuple[str, ...], Counts] = {}
    part = histogram.slots
    for row, counts in rows:
        labels = histogram.labels_of(row)
        slots = counts[part]
        if labels is None or not any(slots[1:]):
            continue
        known = merged.get(labels)
        merged[labels] = slots if known is None else [a + b for a, b in zip(known, slots, strict=True)]
    return merged
