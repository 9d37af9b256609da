"""Loaded scopes: rows near a vector, found by an index in memory that can always be rebuilt from the rows."""

import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from cache.rows import Neighbour, SemanticRows
from cache.vectors.snapshots import Snapshot, Snapshots
from farthing.ports import VectorIndex

_PAGE: Final = 2048  # rows read at once: 3 MB of vectors


class LoadableRows(SemanticRows, Protocol):
    """Rows that give their vectors back."""

    def newer(self, scope: bytes, than: int, now_ns: int, limit: int) -> list[tuple[int, bytes]]:
        """Ids and vectors of the live rows above an id, in order."""

    def ids(self, scope: bytes, upto: int, now_ns: int) -> list[int]:
        """Ids of the live rows up to an id, in order."""

    def token(self, scope: bytes) -> bytes | None:
        """Of the snapshot that was made last."""

    def mark(self, scope: bytes, token: bytes | None) -> None:
        """Keep the token of a snapshot, or forget it."""


class ReadableIndex(VectorIndex, Protocol):
    """An index that gives its vectors back."""

    def vectors(self, scope: bytes) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Row ids and their vectors, shape (ids, dimension), of a scope that is not empty, as they were added."""


@dataclass(slots=True)
class _Scope:
    watermark: int = 0
    """The highest row id read so far."""
    ids: set[int] = field(default_factory=set)
    saved: tuple[int, int] = (0, 0)
    """Watermark and number of vectors of the snapshot."""


class LoadedScopes:
    """Port `Nearby`. Keeps the index in step with the rows, which other processes change too.

    At most `max_vectors` are loaded; the scopes not asked for the longest leave first and come back when asked. With
    `snapshots` large ones come back without reading all rows. Blocking; for one thread at a time.
    """

    def __init__(
        self,
        rows: LoadableRows,
        index: ReadableIndex,
        *,
        dimension: int,
        max_vectors: int = 100_000,
        snapshots: Snapshots | None = None,
    ) -> None:
        self._rows = rows
        self._index = index
        self._dimension = dimension
        self._max_vectors = max_vectors
        self._snapshots = snapshots
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
        while True:
            near = {row_id: cosine for row_id, cosine in self._index.search(scope, vector, k) if cosine >= floor}
            rows = self._rows.alive(scope, near, now_ns)
            gone = [row_id for row_id in near if row_id not in rows]
            if not gone or scope not in self._scopes:
                return [Neighbour(row=rows[row_id], cosine=near[row_id]) for row_id in near if row_id in rows]
            self.forget(scope, gone)  # they hid the next ones

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
        held = self._scopes.get(scope) or self._begin(scope, now_ns)
        self._scopes.move_to_end(scope)
        while page := self._rows.newer(scope, held.watermark, now_ns, _PAGE):
            self._load(scope, held, page)
            if len(page) < _PAGE:
                break
        if not held.ids:  # scopes without rows are as many as there are system prompts
            del self._scopes[scope]
        elif self._snapshots is not None and len(held.ids) >= max(self._snapshots.least, 2 * held.saved[1]):
            self._save(scope, held, self._snapshots)
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

    def tidy(self, now_ns: int) -> None:
        """Remove the snapshots of scopes without rows."""
        if self._snapshots is None:
            return
        for scope in self._snapshots.scopes():
            if not self._rows.newer(scope, 0, now_ns, 1):
                self._rows.mark(scope, None)
                self._snapshots.drop(scope)

    def close(self) -> None:
        """Let the next start find what is loaded."""
        if self._snapshots is None:
            return
        for scope, held in self._scopes.items():
            if len(held.ids) >= self._snapshots.least and held.saved != (held.watermark, len(held.ids)):
                self._save(scope, held, self._snapshots)

    def _begin(self, scope: bytes, now_ns: int) -> _Scope:
        held = self._scopes[scope] = _Scope()
        token = self._rows.token(scope) if self._snapshots is not None else None
        if self._snapshots is not None and token is not None:
            found = self._snapshots.load(scope, token)
            if found is not None:
                self._restore(scope, held, found, now_ns)
        return held

    def _restore(self, scope: bytes, held: _Scope, found: Snapshot, now_ns: int) -> None:
        """Take up what is still alive of a snapshot, unless there is more alive than it knows."""
        alive = self._rows.ids(scope, found.watermark, now_ns)
        kept = np.isin(found.ids, np.asarray(alive, np.int64), assume_unique=True)
        if not alive or found.ids[kept].tolist() != alive or found.vectors.shape[1] != self._dimension:
            return
        self._index.add(scope, alive, found.vectors if kept.all() else found.vectors[kept])
        held.watermark, held.ids = found.watermark, set(alive)
        held.saved = found.watermark, len(found.ids)
        self._vectors += len(alive)

    def _save(self, scope: bytes, held: _Scope, snapshots: Snapshots) -> None:
        ids, vectors = self._index.vectors(scope)
        token = secrets.token_bytes(16)
        self._rows.mark(scope, token)  # first: from here on an older file counts no more
        snapshots.save(scope, token, Snapshot(watermark=held.watermark, ids=ids, vectors=vectors))
        held.saved = held.watermark, len(held.ids)

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
