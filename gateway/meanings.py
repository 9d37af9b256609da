"""Meanings: the semantic cache as the configuration names it, and what it publishes, for gateways and for commands."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cache.calibration import Calibration
from cache.deciding import CosineScorer, Scorer, UncertainScorer
from cache.embedders.minilm import EmbedderUnavailable, MiniLM
from cache.embedders.pooled import PooledEmbedder
from cache.grading import LocalGrader
from cache.loaded import LoadedScopes
from cache.published import semantic_report
from cache.rows import Nearby, SemanticStore
from cache.semantic import Learning, SemanticCache
from cache.stores.semantic import SQLiteSemanticRows, read_domains, read_published
from cache.vectors.faiss import FaissIndex
from cache.vectors.snapshots import Snapshots
from cache.verifier import Verifier
from farthing.errors import ConfigError
from farthing.ports import Clock, Embedder
from gateway.cachebooks import SemanticFigures
from gateway.exposition import value_lines
from gateway.semantic_gauges import SERVER_ERRORS, SERVER_UP, semantic_lines
from gateway.settings import EmbedderSettings, SemanticCacheSettings
from gateway.stores import NO_POSTGRES

_LOG: Final = logging.getLogger("farthing")
VECTOR_BYTES: Final = 150 * 2**20
"""Of the vectors that a worker holds in memory: 100,000 of the packaged model, or one scope if that is more."""
_ENTRIES: Final = 50_000
"""Of a scope, compared in some 4 ms here."""
_SCOPE_BYTES_ON_SERVER: Final = 30 * 2**20
"""Of a scope's vectors in a database, compared in 6 to 20 ms there: 20,000 of the packaged model
(docs/adr/0012-vectors-in-postgresql.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meanings:
    """The semantic cache of a gateway, None where it is off; `version` is that of its vectors. `figures`, what it
    publishes, and `lines`, the same for Prometheus, may block."""

    cache: SemanticCache | None
    version: str
    figures: Callable[[], SemanticFigures]
    lines: Callable[[], list[str]]


async def open_semantic(
    settings: SemanticCacheSettings,
    path: Path,
    clock: Clock,
    open_things: AsyncExitStack,
    paid: Callable[[EmbedderSettings], Embedder],
) -> Meanings:
    """The cache over the database of `settings.url`, else over the file at `path`, closed by `open_things`; none where
    it is off or its model cannot be loaded. A server that does not answer is no error: it is away, until it is not.
    `paid` makes an embedder of a provider's model.

    Raises ConfigError where a package is missing or the database cannot be used, OSError or sqlite3.Error where the
    file cannot.
    """
    packaged = _packaged(settings)
    if packaged is None:
        return _without_cache(settings, path)
    open_things.push_async_callback(packaged.aclose)
    embedder = packaged if settings.embedder is None else paid(settings.embedder)
    open_things.push_async_callback(embedder.aclose)
    learning = _learning(packaged, measured=embedder is packaged)

    def cache(rows: SemanticStore, nearby: Nearby) -> SemanticCache:
        made = SemanticCache(
            rows,
            nearby,
            embedder,
            clock,
            learning=learning,
            deadline_s=settings.deadline_ms / 1000,
            max_entries=min(_ENTRIES, _SCOPE_BYTES_ON_SERVER // (4 * embedder.dimension)) if settings.url else _ENTRIES,
        )
        open_things.push_async_callback(made.close)
        return made

    if settings.url:
        return await _on_server(settings, clock, embedder.version, cache)
    rows = SQLiteSemanticRows.open(path)
    return Meanings(
        cache=cache(rows, _loaded(rows, path, embedder, clock)),
        version=embedder.version,
        figures=lambda: read_figures(path),
        lines=lambda: semantic_lines(read_figures(path).reports),
    )


def _loaded(rows: SQLiteSemanticRows, path: Path, embedder: Embedder, clock: Clock) -> LoadedScopes:
    snapshots = Snapshots(path.with_suffix(".vectors"), version=embedder.version)
    index = FaissIndex(embedder.dimension)
    most = VECTOR_BYTES // (4 * embedder.dimension)
    loaded = LoadedScopes(rows, index, dimension=embedder.dimension, max_vectors=most, snapshots=snapshots)
    loaded.tidy(clock.wall_ns())
    return loaded


def _packaged(settings: SemanticCacheSettings) -> PooledEmbedder | None:
    if not settings.enabled:
        return None
    try:
        return PooledEmbedder(MiniLM(), max_queue=settings.max_queue)
    except EmbedderUnavailable as error:
        _LOG.warning("the semantic cache is off: %s", error)
        return None


def _without_cache(settings: SemanticCacheSettings, path: Path) -> Meanings:
    def figures() -> SemanticFigures:
        return read_figures(path, settings.url)

    return Meanings(cache=None, version="", figures=figures, lines=lambda: semantic_lines(figures().reports))


async def _on_server(
    settings: SemanticCacheSettings,
    clock: Clock,
    version: str,
    cache: Callable[[SemanticStore, Nearby], SemanticCache],
) -> Meanings:
    try:
        from cache.stores.pgvector import PgvectorRows
        from cache.vectors.pgvector import PgvectorNearby
    except ImportError:
        raise ConfigError(NO_POSTGRES) from None
    late_s = settings.deadline_ms / 1000
    rows = await asyncio.to_thread(PgvectorRows.open, settings.url, clock, late_s=late_s)
    link = rows.link

    def figures() -> SemanticFigures:
        return _figures_of(settings.url) if link.is_up else SemanticFigures()

    def lines() -> list[str]:
        up, errors = value_lines(SERVER_UP, [((), int(link.ready()))]), value_lines(SERVER_ERRORS, [((), link.errors)])
        return [*semantic_lines(figures().reports), *up, *errors]

    return Meanings(cache=cache(rows, PgvectorNearby(link)), version=version, figures=figures, lines=lines)


def _learning(packaged: Embedder, *, measured: bool) -> Learning:
    """Answers are compared by the packaged model in any case: its cosines between answers are the measured ones."""
    scorer = _scorer()
    return Learning(
        scorer=scorer if measured else UncertainScorer(scorer),
        calibrations=Calibration.of_state,
        grader=LocalGrader(packaged),
    )


def _scorer() -> Scorer:
    try:
        return Verifier.load()
    except (OSError, ValueError) as error:
        _LOG.warning("the semantic cache goes by cosines: %s", error)
        return CosineScorer()


def read_figures(path: Path, url: str = "") -> SemanticFigures:
    """What the semantic cache whose rows are in the database at `url`, else at `path`, publishes, by feature, and how
    each domain stands; nothing where they cannot be read. Raises ConfigError where a package is missing."""
    if url:
        return _figures_of(url)
    try:
        return SemanticFigures(reports=semantic_report(*read_published(path)), domains=read_domains(path))
    except (OSError, sqlite3.Error):
        return SemanticFigures()


def _figures_of(url: str) -> SemanticFigures:
    try:
        from psycopg import Error

        from cache.stores import pgvector
    except ImportError:
        raise ConfigError(NO_POSTGRES) from None
    try:
        totals, counted, domains = pgvector.read_figures(url)
    except Error as error:
        _LOG.warning("the database of the semantic cache does not answer (%s)", type(error).__name__)
        return SemanticFigures()
    return SemanticFigures(reports=semantic_report(totals, counted), domains=domains)
