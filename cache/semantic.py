"""The semantic cache: the answer of an earlier question that means the same, or nothing.

A candidate must be near (cosine), alive (its row says so), and pass every guard. All that touches rows and index
runs in one thread of its own, off the event loop.
"""

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, TypeVar, TypeVarTuple

import numpy as np
from numpy.typing import NDArray

from cache.eligibility import eligible
from cache.entry import CorruptEntry, Entry, pack, unpack
from cache.guards import ParsedPrompt, parse, veto
from cache.loaded import LoadedScopes
from cache.prompts import last_turn
from cache.stores.semantic import SemanticRow, SQLiteSemanticRows
from farthing.answer import Hit, StoredAnswer
from farthing.call import Call
from farthing.ports import Clock, Embedder, VectorIndex
from farthing.record import CacheOutcome

__all__ = ["DEFAULT_THRESHOLD", "SemanticCache", "SemanticCounts", "eligible"]

_LOG: Final = logging.getLogger(__name__)
_NEIGHBOURS: Final = 5
_SAME: Final = 0.9999  # cosine above which the texts are compared: the same question again replaces the older row
_RECENT: Final = 512  # vectors kept between a miss and the storing of its answer: 0.8 MB
_NS: Final = 1_000_000_000
_SWEEP_EVERY_NS: Final = 60 * _NS
_SWEEP_ROWS: Final = 256
DEFAULT_THRESHOLD: Final = 0.95
"""Cosine; what it serves, rightly and wrongly, is measured in docs/cache.md."""

Vector = NDArray[np.float32]
_Asked = TypeVarTuple("_Asked")
_Found = TypeVar("_Found")


@dataclass(slots=True)
class SemanticCounts:
    """What happened so far. `late`: the deadline passed; `below`: nothing near enough; `errors`: any failure."""

    finds: int = 0
    hits: int = 0
    below: int = 0
    stored: int = 0
    late: int = 0
    errors: int = 0
    ineligible: Counter[str] = field(default_factory=Counter)
    """By the reason of `eligible`."""
    vetoes: Counter[str] = field(default_factory=Counter)
    """By the name of the guard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    scope: bytes
    text: str
    vector: Vector
    now_ns: int


class SemanticCache:
    """Finds and keeps answers by meaning, within one scope (`cache.key.semantic_scope`). Never raises.

    `deadline_s` bounds a find, embedding included; later is a miss. A scope keeps its newest `max_entries` rows;
    `max_vectors` of all scopes are loaded at a time (1.5 kB each). The embedder stays the caller's to close.
    """

    def __init__(
        self,
        rows: SQLiteSemanticRows,
        index: VectorIndex,
        embedder: Embedder,
        clock: Clock,
        *,
        deadline_s: float = 0.05,
        max_entries: int = 50_000,
        max_vectors: int = 100_000,
    ) -> None:
        self.counts = SemanticCounts()
        self._rows = rows
        self._index = index
        self._embedder = embedder
        self._clock = clock
        self._deadline_s = deadline_s
        self._max_entries = max_entries
        self._loaded = LoadedScopes(rows, index, dimension=embedder.dimension, max_vectors=max_vectors)
        self._recent: OrderedDict[str, Vector] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="semantic-cache")
        self._parsed = lru_cache(maxsize=4096)(parse)
        self._swept_ns = 0

    async def find(self, call: Call, scope: bytes, *, threshold: float, max_age_s: int | None = None) -> Hit | None:
        """The answer of the nearest question at or above `threshold` (cosine) that no guard keeps apart."""
        self.counts.finds += 1
        try:
            text = self._matched(call)
            if text is None:
                return None
            async with asyncio.timeout(self._deadline_s):
                question = await self._question(scope, text)
                return await self._in_thread(self._look_up, question, threshold, max_age_s)
        except TimeoutError:
            self.counts.late += 1
        except Exception as error:  # noqa: BLE001 - caches fail open
            self._failed("find", error)
        return None

    async def add(self, call: Call, scope: bytes, answer: StoredAnswer, *, ttl_s: int) -> None:
        """Keep an answer under the question of the call for `ttl_s` seconds, if the call is eligible."""
        if ttl_s <= 0 or call.cache_control.no_store:
            return
        try:
            text = self._matched(call)
            if text is not None:
                await self._in_thread(self._store, await self._question(scope, text), answer, ttl_s)
        except Exception as error:  # noqa: BLE001 - caches fail open
            self._failed("add", error)

    async def close(self) -> None:
        """Finish what runs and let go of the rows."""
        await asyncio.to_thread(self._thread.shutdown)
        self._rows.close()

    def _matched(self, call: Call) -> str | None:
        if reason := eligible(call):
            self.counts.ineligible[reason] += 1
            return None
        turn = last_turn(call.endpoint, call.body)
        return None if turn is None else turn.text

    async def _question(self, scope: bytes, text: str) -> _Question:
        vector = self._recent.get(text)
        if vector is None:
            vector = (await self._embedder.embed([text]))[0]
            self._recent[text] = vector
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        return _Question(scope=scope, text=text, vector=vector, now_ns=self._clock.wall_ns())

    async def _in_thread(self, work: Callable[[*_Asked], _Found], *args: *_Asked) -> _Found:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    def _failed(self, what: str, error: Exception) -> None:
        self.counts.errors += 1
        if self.counts.errors.bit_count() == 1:  # the 1st, 2nd, 4th, 8th … failure: a dead disk is no flood
            name, times = type(error).__name__, self.counts.errors
            _LOG.warning("semantic cache: %s failed (%s), %d failures so far", what, name, times)

    # --- in the thread ---------------------------------------------------------------------------

    def _look_up(self, question: _Question, threshold: float, max_age_s: int | None) -> Hit | None:
        self._sweep(question.now_ns)
        self._loaded.refresh(question.scope, question.now_ns)
        near = self._near(question, threshold)
        rows = self._live(question, [row_id for row_id, _ in near])
        parsed = self._parsed(question.text)
        for row_id, cosine in near:
            row = rows.get(row_id)
            if row is None or not self._same_meaning(parsed, row):
                continue
            answer = self._answer(question, row)
            if answer is not None and _young(answer, question.now_ns, max_age_s):
                self.counts.hits += 1
                return Hit(kind=CacheOutcome.SEMANTIC, answer=answer, score=cosine)
        return None

    def _near(self, question: _Question, threshold: float) -> list[tuple[int, float]]:
        found = self._index.search(question.scope, question.vector, _NEIGHBOURS)
        near = [(row_id, cosine) for row_id, cosine in found if cosine >= threshold]
        self.counts.below += not near
        return near

    def _live(self, question: _Question, ids: list[int]) -> dict[int, SemanticRow]:
        rows = self._rows.alive(question.scope, ids, question.now_ns)
        if len(rows) < len(ids):
            self._loaded.forget(question.scope, [row_id for row_id in ids if row_id not in rows])
        return rows

    def _same_meaning(self, parsed: ParsedPrompt, row: SemanticRow) -> bool:
        guard = veto(parsed, self._parsed(row.prompt))
        if guard:
            self.counts.vetoes[guard] += 1
        return not guard

    def _answer(self, question: _Question, row: SemanticRow) -> StoredAnswer | None:
        try:
            return unpack(row.answer, key=question.scope).answer
        except CorruptEntry:
            self._delete(question.scope, [row.id])
            return None

    def _store(self, question: _Question, answer: StoredAnswer, ttl_s: int) -> None:
        scope, now_ns = question.scope, question.now_ns
        self._sweep(now_ns)
        self._loaded.refresh(scope, now_ns)
        older = self._rows_with_text(question)
        entry = Entry(key=scope, expires_ns=now_ns + ttl_s * _NS, answer=answer)
        vector = np.asarray(question.vector, np.float32).tobytes()
        self._rows.insert(scope, question.text, vector, pack(entry), expires_ns=entry.expires_ns)
        self.counts.stored += 1
        if older:
            self._delete(scope, older)
        if self._loaded.refresh(scope, now_ns) > self._max_entries:
            self._trim(scope)

    def _rows_with_text(self, question: _Question) -> list[int]:
        near = self._near_same(question)
        rows = self._rows.alive(question.scope, near, question.now_ns)
        return [row.id for row in rows.values() if row.prompt == question.text]

    def _near_same(self, question: _Question) -> list[int]:
        found = self._index.search(question.scope, question.vector, _NEIGHBOURS)
        return [row_id for row_id, cosine in found if cosine >= _SAME]

    def _trim(self, scope: bytes) -> None:
        """Down to 99 % of the cap at once: a removal from the index costs the same for one id and for many."""
        self._delete(scope, self._rows.beyond(scope, self._max_entries * 99 // 100))
        if self._loaded.refresh(scope, self._clock.wall_ns()) > self._max_entries:
            self._loaded.unload(scope)  # it holds rows that other processes deleted

    def _sweep(self, now_ns: int) -> None:
        """Delete what has expired, in portions, about once a minute."""
        if now_ns - self._swept_ns < _SWEEP_EVERY_NS:
            return
        self._swept_ns = now_ns
        while expired := self._rows.expired(now_ns, _SWEEP_ROWS):
            self._rows.delete([row_id for row_id, _ in expired])
            self._loaded.forget_all(expired)

    def _delete(self, scope: bytes, ids: list[int]) -> None:
        self._rows.delete(ids)
        self._loaded.forget(scope, ids)


def _young(answer: StoredAnswer, now_ns: int, max_age_s: int | None) -> bool:
    return max_age_s is None or now_ns - answer.stored_ns <= max_age_s * _NS
