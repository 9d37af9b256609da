"""Vectors in plain numpy: for tests, and a second opinion on any other index."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class MemoryIndex:
    """Port `VectorIndex` by comparing with everything."""

    def __init__(self) -> None:
        self._scopes: dict[bytes, dict[int, Vectors]] = {}

    def add(self, scope: bytes, ids: Sequence[int], vectors: Vectors) -> None:
        """Put unit vectors, shape (len(ids), dimension), under their row ids."""
        self._scopes.setdefault(scope, {}).update(zip(ids, vectors, strict=True))

    def search(self, scope: bytes, vector: Vectors, k: int) -> list[tuple[int, float]]:
        """At most k (row id, cosine) of that scope, best first. `vector` has shape (dimension,)."""
        cosines = [(row, float(held @ vector)) for row, held in self._scopes.get(scope, {}).items()]
        return sorted(cosines, key=lambda found: -found[1])[:k]

    def vectors(self, scope: bytes) -> tuple[NDArray[np.int64], Vectors]:
        """All of a scope that is not empty, in the order in which they were added."""
        held = self._scopes[scope].items()
        return np.array([row for row, _ in held], np.int64), np.stack([vector for _, vector in held])

    def remove(self, scope: bytes, ids: Sequence[int]) -> None:
        """Forget row ids; unknown ones are ignored."""
        for row in ids:
            self._scopes.get(scope, {}).pop(row, None)
