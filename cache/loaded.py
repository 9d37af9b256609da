"""Loaded scopes: rows near a vector, found by an index in memory that can always be rebuilt from the rows."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from cache.rows import Neighbour, SemanticRows
from farthing.ports import VectorIndex

_PAGE: Final = 2048  # rows read at once: 3 MB of vectors


class LoadableRows(SemanticRows, Protocol):
    """Rows that give their vectors back."""

    def newer(self, scope: bytes, than: int, now_ns: int, limit: int) -> list[tuple[int, bytes]]:
        """Ids and vectors of the live rows above an id, in order."""


@dataclass(slots=True)
class _Scope:
    watermark: int = 0
    """The highest row id read so far."""
    ids: set[int] = field(default_factory=set)


class LoadedScopes:
    """Port `Nearby`. Keeps the index in step with the rows, which other processes change too.

    At most `max_vectors` are loaded; the scopes not asked for the longest leave first and come back when asked.
    Blocking; for one thread at a time.
    """

    def __init__(self, rows: LoadableRows, index: VectorIndex, *, dimension: int, max_vectors: int = 100_000) -> None:
        self._rows = rows
        self._index = index
        self._dimension = dimension
        self._max_vectors = max_vectors
        self._scopes: OrderedDict[bytes, _Scope] = OrderedDict()
        self._vectors = 0

    def ready(self) -> bool:
        """See the port: files are always there."""
        return True

    def is_empty(self, scope: bytes, now_ns: int) -> bool:
        """See the port."""
        return not self.refresh(scope, now_ns)

    def near(self, scope: bytes, vector: NDArray[np.float32], *, k: int, floor: float, now_ns: int) -> list[Neighbour]:
        """See the port."""
        self.refresh(scope, now_ns)
        near = {row_id: cosine for row_id, cosine in self._index.search(scope, vector, k) if cosine >= floor}
        rows = self._rows.alive(scope, near, now_ns)
        if len(rows) < len(near):
            self.forget(scope, [row_id for row_id in near if row_id not in rows])
        return [Neighbour(row=rows[row_id], cosine=cosine) for row_id, cosine in near.items() if row_id in rows]

    def excess(self, scope: bytes, keep: int, now_ns: int) -> list[int]:
        """See the port. Down to 99 %: a removal from the index costs the same for one id and for many."""
        if self.refresh(scope, now_ns) <= keep:
            return []
        ids = self._rows.beyond(scope, keep * 99 // 100)
        if len(self._scopes[scope].ids.difference(ids)) > keep:
            self.unload(scope)  # it holds rows that other processes deleted
        return ids

    def refresh(self, scope: bytes, now_ns: int) -> int:
        """Load what is new in a scope, all of it if it is not loaded; how many vectors it has."""
        held = self._scopes.setdefault(scope, _Scope())
        self._scopes.move_to_end(scope)
        while page := self._rows.newer(scope, held.watermark, now_ns, _PAGE):
            self._load(scope, held, page)
            if len(page) < _PAGE:
                break
        if not held.ids:  # scopes without rows are as many as there are system prompts
            del self._scopes[scope]
        self._make_room()
        return len(held.ids)

    def forget(self, scope: bytes, ids: Sequence[int]) -> None:
        """See the port."""
        held = self._scopes.get(scope)
        gone = held.ids.intersection(ids) if held is not None else None
        if held is not None and gone:
            held.ids -= gone
            self._vectors -= len(gone)
            self._index.remove(scope, sorted(gone))

    def unload(self, scope: bytes) -> None:
        """Let go of a scope; the next `refresh` reads it anew."""
        held = self._scopes.pop(scope, None)
        if held is not None and held.ids:
            self._vectors -= len(held.ids)
            self._index.remove(scope, sorted(held.ids))

    def _load(self, scope: bytes, held: _Scope, page: Sequence[tuple[int, bytes]]) -> None:
        held.watermark = page[-1][0]
        # A vector of another length is damage: the row is left out and dies with its expiry.
        whole = [(row_id, data) for row_id, data in page if len(data) == self._dimension * 4]
        if whole:
            ids = [row_id for row_id, _ in whole]
            self._index.add(scope, ids, _matrix([data for _, data in whole], self._dimension))
            held.ids.update(ids)
            self._vectors += len(ids)

    def _make_room(self) -> None:
        while len(self._scopes) > 1 and self._vectors > self._max_vectors:
            self.unload(next(iter(self._scopes)))


def _matrix(data: Sequence[bytes], dimension: int) -> NDArray[np.float32]:
    return np.frombuffer(b"".join(data), np.float32).reshape(-1, dimension)
