"""Metrics: what Prometheus is told about each finished request, with labels that cannot run away.

Label values come from what the configuration registers; anything else is counted under `unregistered`
(features) or `__other__`, so the number of series is bounded whatever clients send. Amounts are summed as
integer nano-dollars and become decimals only in the text, so the counters equal the ledger to the last digit.
"""

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from farthing.call import Endpoint
from farthing.ports import Clock
from farthing.record import Record
from farthing.tags import UNREGISTERED
from farthing.usage import TOKEN_CLASSES, Usage
from gateway.exposition import Family, Kind, Unit, value_lines
from gateway.metric_families import (
    AVOIDED_CACHE,
    AVOIDED_ROUTING,
    CACHE_READ,
    COST_BUCKETS,
    COST_HISTOGRAM,
    COUNTED_ERRORS,
    DURATION,
    DURATION_BUCKETS,
    ESCALATED,
    FIRST_BYTE,
    FIRST_BYTE_BUCKETS,
    INPUT_UNCACHED,
    NO_OUTCOME,
    NOBODY,
    OTHER,
    OUTPUT,
    PROMPT_PREMIUM,
    PROMPT_SAVED,
    REQUESTS,
    TOKENS,
    request_lines,
)
from gateway.tallies import Key, Tallies, shared_directory
from ledger.charges import EXTERNAL
from ledger.promptsavings import prompt_cache_effect

multiprocess_directory = shared_directory
"""Prepares `data_directory / "tallies"`; call once before the first worker starts, pass it to every
`Metrics`."""

CONFIG_OK: Final = Family(
    name="farthing_config_ok",
    kind=Kind.GAUGE,
    help="1 if the configuration on disk is in use, 0 if it is bad and older settings are.",
)
CONFIG_GENERATION: Final = Family(
    name="farthing_config_generation",
    kind=Kind.GAUGE,
    help="How many configurations this worker has put in use since it started.",
)
PRICE_AGE: Final = Family(
    name="farthing_price_catalog_age_seconds",
    kind=Kind.GAUGE,
    help="Seconds since the packaged price catalogue was published.",
    unit=Unit.SECONDS,
)
BUILD_INFO: Final = Family(
    name="farthing_build_info",
    kind=Kind.GAUGE,
    help="Always 1; the labels tell the version of Farthing and of Python.",
    labels=("version", "python"),
)
ENDPOINTS: Final = frozenset({*(endpoint.value for endpoint in Endpoint), EXTERNAL})
GAUGES: Final = (CONFIG_OK, CONFIG_GENERATION, PRICE_AGE, BUILD_INFO)


class Metrics:
    """Counts finished requests; `observe` belongs to the event loop's thread, `render` may run in another.

    With `directory` (see `multiprocess_directory`) every worker of a machine renders the sums over all of
    them; gauges are those of the worker that answers.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        features: Iterable[str] = (),
        tiers: Iterable[str] = (),
        models: Iterable[str] = (),
        providers: Iterable[str] = (),
        version: str = "",
        directory: Path | None = None,
    ) -> None:
        self._clock = clock
        self._tallies = Tallies(directory)
        self._rows: dict[Key, memoryview[int]] = {}
        self._features = frozenset({UNREGISTERED})
        self._tiers = self._models = self._providers = frozenset({NOBODY, OTHER})
        self._version = version
        self._config_ok, self._generation = True, 0
        self._prices_ns: int | None = None
        self._sources: list[Callable[[], Iterable[str]]] = []
        self.register(features=features, tiers=tiers, models=models, providers=providers)

    def register(
        self,
        *,
        features: Iterable[str] = (),
        tiers: Iterable[str] = (),
        models: Iterable[str] = (),
        providers: Iterable[str] = (),
    ) -> None:
        """Admit further label values, e.g. at a reload; those admitted before stay, for their series
        exist."""
        self._features |= frozenset(features)
        self._tiers |= frozenset(tiers)
        self._models |= frozenset(models)
        self._providers |= frozenset(providers)

    def note_config(self, *, ok: bool, generation: int) -> None:
        """The state of the configuration; not `ok`: the files on disk are bad and older settings are in
        use."""
        self._config_ok, self._generation = ok, generation

    def note_prices(self, published_ns: int | None) -> None:
        """When the packaged price catalogue was published, wall ns; None where that is not known, and no age is
        shown."""
        self._prices_ns = published_ns

    def add_source(self, source: Callable[[], Iterable[str]]) -> None:
        """Have `render` append the lines of `source` (see `gateway.exposition.value_lines`), e.g. ledger
        gauges."""
        self._sources.append(source)

    def observe(self, record: Record) -> None:
        """Count one finished request. Costs about two microseconds: this runs for each of them."""
        key = (
            record.tags.feature,
            record.provider or NOBODY,
            record.model_served or NOBODY,
            record.tier or NOBODY,
            record.endpoint,
            record.outcome,
            record.cache,
            record.error_code,
        )
        row = self._rows.get(key) or self._bounded_row(key)
        cost = record.cost
        row[REQUESTS] += 1
        row[COST_HISTOGRAM] += cost
        row[COST_HISTOGRAM + 1 + bisect_left(COST_BUCKETS, cost)] += 1
        _add_tokens(row, record.usage)
        if record.avoided_cache > 0:
            row[AVOIDED_CACHE] += record.avoided_cache
        if record.avoided_routing > 0:
            row[AVOIDED_ROUTING] += record.avoided_routing
        saved, premium = prompt_cache_effect(record.usage, record.rates)
        if saved or premium:
            row[PROMPT_SAVED] += saved
            row[PROMPT_PREMIUM] += premium
        _add_time(row, DURATION, DURATION_BUCKETS, record.seconds)
        if record.first_byte_seconds is not None:
            _add_time(row, FIRST_BYTE, FIRST_BYTE_BUCKETS, record.first_byte_seconds)

    def note_decision(self, feature: str, decision: str) -> None:
        """Count what a threshold of a budget did: `notify`, once for each told; `downgrade` or `cheapest`, each call.
        `feature` is empty where no single one is meant."""
        known = feature if feature in self._features else UNREGISTERED if feature else NOBODY
        key = (known, NOBODY, NOBODY, NOBODY, "", NO_OUTCOME, "", decision)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = self._tallies.row(key)
        row[REQUESTS] += 1

    def note_escalation(self, task: str, tier: str, check: str) -> None:
        """Count a call of a cascade that went on from `tier`; task, tier and check are declared or known ones."""
        key = (NOBODY, task or NOBODY, NOBODY, tier, "", NO_OUTCOME, "", ESCALATED + check)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = self._tallies.row(key)
        row[REQUESTS] += 1

    def _bounded_row(self, raw: Key) -> "memoryview[int]":
        feature, provider, model, tier, endpoint, outcome, cache, error = map(str, raw)
        key = (
            feature if feature in self._features else UNREGISTERED,
            provider if provider in self._providers else OTHER,
            model if model in self._models else OTHER,
            tier if tier in self._tiers else OTHER,
            endpoint if endpoint in ENDPOINTS else OTHER,
            outcome,
            cache,
            error if error in COUNTED_ERRORS else "",
        )
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = self._tallies.row(key)
        return row

    def render(self) -> bytes:
        """The page that Prometheus scrapes (`gateway.exposition.CONTENT_TYPE`); some milliseconds: off the
        loop."""
        lines = request_lines(self._tallies.totals())
        lines += self._gauge_lines()
        for source in self._sources:
            lines += source()
        lines.append("")
        return "\n".join(lines).encode()

    def _gauge_lines(self) -> list[str]:
        lines = value_lines(CONFIG_OK, [((), int(self._config_ok))])
        lines += value_lines(CONFIG_GENERATION, [((), self._generation)])
        if self._prices_ns is not None:
            age_us = (self._clock.wall_ns() - self._prices_ns) // 1000
            lines += value_lines(PRICE_AGE, [((), age_us)])
        return lines + value_lines(BUILD_INFO, [((self._version, platform.python_version()), 1)])

    def close(self) -> None:
        """Let the files of this worker go; its counts stay in them."""
        self._rows.clear()
        self._tallies.close()


def _add_tokens(row: "memoryview[int]", usage: Usage) -> None:
    if usage.input_uncached:
        row[INPUT_UNCACHED] += usage.input_uncached
    if usage.output:
        row[OUTPUT] += usage.output
    if usage.cache_read:
        row[CACHE_READ] += usage.cache_read
    # Most answers hold none of the rest: one test keeps them off the usual path.
    if (
        usage.reasoning
        or usage.cache_write_5m
        or usage.cache_write_1h
        or usage.input_audio
        or usage.output_audio
        or usage.input_image
    ):
        for slot, name in enumerate(TOKEN_CLASSES, TOKENS):
            if slot not in (INPUT_UNCACHED, OUTPUT, CACHE_READ):
                row[slot] += getattr(usage, name)


def _add_time(row: "memoryview[int]", slot: int, bounds: Sequence[int], seconds: float) -> None:
    microseconds = int(seconds * 1e6)
    row[slot] += microseconds
    row[slot + 1 + bisect_left(bounds, microseconds)] += 1
