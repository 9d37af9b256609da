"""Forms of the sections that run the gateway: server, ledger, caches, upstream, logging, keys, budgets, prices, evals.

A form is what the YAML may hold; `gateway.settings.build` turns forms into the frozen values that the gateway uses.
"""

import itertools
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from farthing.catalog import CacheAccess, Right, Step, Window
from gateway.settings import scalars
from gateway.settings.scalars import (
    CacheUrl,
    DatabaseUrl,
    Day,
    Flag,
    KeyHash,
    Model,
    Proxy,
    Rate,
    Ratio,
    Tag,
    Text,
    Usd,
    Webhook,
    Zone,
    fault,
)

RATES = (
    "input_per_mtok",
    "output_per_mtok",
    "cache_read_per_mtok",
    "cache_write_per_mtok",
    "cache_write_1h_per_mtok",
    "reasoning_per_mtok",
    "input_audio_per_mtok",
    "cached_audio_per_mtok",
    "output_audio_per_mtok",
    "input_image_per_mtok",
    "cached_image_per_mtok",
    "output_image_per_mtok",
    "input_video_per_mtok",
    "output_video_per_mtok",
    "output_citation_per_mtok",
    "per_request",
    "per_web_search",
    "per_storage_search",
    "per_second",
)
MINILM = "minilm"
SCOPES = ("tenant", "key", "feature", "task", "run", "environment", "team")

Ttl = Annotated[int, scalars.duration("1s", "366d", whole_seconds=True)]
Wait = Annotated[float, scalars.duration("10ms", "1d")]
MaxWrong = Annotated[float, scalars.percent("0.01%", "20%")]
InputTokens = Annotated[int, scalars.whole(0, 10**9)]
Scope = Annotated[str, scalars.choice(*SCOPES)]


def setting(default: Any, about: str) -> Any:
    """A setting with a default, written as in YAML, and the sentence that explains it."""
    return Field(default, description=about)


def required(about: str) -> Any:
    """A setting that must be given, and the sentence that explains it."""
    return Field(description=about)


class Form(BaseModel):
    """A mapping with known names only; an empty one takes every default."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _read_nothing_as_defaults(cls, value: Any) -> Any:
        return {} if value is None else value


class ServerForm(Form):
    """The listening side."""

    host: Text = setting("127.0.0.1", "Address to listen on; 0.0.0.0 is every interface.")
    port: Annotated[int, scalars.whole(0, 65535)] = setting(4141, "TCP port; 0 takes a free one.")
    workers: Annotated[int, scalars.whole(1, 64)] = setting(
        1, "Processes that share the port and the ledger; one per CPU core at most."
    )
    max_body_bytes: Annotated[int, scalars.whole(1024, 2**30)] = setting(
        33554432, "Largest request body in bytes; a larger one gets 413."
    )
    max_header_bytes: Annotated[int, scalars.whole(1024, 2**20)] = setting(
        65536, "Largest sum of all request headers in bytes; more gets 431."
    )
    max_headers: Annotated[int, scalars.whole(8, 1000)] = setting(100, "Most headers in a request; more gets 431.")
    metrics_access: Annotated[str, scalars.choice("loopback", "key", "open")] = setting(
        "loopback",
        "Who may read /metrics: this machine only, any holder of a key with the right admin, or everybody.",
    )
    shutdown_grace: Wait = setting("30s", "How long running requests may take to finish after a signal to stop.")
    keep_alive: Wait = setting("75s", "How long an idle client connection is kept open.")


class LedgerForm(Form):
    """The books."""

    url: DatabaseUrl | None = setting(
        None, "PostgreSQL database that the gateways of several machines share; none: SQLite in data_dir."
    )
    synchronous: Annotated[str, scalars.choice("normal", "full")] = setting(
        "normal",
        "SQLite's durability: normal survives a crash of the process, full also a loss of power.",
    )
    retention: Annotated[int, scalars.duration("35d", "3660d", whole_seconds=True, or_none=True)] | None = setting(
        None, "Age at which records become Parquet files and leave the ledger, from 35d; none: they stay for ever."
    )
    archive: Text | None = setting(
        None, "Directory of these files, relative to the current directory; none given: archive in data_dir."
    )


class ExactCacheForm(Form):
    """Answers to the very same request."""

    enabled: Flag = setting(True, "Whether there is an exact cache at all.")
    memory_mb: Annotated[int, scalars.whole(0, 65536)] = setting(64, "Memory for hot answers per worker, MiB.")
    disk_mb: Annotated[int, scalars.whole(1, 1048576)] = setting(1024, "Disk for answers, MiB.")
    ttl: Ttl = setting("24h", "Age after which an answer is forgotten, unless the feature says otherwise.")
    max_entry_kb: Annotated[int, scalars.whole(1, 65536)] = setting(1024, "Largest answer that is kept, KiB.")


class JudgeForm(Form):
    """Who compares two answers."""

    model: Text | None = setting(None, "Model, tier/NAME or alias of the judge; without one such pairs stay undecided.")


class EmbedderForm(Form):
    """Who turns prompts into vectors; the word minilm is that of the packaged model, and the same as nothing at all."""

    provider: Text | None = setting(
        None, "Provider whose model turns prompts into vectors; none: minilm, packaged, on this machine's CPU."
    )
    model: Model | None = setting(None, "The provider's name of the model.")
    dimensions: Annotated[int, scalars.whole(8, 8192)] | None = setting(None, "Length of the model's vectors.")
    shorten: Flag = setting(False, "Whether to ask for vectors of that length, of a model that can shorten its own.")

    @model_validator(mode="before")
    @classmethod
    def _read_word(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value == MINILM:
            return {}
        raise fault("{given} is not possible here; write minilm, or {provider: ..., model: ..., dimensions: ...}")

    @model_validator(mode="after")
    def _check(self) -> "EmbedderForm":
        needed = {"provider": self.provider, "model": self.model, "dimensions": self.dimensions}
        missing = [name for name, value in needed.items() if value is None]
        if missing and (len(missing) < len(needed) or self.shorten):
            raise fault("is missing; an embedder needs provider, model and dimensions, or write minilm", missing[0])
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"enum": [MINILM]}, handler(core), scalars.REFERENCE]}


class SemanticCacheForm(Form):
    """Answers to a request that means the same."""

    enabled: Flag = setting(True, "Whether there is a semantic cache; each feature must still ask for it.")
    url: DatabaseUrl | None = setting(
        None,
        "PostgreSQL database with pgvector whose semantic cache the gateways of several machines share; "
        "none: SQLite in data_dir.",
    )
    max_wrong: MaxWrong = setting(
        "0.5%", "Share of the requests looked up that may get a wrong answer; what may be served follows from it."
    )
    threshold: Ratio = setting(
        "0.5", "Least cosine between two prompts, above 0 up to 1, whatever else is known; below it nothing is served."
    )
    ttl: Ttl = setting("24h", "Age after which an answer is forgotten, unless the feature says otherwise.")
    deadline: Annotated[float, scalars.duration("1ms", "10s")] = setting(
        "50ms", "Longest that a request waits for the lookup; after it the call goes on as a miss."
    )
    embedder: EmbedderForm = setting(MINILM, "What turns prompts into vectors: minilm, or a model of a provider.")
    max_queue: Annotated[int, scalars.whole(1, 10000)] = setting(
        64, "Texts that may wait for the embedder; beyond it lookups are misses."
    )
    shadow_share: Annotated[float, scalars.percent("0%", "100%")] = setting(
        "5%", "Share of hits that a model answers as well, afterwards, to learn how many are wrong."
    )
    judge: JudgeForm = setting({}, "A model that compares answers where the gateway itself cannot.")


class CacheForm(Form):
    """Both caches."""

    url: CacheUrl | None = setting(
        None,
        "Redis or Valkey server whose exact cache the gateways of several machines share; none: files in data_dir.",
    )

    exact: ExactCacheForm = setting({}, "The exact cache.")
    semantic: SemanticCacheForm = setting({}, "The semantic cache.")


class TimeoutsForm(Form):
    """How long to wait for a provider."""

    connect: Wait = setting("5s", "For the connection.")
    first_byte: Wait = setting("120s", "For the first byte of the answer.")
    idle: Wait = setting("60s", "Between two parts of an answer.")
    total: Wait = setting("600s", "For the whole answer.")


class BreakerForm(Form):
    """When a deployment is left out after failures."""

    failures: Annotated[int, scalars.whole(1, 1000)] = setting(5, "It is left out after so many in a row.")
    error_rate: Annotated[float, scalars.percent("1%", "100%")] = setting(
        "50%", "It is left out where this share of its calls in the window failed."
    )
    window: Annotated[float, scalars.duration("1s", "1h")] = setting("30s", "How far back that share looks.")
    least_calls: Annotated[int, scalars.whole(1, 100000)] = setting(
        20, "Calls in the window below which the share says nothing."
    )
    longest: Annotated[float, scalars.duration("0s", "1d")] = setting(
        "2m",
        "Longest that it is left out at a time: upstream.cooldown doubles up to it, and it bounds what a provider "
        "asks for.",
    )


class UpstreamForm(Form):
    """The calling side."""

    client: Annotated[str, scalars.choice("relay", "pyreqwest")] = setting(
        "relay", "What speaks HTTP to providers: relay, the gateway's own client, or pyreqwest for HTTP/2 or a proxy."
    )
    max_connections: Annotated[int, scalars.whole(1, 10000)] = setting(
        256, "Most open connections to one provider per worker."
    )
    ca_file: Text | None = setting(
        None, "PEM file of authorities that are trusted beside the system's, relative to the current directory."
    )
    proxy: Proxy | None = setting(
        None, "Address of the proxy through which every provider is reached, or none; only with client: pyreqwest."
    )
    http2: Flag = setting(False, "Whether to speak HTTP/2 where a provider has it; only with client: pyreqwest.")
    timeouts: TimeoutsForm = setting({}, "Waiting times of every provider that sets none itself.")
    max_attempts: Annotated[int, scalars.whole(1, 10)] = setting(
        3, "Deployments tried for one request, before the first byte only; 1 never fails over."
    )
    cooldown: Annotated[float, scalars.duration("0s", "1h")] = setting(
        "30s",
        "How long a deployment that failed is tried last, at first; twice as long each time that it has not recovered. "
        "0s: never.",
    )
    breaker: BreakerForm = setting({}, "When a deployment counts as failed, beside one that cannot be reached.")

    @model_validator(mode="after")
    def _check(self) -> "UpstreamForm":
        for name in ("proxy", "http2"):
            if getattr(self, name) and self.client != "pyreqwest":
                problem = f"the client {self.client} has none; write client: pyreqwest, or delete the line"
                raise fault(problem, name)
        return self


class LoggingForm(Form):
    """The log on standard error; it never holds prompts, answers or keys."""

    level: Annotated[str, scalars.choice("debug", "info", "warning", "error")] = setting(
        "info", "The least severe lines that are written."
    )
    format: Annotated[str, scalars.choice("json", "text")] = setting(
        "json", "One JSON object a line, or text for people."
    )


class EvalScheduleForm(Form):
    """When the gateway runs evals that are due."""

    every: Annotated[int, scalars.duration("10m", "366d", whole_seconds=True)] | None = setting(
        None, "Time between two looks at what is due; none: it never looks."
    )
    budget_usd: Usd | None = setting(None, "The most in USD that all runs within this time may cost; it needs one.")


class EvalsForm(Form):
    """How suites are run."""

    feature: Tag = setting("evals", "The registered feature under which eval calls are booked.")
    suites: Text = setting("evals/suites", "Directory of suites, relative to the current directory.")
    concurrency: Annotated[int, scalars.whole(1, 256)] = setting(2, "Calls in flight during a run.")
    allow_code: bool = setting(
        False, "Run the code of answers, in a sandbox, for assertions of type `code`; such a suite is refused without."
    )
    valid_for: Annotated[int, scalars.duration("1s", "366d", whole_seconds=True, or_none=True)] = setting(
        "14d",
        "Age of its oldest answer at which a pass no longer counts; none: it counts until something changes.",
    )
    budget_usd: Usd | None = setting(None, "The most in USD that one run may cost; none: what its suite allows.")
    scorecards: Annotated[str, scalars.choice("rows", "files")] = setting(
        "rows",
        "What routing goes by: rows of evals.db, or files of scorecards_dir, for several machines.",
    )
    scorecards_dir: Text = setting(
        "config/scorecards", "Directory of the scorecards as files, relative to the current directory."
    )
    base_url: Text | None = setting(
        None, "Where runs find the gateway, with its /v1; none: where server.host and server.port say."
    )
    api_key_env: Text | None = setting(
        None, "Environment variable with the virtual key of the schedule's runs; the schedule needs it."
    )
    schedule: EvalScheduleForm = setting({}, "Runs that the gateway itself begins when evals are due.")


class KeyForm(Form):
    """One virtual key."""

    id: Tag = required("Name of the key in reports and budgets; not secret.")
    hash: KeyHash = required("sha256:HEX of the key, as `farthing keys new` prints it, or a reference to it.")
    tenant: Tag = required("The organisation whose money and cache the key uses.")
    feature: Tag | None = setting(None, "Feature of calls that name none.")
    task: Tag | None = setting(None, "Task of calls that name none.")
    environment: Tag | None = setting(None, "Environment of calls that name none, such as production.")
    team: Tag | None = setting(None, "Team to which calls are booked; else the team of the feature.")
    features: list[Tag] = setting([], "Features the key may name; empty means every registered one.")
    rights: list[Annotated[str, scalars.choice(*Right)]] = setting(
        ["call"], "call: use models. admin: also reports, admin pages and metrics."
    )
    cache: Annotated[str, scalars.choice(*CacheAccess)] = setting(
        "full",
        "full: served from the caches, and what it asks may serve others. read: served, and leaves nothing there. "
        "none: neither.",
    )
    expires: Day | None = setting(None, "Day (YYYY-MM-DD) at whose start, 00:00 UTC, the key stops working.")

    @model_validator(mode="after")
    def _check(self) -> "KeyForm":
        if self.features and self.feature and self.feature not in self.features:
            raise fault("{given} is not among the key's `features`; add it there", "feature")
        if not self.rights:
            raise fault("a key without rights can do nothing; write [call], or remove the key", "rights")
        return self


class AlertsForm(Form):
    """Who is told of a budget's thresholds, besides log and metric."""

    webhook_url: Webhook | None = setting(
        None, "${NAME} of an environment variable with the address that gets a POST for every threshold, or none."
    )
    timeout: Annotated[float, scalars.duration("100ms", "1m")] = setting(
        "5s", "How long one of the three tries may take; no call waits for it."
    )


class ThresholdForm(Form):
    """What happens when a budget is used up to a share."""

    at: Annotated[Decimal, scalars.number(1, places=6, above_zero=True)] = required(
        "Share of the limit, spent and held, above 0 and below 1."
    )
    do: Annotated[str, scalars.choice(*Step)] = required(
        "notify: log, metric and webhook. downgrade: also route to the next cheaper tier that has a valid pass. "
        "cheapest: to the cheapest of these, with one try."
    )

    @model_validator(mode="after")
    def _check(self) -> "ThresholdForm":
        if self.at >= 1:
            raise fault("at 1 every call is refused anyway; write a share below it", "at")
        return self


class BudgetForm(Form):
    """One hard cap."""

    id: Tag = required("Name of the budget in refusals and reports.")
    limit_usd: Usd = required("The cap in USD, exact to nine decimal places; 0 stops all spending.")
    window: Annotated[str, scalars.choice(*Window)] = required(
        "When it starts anew: hour, day, week, month, quarter, or run (never: each run has its own)."
    )
    where: dict[Scope, Tag] = setting({}, "Scopes and values a call must have to count; empty: every call.")
    per: list[Scope] = setting([], "Scopes of which every value has an account of its own.")
    timezone: Zone = setting("UTC", "Time zone in which days, weeks, months and quarters begin.")
    thresholds: list[ThresholdForm] = setting([], "What happens before the cap is reached, in ascending order.")
    max_run_usd: Usd | None = setting(
        None, "Window run only: the highest cap in USD that a run may be opened with; without it limit_usd."
    )

    @model_validator(mode="after")
    def _check(self) -> "BudgetForm":
        shares = [threshold.at for threshold in self.thresholds]
        for index, (lower, higher) in enumerate(itertools.pairwise(shares), start=1):
            if lower >= higher:
                raise fault("{given} does not come after the one above; list them in ascending order", *_at(index))
        if self.max_run_usd is not None and self.window != Window.RUN:
            raise fault("only the window run has opened runs; delete the line", "max_run_usd")
        if self.max_run_usd is not None and self.max_run_usd < self.limit_usd:
            raise fault("{given} is below limit_usd; raise it, or delete the line", "max_run_usd")
        if self.window == Window.RUN and "run" not in self.per:
            raise fault("the window run needs an account for each run; write per: [run]", "window")
        if len(set(self.per)) < len(self.per):
            raise fault("a scope is listed twice; keep one", "per")
        return self


def _at(index: int) -> tuple[str | int, ...]:
    return "thresholds", index, "at"


class PriceForm(Form):
    """One price that wins over the packaged price list."""

    provider: Tag = required("Provider under `providers:`, or its price_provider.")
    model: Model = required("Model as it is sent to the provider.")
    service_tier: Tag | None = setting(None, "Tier as the provider's answer names it, such as flex; none: standard.")
    above_input_tokens: InputTokens = setting(
        0, "For requests with more input tokens than this; another entry prices those with fewer."
    )
    input_per_mtok: Rate | None = setting(None, "USD per million input tokens.")
    output_per_mtok: Rate | None = setting(None, "USD per million output tokens; 0 for embeddings.")
    cache_read_per_mtok: Rate | None = setting(None, "USD per million input tokens read from its cache.")
    cache_write_per_mtok: Rate | None = setting(None, "USD per million input tokens written to its cache.")
    cache_write_1h_per_mtok: Rate | None = setting(None, "The same for tokens written for an hour.")
    reasoning_per_mtok: Rate | None = setting(None, "USD per million reasoning tokens.")
    input_audio_per_mtok: Rate | None = setting(None, "USD per million input tokens of audio.")
    cached_audio_per_mtok: Rate | None = setting(None, "USD per million tokens of audio read from its cache.")
    output_audio_per_mtok: Rate | None = setting(None, "USD per million output tokens of audio.")
    input_image_per_mtok: Rate | None = setting(None, "USD per million input tokens of images.")
    cached_image_per_mtok: Rate | None = setting(None, "USD per million tokens of images read from its cache.")
    output_image_per_mtok: Rate | None = setting(None, "USD per million output tokens of images.")
    input_video_per_mtok: Rate | None = setting(None, "USD per million input tokens of video.")
    output_video_per_mtok: Rate | None = setting(None, "USD per million output tokens of video.")
    output_citation_per_mtok: Rate | None = setting(None, "USD per million tokens of citations, outside the output.")
    per_request: Rate | None = setting(None, "USD per request.")
    per_web_search: Rate | None = setting(None, "USD per search that the provider makes for an answer.")
    per_storage_search: Rate | None = setting(None, "USD per search of files that the provider stores.")
    per_second: Rate | None = setting(None, "USD per second that the provider works on a request.")
    free: Flag = setting(False, "true says that costing nothing is meant; a price of zero needs it.")
    valid_from: Day | None = setting(None, "First day (YYYY-MM-DD, from 00:00 UTC) of the price.")
    source: Text | None = setting(None, "Where the figures come from, such as an address or a contract.")
    reason: Text | None = setting(None, "Why the packaged price is not used.")

    @model_validator(mode="after")
    def _check(self) -> "PriceForm":
        rates = {name: rate for name in RATES if (rate := getattr(self, name)) is not None}
        if self.free:
            if any(rates.values()):
                raise fault("the price is free and has a rate above zero; delete one of the two", "free")
            return self
        if not rates:
            raise fault("no rate is given; write input_per_mtok and output_per_mtok, per_request or per_second")
        _check_token_rates(rates)
        if not any(rates.values()):
            raise fault("every rate is zero; write free: true if that is meant", next(iter(rates)))
        return self


def _check_token_rates(rates: Mapping[str, object]) -> None:
    """A price with one rate a token names both, so that no forgotten rate is taken for zero."""
    if not any(name.endswith("_per_mtok") for name in rates):
        return
    for name in ("input_per_mtok", "output_per_mtok"):
        if name not in rates:
            raise fault(f"is missing beside the other rates; write {name}: 0 if that is meant", name)
