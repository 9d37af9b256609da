"""Meanings: the semantic cache as the configuration names it, and what it publishes, for gateways and for commands."""

import logging
import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from cache.calibration import Calibration
from cache.deciding import CosineScorer, Scorer, UncertainScorer
from cache.embedders.minilm import EmbedderUnavailable, MiniLM
from cache.embedders.pooled import PooledEmbedder
from cache.grading import LocalGrader
from cache.loaded import LoadedScopes
from cache.published import FeatureReport, semantic_report
from cache.semantic import Learning, SemanticCache
from cache.stores.semantic import SQLiteSemanticRows, read_domains, read_published
from cache.vectors.faiss import FaissIndex
from cache.verifier import Verifier
from farthing.ports import Clock, Embedder
from gateway.cachebooks import SemanticFigures
from gateway.settings import EmbedderSettings, SemanticCacheSettings

_LOG: Final = logging.getLogger("farthing")


async def open_semantic(
    settings: SemanticCacheSettings,
    path: Path,
    clock: Clock,
    open_things: AsyncExitStack,
    paid: Callable[[EmbedderSettings], Embedder],
) -> tuple[SemanticCache | None, str]:
    """The cache over the file at `path`, closed by `open_things`, and the version of its vectors; (None, "") where it
    is off or its model cannot be loaded. `paid` makes an embedder of a provider's model. Raises OSError or
    sqlite3.Error where the file cannot be used."""
    if not settings.enabled:
        return None, ""
    try:
        packaged = PooledEmbedder(MiniLM(), max_queue=settings.max_queue)
    except EmbedderUnavailable as error:
        _LOG.warning("the semantic cache is off: %s", error)
        return None, ""
    open_things.push_async_callback(packaged.aclose)
    embedder = packaged if settings.embedder is None else paid(settings.embedder)
    open_things.push_async_callback(embedder.aclose)
    rows = SQLiteSemanticRows.open(path)
    cache = SemanticCache(
        rows,
        LoadedScopes(rows, FaissIndex(embedder.dimension), dimension=embedder.dimension),
        embedder,
        clock,
        learning=_learning(packaged, measured=embedder is packaged),
        deadline_s=settings.deadline_ms / 1000,
    )
    open_things.push_async_callback(cache.close)
    return cache, embedder.version


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


def read_reports(path: Path) -> list[FeatureReport]:
    """What the semantic cache whose rows are at `path` publishes, by feature; nothing where they cannot be read."""
    try:
        return semantic_report(*read_published(path))
    except (OSError, sqlite3.Error):
        return []


def read_figures(path: Path) -> SemanticFigures:
    """The same, with how each domain stands."""
    try:
        return SemanticFigures(reports=semantic_report(*read_published(path)), domains=read_domains(path))
    except (OSError, sqlite3.Error):
        return SemanticFigures()
