"""Settings: everything the operator decided, as frozen values; nobody reads a file or the environment after this."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from farthing.catalog import Budget, Catalog, Deployment, PriceOverride, Timeouts, VirtualKey
from farthing.money import Nano
from farthing.tasksigns import AS_USUAL, Reading
from router_policies.breaker import BreakerRules


class MetricsAccess(StrEnum):
    """Who may read /metrics: this machine, holders of an admin key, or everybody."""

    LOOPBACK = "loopback"
    KEY = "key"
    OPEN = "open"


class UnregisteredFeatures(StrEnum):
    """What happens to calls of a feature that is not registered."""

    REFUSE = "refuse"
    COUNT = "count"


class UnknownTasks(StrEnum):
    """What happens to calls whose header names a task that is not declared."""

    REFUSE = "refuse"
    DEFAULT = "default"
    """They have no task."""


class PromptCounting(StrEnum):
    """Whether system prompts that no task claims are counted: where some task has a system prompt, or in any case."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class UpstreamClient(StrEnum):
    """What speaks HTTP to providers: our own client, or pyreqwest, which knows HTTP/2 and proxies."""

    RELAY = "relay"
    PYREQWEST = "pyreqwest"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """The listening side. Sizes in bytes, times in seconds."""

    host: str
    port: int
    workers: int
    max_body_bytes: int
    max_header_bytes: int
    max_headers: int
    metrics_access: MetricsAccess
    shutdown_grace_s: float
    keep_alive_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSettings:
    """`url` (postgresql://…) may hold a password, so repr never shows it; empty: SQLite in the data directory, whose
    `synchronous` is normal or full. Records older than `retention_s` seconds (None: none) become files in `archive`
    (None: in the data directory)."""

    synchronous: str = "normal"
    url: str = field(default="", repr=False)
    retention_s: int | None = None
    archive: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactCacheSettings:
    """Sizes in MiB and KiB, age in seconds."""

    enabled: bool
    memory_mb: int
    disk_mb: int
    ttl_s: int
    max_entry_kb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderSettings:
    """A model of a provider (with its own timeouts) whose vectors have `dimension` members; with `shorten` it is asked
    for so many."""

    place: Deployment
    dimension: int
    shorten: bool = False

    @property
    def version(self) -> str:
        """Names the vector space: vectors of different versions are never compared. Another address may be another
        model under the same name."""
        address = hashlib.sha256(self.place.provider.base_url.encode()).hexdigest()[:8]
        return f"{self.place.id}@{address}-d{self.dimension}{'-short' if self.shorten else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticCacheSettings:
    """`max_wrong` is a share of requests, `threshold` a cosine, `deadline_ms` the longest wait for a lookup,
    `max_queue` texts that may wait, `shadow_share` a share of hits; `judge` is a model, empty for none. `embedder` is
    None for the packaged one. `url` (postgresql://…) may hold a password, so repr never shows it; empty: SQLite in the
    data directory."""

    enabled: bool
    max_wrong: float
    threshold: float
    ttl_s: int
    deadline_ms: float
    embedder: EmbedderSettings | None
    max_queue: int
    shadow_share: float
    judge: str
    url: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """Both caches. `url` (redis://…) may hold a password, so repr never shows it; empty: files in the data
    directory."""

    exact: ExactCacheSettings
    semantic: SemanticCacheSettings
    url: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """The calling side. `timeouts` are in every provider already. `ca_file` is PEM.
    `proxy` is an address that may hold a password (never shown by repr), empty for none."""

    client: UpstreamClient
    max_connections: int
    ca_file: Path | None
    proxy: str = field(repr=False)
    http2: bool
    timeouts: Timeouts
    max_attempts: int
    breaker: BreakerRules = field(default_factory=BreakerRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingSettings:
    """`level`: debug, info, warning, error. `format`: json, text."""

    level: str
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """`webhook_url` may hold a secret (never shown by repr), empty for none; `timeout_s` is that of one try."""

    webhook_url: str = field(default="", repr=False)
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSchedule:
    """Runs that the gateway begins: `every_s` seconds it looks at what is due, and all runs of such a time may cost
    `budget` nano-dollars; `api_key_env` names the environment variable of their virtual key."""

    every_s: int
    budget: Nano
    api_key_env: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSettings:
    """`suites` is a directory. `valid_for_s`: age in seconds at which a pass no longer counts, None: never. `budget` is
    the most that one run may cost, nano-dollars; `scorecards_dir` the directory of cards where these are files,
    `base_url` the gateway for runs (with /v1), empty where it serves on the addresses of the configuration."""

    feature: str
    suites: Path
    concurrency: int
    allow_code: bool
    valid_for_s: int | None
    budget: Nano | None = None
    scorecards_dir: Path | None = None
    base_url: str = ""
    schedule: EvalSchedule | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSettings:
    """How the task is told of requests that name none. `classifier` is the file of the classifier, None: the one in
    the data directory; a call waits for it for `deadline_s` seconds at most. `other_examples` is a file with requests
    of no task."""

    reading: Reading = AS_USUAL
    unknown: UnknownTasks = UnknownTasks.REFUSE
    counting: PromptCounting = PromptCounting.AUTO
    classifier: Path | None = None
    other_examples: Path | None = None
    deadline_s: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One generation of the configuration. `keys` by SHA-256 digest (32 bytes). `fingerprint` changes with any
    meaning, `sources_digest` with any byte of `files`."""

    server: ServerSettings
    data_dir: Path
    ledger: LedgerSettings
    cache: CacheSettings
    upstream: UpstreamSettings
    logging: LoggingSettings
    unregistered_features: UnregisteredFeatures
    tasks: TaskSettings
    catalog: Catalog
    keys: Mapping[bytes, VirtualKey]
    budgets: tuple[Budget, ...]
    alerts: AlertSettings
    prices: tuple[PriceOverride, ...]
    evals: EvalSettings
    files: tuple[Path, ...]
    fingerprint: str
    sources_digest: str = ""

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """Everything that calls can be sent to: those of clients, and the gateway's own."""
        embedder = self.cache.semantic.embedder
        own = () if embedder is None else (embedder.place,)
        return (*(place for places in self.catalog.models.values() for place in places), *own)
