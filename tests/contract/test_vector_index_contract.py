"""Every vector index finds the same neighbours."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cache.loaded import ReadableIndex
from cache.vectors.faiss import FaissIndex
from cache.vectors.memory import MemoryIndex

A, B = b"a" * 32, b"b" * 32


@pytest.fixture(params=["memory", "faiss"])
def index(request: pytest.FixtureRequest) -> ReadableIndex:
    return MemoryIndex() if request.param == "memory" else FaissIndex(16)


def _units(count: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32)
    units: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units


def test_an_unknown_scope_has_no_neighbours(index: ReadableIndex) -> None:
    assert index.search(A, _units(1)[0], 5) == []


def test_the_nearest_comes_first_with_its_cosine(index: ReadableIndex) -> None:
    vectors = _units(20)
    index.add(A, range(100, 120), vectors)

    found = index.search(A, vectors[7], 3)

    assert found[0][0] == 107
    assert found[0][1] == pytest.approx(1.0, abs=1e-5)
    assert [cosine for _, cosine in found] == sorted((cosine for _, cosine in found), reverse=True)
    assert found[1][1] == pytest.approx(float(np.sort(vectors @ vectors[7])[-2]), abs=1e-5)


def test_fewer_vectors_than_asked_for_are_all_that_come(index: ReadableIndex) -> None:
    index.add(A, [1, 2], _units(2))

    assert {row for row, _ in index.search(A, _units(1)[0], 5)} == {1, 2}


def test_a_scope_never_sees_another_scopes_vectors(index: ReadableIndex) -> None:
    vectors = _units(2)
    index.add(A, [1], vectors[:1])
    index.add(B, [2], vectors[1:])

    assert [row for row, _ in index.search(A, vectors[1], 5)] == [1]


def test_removed_rows_are_found_no_more_and_unknown_ones_are_ignored(index: ReadableIndex) -> None:
    vectors = _units(3)
    index.add(A, [1, 2, 3], vectors)

    index.remove(A, [2, 99])
    index.remove(B, [1])

    assert {row for row, _ in index.search(A, vectors[1], 5)} == {1, 3}


def test_a_scope_emptied_can_be_filled_again(index: ReadableIndex) -> None:
    vectors = _units(2)
    index.add(A, [1], vectors[:1])
    index.remove(A, [1])

    assert index.search(A, vectors[0], 5) == []

    index.add(A, [2], vectors[1:])

    assert [row for row, _ in index.search(A, vectors[0], 5)] == [2]


def test_row_ids_as_large_as_a_database_makes_them_are_kept(index: ReadableIndex) -> None:
    vectors = _units(1)

    index.add(A, [2**62], vectors)

    assert index.search(A, vectors[0], 1)[0][0] == 2**62


def test_vectors_come_back_as_they_were_added(index: ReadableIndex) -> None:
    vectors = _units(6)
    index.add(A, [1, 2, 3], vectors[:3])
    index.add(A, [7, 8], vectors[3:5])
    index.add(B, [9], vectors[5:])
    index.remove(A, [2])

    ids, held = index.vectors(A)

    assert ids.tolist() == [1, 3, 7, 8]
    assert held.tolist() == vectors[[0, 2, 3, 4]].tolist()
