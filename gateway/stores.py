"""Stores: what all workers share of the exact cache, as the configuration names it, for gateways and for commands."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from cache.epochs import EpochRows
from cache.leases import FileLeases, Leases
from cache.stores.epochs import SQLiteEpochs
from cache.stores.sqlite import SQLiteStore
from farthing.errors import ConfigError
from farthing.ports import Clock, Store
from gateway.exposition import Family, Kind, value_lines
from gateway.files import Files
from gateway.settings import Settings

MEBIBYTE: Final = 1024 * 1024
SERVER_UP: Final = Family(
    name="farthing_cache_server_up",
    kind=Kind.GAUGE,
    help="1 if the server of cache.url answers this worker, 0 if it does not and calls are misses.",
)
SERVER_ERRORS: Final = Family(
    name="farthing_cache_server_errors",
    kind=Kind.GAUGE,
    help="Questions of this worker that the server of cache.url did not answer, or not in time.",
)
CACHE_GAUGES: Final = (SERVER_UP, SERVER_ERRORS)
NO_POSTGRES: Final = (
    "`cache.semantic.url` needs the package psycopg, which is not installed: pip install 'farthing[postgres]', or "
    "scripts/install postgres in a checkout."
)
Spawn = Callable[[Coroutine[Any, Any, None]], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What is shared. `leases` is None where nobody else is there; `lines` tells Prometheus how the server fares."""

    store: Store
    epochs: EpochRows
    leases: Leases | None
    close: Callable[[], Coroutine[Any, Any, None]]
    lines: Callable[[], list[str]]


def open_stores(settings: Settings, clock: Clock, spawn: Spawn, *, workers: bool) -> Stores:
    """Those of the server of `cache.url`, else the files in the data directory. `spawn` runs what no call waits for;
    `workers`: several processes share the files.

    Raises ConfigError where a package is missing, OSError or sqlite3.Error where the files cannot be used. A server
    that does not answer is no error: it is away, until it is not.
    """
    return _server(settings.cache.url, clock, spawn) if settings.cache.url else _files(settings, clock, workers=workers)


def _files(settings: Settings, clock: Clock, *, workers: bool) -> Stores:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    files = Files.below(settings.data_dir)
    epochs = _shared_epochs(settings, clock) or SQLiteEpochs.open(files.answers, clock)
    leases = FileLeases.open(files.leases) if workers else None
    store = SQLiteStore.open(files.answers, max_bytes=settings.cache.exact.disk_mb * MEBIBYTE)

    async def close() -> None:
        await store.close()
        await epochs.close()
        if leases is not None:
            await leases.close()

    return Stores(store=store, epochs=epochs, leases=leases, close=close, lines=list)


def _shared_epochs(settings: Settings, clock: Clock) -> EpochRows | None:
    """Whoever shares the semantic cache shares its purges: they are part of every key."""
    url = settings.cache.semantic.url
    if not url or not settings.cache.semantic.enabled:
        return None
    try:
        from cache.stores.postgres_epochs import PostgresEpochs
    except ImportError:
        raise ConfigError(NO_POSTGRES) from None
    return PostgresEpochs.open(url, clock)


def _server(url: str, clock: Clock, spawn: Spawn) -> Stores:
    try:
        from cache.stores.redis import RedisEpochs, RedisLeases, RedisLink, RedisStore
    except ImportError:
        raise ConfigError(
            "`cache.url` needs the package redis, which is not installed: pip install 'farthing[redis]', or "
            "scripts/install redis in a checkout."
        ) from None
    link = RedisLink(url)
    store, leases = RedisStore(link, clock, spawn), RedisLeases(link)

    async def close() -> None:
        await store.close()
        await leases.close()
        await link.close()

    def lines() -> list[str]:
        return value_lines(SERVER_UP, [((), int(link.is_up))]) + value_lines(SERVER_ERRORS, [((), link.errors)])

    return Stores(store=store, epochs=RedisEpochs(link, clock), leases=leases, close=close, lines=lines)
