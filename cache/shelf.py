"""The shelf: what of the semantic cache lies near a question, and what is put there and taken away."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache.entry import CorruptEntry, Entry, pack, unpack
from cache.rows import Nearby, Neighbour, SemanticRow, SemanticRows
from farthing.answer import StoredAnswer

NEIGHBOURS: Final = 5
_SAME: Final = 0.9999  # cosine above which the texts are compared: the same question again replaces the older row
_NS: Final = 1_000_000_000
_SWEEP_EVERY_NS: Final = 60 * _NS
_SWEEP_ROWS: Final = 256

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, by which key (`principal`), in which scope, at wall ns `now_ns`; `vector` is its embedding."""

    scope: bytes
    text: str
    principal: str
    vector: Vector
    now_ns: int


class Shelf:
    """All scopes of a process; a scope keeps its newest `max_entries` rows. Blocking, for one thread at a time."""

    def __init__(self, rows: SemanticRows, nearby: Nearby, *, max_entries: int) -> None:
        self._rows = rows
        self._nearby = nearby
        self._max_entries = max_entries
        self._swept_ns = 0

    def is_empty(self, scope: bytes, now_ns: int) -> bool:
        """True where the scope has no live rows."""
        return self._nearby.is_empty(scope, now_ns)

    def near(self, question: Question, floor: float) -> list[Neighbour]:
        """The nearest live rows of the scope whose cosine is `floor` at least, nearest first."""
        self.sweep(question.now_ns)
        return self._near(question, floor)

    def row(self, scope: bytes, row_id: int, now_ns: int) -> SemanticRow | None:
        """The row, if it is alive."""
        return self._rows.alive(scope, [row_id], now_ns).get(row_id)

    def answer(self, scope: bytes, row: SemanticRow) -> StoredAnswer | None:
        """What a row answers; a damaged one is deleted, and answers nothing."""
        try:
            return unpack(row.answer, key=scope).answer
        except CorruptEntry:
            self.delete(scope, [row.id])
            return None

    def put(self, question: Question, answer: StoredAnswer, ttl_s: int) -> int:
        """Keep an answer for `ttl_s` seconds, in place of what its writer kept for the same text; its row's id."""
        scope, now_ns = question.scope, question.now_ns
        self.sweep(now_ns)
        older = self._own_rows_with_text(question)
        entry = Entry(key=scope, expires_ns=now_ns + ttl_s * _NS, answer=answer)
        vector = np.asarray(question.vector, np.float32).tobytes()
        row_id = self._rows.insert(
            scope, question.text, vector, pack(entry), writer=question.principal, expires_ns=entry.expires_ns
        )
        if older:
            self.delete(scope, older)
        if excess := self._nearby.excess(scope, self._max_entries, now_ns):
            self.delete(scope, excess)
        return row_id

    def admit(self, row_id: int) -> None:
        """Let a row serve everybody in its scope."""
        self._rows.admit(row_id)

    def delete(self, scope: bytes, ids: list[int]) -> None:
        """Take rows away."""
        self._rows.delete(ids)
        self._nearby.forget(scope, ids)

    def sweep(self, now_ns: int) -> None:
        """Delete what has expired, in portions, about once a minute."""
        if now_ns - self._swept_ns < _SWEEP_EVERY_NS:
            return
        self._swept_ns = now_ns
        while expired := self._rows.expired(now_ns, _SWEEP_ROWS):
            by_scope: defaultdict[bytes, list[int]] = defaultdict(list)
            for row_id, scope in expired:
                by_scope[scope].append(row_id)
            self._rows.delete([row_id for row_id, _ in expired])
            for scope, ids in by_scope.items():
                self._nearby.forget(scope, ids)

    def close(self) -> None:
        """Let go of the rows."""
        try:
            self._nearby.close()
        finally:
            self._rows.close()

    def _own_rows_with_text(self, question: Question) -> list[int]:
        rows = (found.row for found in self._near(question, _SAME))
        return [row.id for row in rows if row.prompt == question.text and row.writer == question.principal]

    def _near(self, question: Question, floor: float) -> list[Neighbour]:
        return self._nearby.near(question.scope, question.vector, k=NEIGHBOURS, floor=floor, now_ns=question.now_ns)
