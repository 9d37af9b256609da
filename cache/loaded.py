"""Loaded scopes: which rows of the semantic cache are in the vector index, so that it can always be rebuilt."""

from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache.rows import SemanticRows
from farthing.ports import VectorIndex

_PAGE: Final = 2048  # rows read at once: 3 MB of vectors


@dataclass(slots=True)
class _Scope:
    watermark: int = 0
    """The highest row id read so far."""
    ids: set[int] = field(default_factory=set)


class LoadedScopes:
    """Keeps the index in step with the rows, which other processes change too.

    At most `max_vectors` are loaded; the scopes not asked for the longest leave first and come back when asked.
    Blocking; for one thread at a time.
    """

    def __init__(self, rows: SemanticRows, index: VectorIndex, *, dimension: int, max_vectors: int) -> None:
        self._rows = rows
        self._index = index
        self._dimension = dimension
        self._max_vectors = max_vectors
        self._scopes: OrderedDict[bytes, _Scope] = OrderedDict()
        self._vectors = 0

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
        """Take rows that are gone out of the index."""
        held = self._scopes.get(scope)
        gone = held.ids.intersection(ids) if held is not None else None
        if held is not None and gone:
            held.ids -= gone
            self._vectors -= len(gone)
            self._index.remove(scope, sorted(gone))

    def forget_all(self, rows: Sequence[tuple[int, bytes]]) -> None:
        """The same for (id, scope) of many scopes."""
        by_scope: defaultdict[bytes, list[int]] = defaultdict(list)
        for row_id, scope in rows:
            by_scope[scope].append(row_id)
        for scope, ids in by_scope.items():
            self.forget(scope, ids)

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
