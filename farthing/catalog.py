"""Catalogue: what the platform team declared, as frozen values: keys, providers, tiers, tasks, features, budgets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from math import inf

from farthing.money import Nano
from farthing.tags import Tags
from farthing.tasksigns import NO_SIGNS, TaskSigns


class Right(StrEnum):
    """What a virtual key may do besides calling models."""

    CALL = "call"
    ADMIN = "admin"


class CacheAccess(StrEnum):
    """What a virtual key has of the caches that it shares with others."""

    FULL = "full"
    """It is served from them, and what it asks may serve others."""
    READ = "read"
    """It is served from them, and leaves nothing in them: for keys in hands that are trusted less."""
    NONE = "none"
    """Neither."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualKey:
    """One virtual key. Only its SHA-256 is known. `features` empty means every registered feature."""

    id: str
    sha256: bytes
    tenant: str
    feature: str = ""
    task: str = ""
    environment: str = ""
    team: str = ""
    features: frozenset[str] = frozenset()
    rights: frozenset[Right] = frozenset({Right.CALL})
    cache: CacheAccess = CacheAccess.FULL
    expires_ns: int | None = None


class CacheWire(StrEnum):
    """How a provider is told to keep the beginning of a prompt."""

    NONE = "none"
    """Not at all: it has no such cache, or sees to it itself."""
    MARKS = "cache_control"
    """By marks in messages and tools, as Anthropic has them."""
    KEY = "prompt_cache_key"
    """It keeps all it can, and brings calls with the same key together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """How a provider departs from OpenAI's wire format, as data.

    `output_cap_field`: name of the output cap in a chat body. `stream_usage`: it understands
    stream_options.include_usage. `path_prefix`: put between base URL and operation. `query`: appended to the URL
    (Azure's api-version). `key_header`: header that carries the key; `key_scheme` its prefix. `cap_escapes`:
    fields of its own that override the output cap, the number of choices or which model is billed; calls that carry
    one are refused.
    `usage_covers_choices`: with n > 1 its usage counts every choice; where not, such usage is estimated instead.
    `base64_embeddings`: it sends vectors as base64 where asked to. `prompt_cache`: how it is told what to keep.
    """

    output_cap_field: str = "max_tokens"
    stream_usage: bool = True
    path_prefix: str = ""
    query: str = ""
    key_header: str = "authorization"
    key_scheme: str = "Bearer "
    cap_escapes: tuple[str, ...] = ()
    usage_covers_choices: bool = True
    base64_embeddings: bool = False
    prompt_cache: CacheWire = CacheWire.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds to wait for the connection, the first byte, between two bytes, and for the whole answer."""

    connect: float = 5.0
    first_byte: float = 120.0
    idle: float = 60.0
    total: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """A GET every so many seconds. `path` is below the base URL, with a leading slash below the server's root."""

    path: str
    every_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Where deployments live. `adapter` is `openai` (spoken natively) or `litellm`. `price_provider` is the
    name under which prices are looked up. `api_key` is the secret itself (never shown by repr)."""

    name: str
    adapter: str
    base_url: str
    api_key: str = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    price_provider: str = ""
    quirks: Quirks = Quirks()
    timeouts: Timeouts = Timeouts()
    health: HealthCheck | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One model at one provider. `model` is the name sent upstream, `name` the name clients use."""

    name: str
    provider: Provider
    model: str
    weight: int = 1
    context_window: int | None = None
    max_output_tokens: int | None = None

    @property
    def id(self) -> str:
        """`provider/model`, unique within a tier."""
        return f"{self.provider.name}/{self.model}"


class Balance(StrEnum):
    """Which deployment of a tier is tried first."""

    WEIGHTED = "weighted"
    """They take turns by their weights."""
    LEAST_OUTSTANDING = "least_outstanding"
    """The one with the fewest calls under way for its weight."""


class Affinity(StrEnum):
    """Whether calls with the same prompt prefix go to the same deployment, whose provider may have it in its cache."""

    NONE = "none"
    AUTO = "auto"
    """Those of features with `prompt_cache: auto` do."""
    PROMPT = "prompt"
    """They do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A step of the ladder of models; tiers are ordered cheapest first, `rank` 0 is the cheapest. `fallback` is the
    tier that answers where none of its deployments does, empty for none."""

    name: str
    rank: int
    deployments: tuple[Deployment, ...]
    balance: Balance = Balance.WEIGHTED
    affinity: Affinity = Affinity.AUTO
    fallback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerCheck:
    """What can be seen of an answer without a model: see `router_policies.checks`. Lengths are characters of its text;
    `json` asks for a JSON value, `regex` must be found in it (empty: none), `refusal` takes a refusal for a fault."""

    json: bool = False
    regex: str = ""
    min_chars: int = 0
    max_chars: int | None = None
    refusal: bool = True


class LiveGrader(StrEnum):
    """How a sampled answer of a tier is graded."""

    AGREEMENT = "agreement"
    """It says the same as the reference's own answer: the same label, JSON or tool calls."""
    JUDGE = "judge"
    """The same, and where that cannot be told, the judge of the semantic cache says whether it serves as well."""
    NONE = "none"
    """Not at all: only checks and revisions are watched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRule:
    """How the live answers of a task's tiers are watched. `share` of them is graded, ten times as much until `period`
    are; from then on the grades are held to those of the period, less `margin`. `most_faulty` is the share of answers
    that may fail the task's check; `revisions`: whether another model behind the same name counts."""

    grader: LiveGrader = LiveGrader.AGREEMENT
    share: float = 0.02
    margin: float = 0.05
    period: int = 100
    most_faulty: float = 0.2
    revisions: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A kind of task: the bar, the tier that is trusted, and the tiers that may take over once they pass.

    `bar` is the least share that a tier must get right (0: none), `margin` the most that it may be worse than the
    reference (None: it need not be compared). One of them is given. `check` is what every answer has to be like;
    `live` how they are watched (None: not at all). By its
    `signs` requests are known to be of the task that do not name one.
    """

    name: str
    bar: Decimal
    reference: str
    candidates: tuple[str, ...] = ()
    margin: Decimal | None = None
    check: AnswerCheck = AnswerCheck()
    live: LiveRule | None = None
    signs: TaskSigns = NO_SIGNS


class Measure(StrEnum):
    """What of a call's time is bounded."""

    FIRST_BYTE = "first_byte"
    TOTAL = "total"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRule:
    """A policy with its parameters; `then` is the policy that it asks, None for one that asks none or the default one.

    `tier`: who answers first in a cascade, or is asked besides by a shadow; empty for the cheapest candidate.
    `p95_s` and `measure` are of latency_bound, seconds. `full_at` is of budget_aware: how far the share of the limit
    that is spent may run ahead of the share of the window that has passed before the cheapest tier answers.
    `items` is of canary: graded items for each step. `share` is of shadow: the share of calls that it follows.
    """

    kind: str
    tier: str = ""
    p95_s: float = inf
    measure: Measure = Measure.TOTAL
    full_at: float = 0.2
    items: int = 50
    share: float = 0.05
    then: "PolicyRule | None" = None


class HangUp(StrEnum):
    """What becomes of a stream upstream when its client leaves."""

    ABORT = "abort"
    """It is stopped; what was delivered is charged, as an estimate."""
    DRAIN = "drain"
    """It is read to its end, charged by the provider's own figure and kept for the caches."""


class Replay(StrEnum):
    """How a stored answer is given to a client that asked for a stream."""

    INSTANT = "instant"
    """All at once."""
    PACED = "paced"
    """Bit by bit, in the time that its provider took for it."""


class OutputBound(StrEnum):
    """How much output the hold of a stream covers at first."""

    CAP = "cap"
    """All that the call may have."""
    LEARNED = "learned"
    """What the feature's answers were like lately; a stream that outgrows it holds more, or is stopped."""


class PromptCache(StrEnum):
    """Whether providers are to keep the beginnings of a feature's prompts."""

    OFF = "off"
    """As the client says."""
    AUTO = "auto"
    """Where its traffic has shown that it pays, unless the client says something itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A registered feature: how it is routed, cached and capped. `tier` is for policy `fixed`. `policy` is the name of
    a policy, `rule` what is declared under it, None for one that takes no parameters.

    `override_model`: route even where the client named a concrete model. `max_output_tokens` is the cap that
    the gateway writes into a request whose client gave none. `semantic_threshold` is the least cosine of a paraphrase,
    `semantic_max_wrong` the share of requests that may be answered wrongly by one. `cache_tags` are those of its
    answers by which they can be purged.
    """

    name: str
    team: str = ""
    task: str = ""
    policy: str = "cheapest_passing"
    rule: PolicyRule | None = None
    tier: str = ""
    override_model: bool = False
    exact_cache: bool = True
    semantic_cache: bool = False
    semantic_threshold: float | None = None
    semantic_max_wrong: float | None = None
    cache_ttl_s: int | None = None
    cache_tags: tuple[str, ...] = ()
    replay: Replay = Replay.INSTANT
    max_output_tokens: int = 1024
    on_hang_up: HangUp = HangUp.ABORT
    output_bound: OutputBound = OutputBound.CAP
    prompt_cache: PromptCache = PromptCache.OFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The routing tables of one configuration generation. `tiers` in order; `models` maps a client's model name
    to its deployments; `aliases` a client's name to `auto` or `tier/NAME`; `fingerprint` changes with any of it."""

    tiers: tuple[Tier, ...]
    tasks: Mapping[str, Task]
    features: Mapping[str, Feature]
    models: Mapping[str, tuple[Deployment, ...]]
    aliases: Mapping[str, str]
    default_tier: str
    fingerprint: str

    def tier(self, name: str) -> Tier:
        """The tier of that name; raises KeyError."""
        for tier in self.tiers:
            if tier.name == name:
                return tier
        raise KeyError(name)


class Window(StrEnum):
    """How long a budget runs before it starts anew. `run` never does: it belongs to one run."""

    RUN = "run"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"


class Step(StrEnum):
    """What a threshold of a budget does, mildest first. Beyond the limit itself calls are refused in any case."""

    NOTIFY = "notify"
    """Tell, and change nothing."""
    DOWNGRADE = "downgrade"
    """Route to the next cheaper tier that has a valid pass."""
    CHEAPEST = "cheapest"
    """Route to the cheapest tier that has a valid pass, and try one deployment only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """At which share of the limit (above 0, below 1) a step is taken."""

    at: Decimal
    do: Step

    @property
    def percent(self) -> str:
        """The share for people, such as `80%`."""
        return f"{(self.at * 100).normalize():f}%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A hard cap. It binds calls whose tags equal every pair of `where`, with one account for every combination of
    the values of `per` (so `per: [run]` gives each run its own; runs belong to their tenant). Scopes: tenant, key,
    feature, task, run, environment, team. `window` RUN needs `run` in `per`. `thresholds` ascend. `max_run` is the
    most that opening a run may lift its account of this budget to, None: no more than `limit`."""

    id: str
    limit: Nano
    window: Window
    where: tuple[tuple[str, str], ...] = ()
    per: tuple[str, ...] = ()
    timezone: str = "UTC"
    thresholds: tuple[Threshold, ...] = ()
    max_run: Nano | None = None

    def binds(self, tags: Tags) -> bool:
        """True if the budget applies to a call with these tags."""
        return all(tags.scope(scope) == value for scope, value in self.where) and all(
            tags.scope(scope) for scope in self.per
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceOverride:
    """A price of `config/prices.yaml`; it wins over the packaged snapshot from `valid_from_ns` on. Rates in USD per
    million tokens, per request, per search, per second of upstream time; None: not given (see `ledger.overrides`).

    `service_tier` empty is the standard one. `above_input_tokens`: for requests with more input than that, beside an
    entry for the others.
    """

    provider: str
    model: str
    service_tier: str = ""
    above_input_tokens: int = 0
    input_per_mtok: Decimal | None = None
    output_per_mtok: Decimal | None = None
    cache_read_per_mtok: Decimal | None = None
    cache_write_per_mtok: Decimal | None = None
    cache_write_1h_per_mtok: Decimal | None = None
    reasoning_per_mtok: Decimal | None = None
    input_audio_per_mtok: Decimal | None = None
    cached_audio_per_mtok: Decimal | None = None
    output_audio_per_mtok: Decimal | None = None
    input_image_per_mtok: Decimal | None = None
    cached_image_per_mtok: Decimal | None = None
    output_image_per_mtok: Decimal | None = None
    input_video_per_mtok: Decimal | None = None
    output_video_per_mtok: Decimal | None = None
    output_citation_per_mtok: Decimal | None = None
    per_request: Decimal | None = None
    per_web_search: Decimal | None = None
    per_storage_search: Decimal | None = None
    per_second: Decimal | None = None
    valid_from_ns: int = 0
    source: str = ""
    reason: str = ""
