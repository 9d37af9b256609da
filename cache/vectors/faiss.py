"""Vectors in FAISS: one flat inner-product index for each scope, exact and removable."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class FaissIndex:
    """Port `VectorIndex`, in memory: 4 bytes a dimension a vector. For one thread at a time.

    A search is 0.55 ms among 10,000 vectors of 384 dimensions and 3.5 ms among 50,000; a removal costs 1 to 4 ms
    whatever the number of ids, so remove in batches.
    """

    def __init__(self, dimension: int) -> None:
        import faiss

        self._faiss = faiss
        self._dimension = dimension
        self._scopes: dict[bytes, Any] = {}

    def add(self, scope: bytes, ids: Sequence[int], vectors: Vectors) -> None:
        """Put unit vectors, shape (len(ids), dimension), under their row ids, each id once."""
        index = self._scopes.get(scope)
        if index is None:
            flat = self._faiss.IndexFlatIP(self._dimension)
            index = self._scopes[scope] = self._faiss.IndexIDMap2(flat)
        index.add_with_ids(np.ascontiguousarray(vectors, np.float32), np.asarray(ids, np.int64))

    def search(self, scope: bytes, vector: Vectors, k: int) -> list[tuple[int, float]]:
        """At most k (row id, cosine) of that scope, best first. `vector` has shape (dimension,)."""
        index = self._scopes.get(scope)
        if index is None:
            return []
        # The cores belong to the gateway's workers. OpenMP keeps this by calling thread, and its idle threads spin.
        self._faiss.omp_set_num_threads(1)
        query = np.ascontiguousarray(vector, np.float32).reshape(1, -1)
        cosines, ids = index.search(query, min(k, index.ntotal))
        return list(zip(ids[0].tolist(), cosines[0].tolist(), strict=True))

    def vectors(self, scope: bytes) -> tuple[NDArray[np.int64], Vectors]:
        """All of a scope that is not empty, in the order in which they were added: a copy."""
        index = self._scopes[scope]
        ids = self._faiss.vector_to_array(index.id_map)
        flat: Any = self._faiss.downcast_index(index.index)
        held = self._faiss.rev_swig_ptr(flat.get_xb(), index.ntotal * self._dimension)
        return ids, held.reshape(-1, self._dimension).copy()  # in the order in which they were added

    def remove(self, scope: bytes, ids: Sequence[int]) -> None:
        """Forget row ids; a scope without any is let go."""
        index = self._scopes.get(scope)
        if index is None:
            return
        index.remove_ids(np.asarray(ids, np.int64))
        if not index.ntotal:
            del self._scopes[scope]
