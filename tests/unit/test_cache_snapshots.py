"""Snapshots of vectors: taken up where they are what the rows are of, and otherwise not there."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cache.loaded import LoadedScopes
from cache.stores.semantic import SQLiteSemanticRows
from cache.vectors.faiss import FaissIndex
from cache.vectors.snapshots import Snapshot, Snapshots

A, B = b"a" * 32, b"b" * 32
TOKEN = b"t" * 16
DIMENSION = 8


def units(count: int, dimension: int = DIMENSION) -> NDArray[np.float32]:
    vectors = np.random.default_rng(1).normal(size=(count, dimension)).astype(np.float32)
    made: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return made


class CountingRows(SQLiteSemanticRows):
    """Counts the vectors that were read out of the rows."""

    vectors_read = 0

    def newer(self, scope: bytes, than: int, now_ns: int, limit: int) -> list[tuple[int, bytes]]:
        found = super().newer(scope, than, now_ns, limit)
        self.vectors_read += len(found)
        return found


class House:
    """One file of rows with its snapshots, opened anew by `start`."""

    def __init__(self, folder: Path) -> None:
        self.path, self.folder = folder / "semantic.db", folder / "semantic.vectors"
        self.version = "v1"
        self.start()

    def start(self) -> None:
        self.rows = CountingRows.open(self.path)
        self.snapshots = Snapshots(self.folder, version=self.version, least=5)
        self.loaded = LoadedScopes(self.rows, FaissIndex(DIMENSION), dimension=DIMENSION, snapshots=self.snapshots)

    def stop(self) -> None:
        self.loaded.close()
        self.rows.close()

    def put(self, vectors: NDArray[np.float32], scope: bytes = A, expires_ns: int = 100) -> list[int]:
        return [
            self.rows.insert(scope, "q", vector.tobytes(), b"a", writer="k", expires_ns=expires_ns)
            for vector in vectors
        ]

    def nearest(self, vector: NDArray[np.float32], now_ns: int = 0) -> int:
        return self.loaded.near(A, vector, k=1, floor=-1, now_ns=now_ns)[0].row.id

    @property
    def file(self) -> Path:
        return self.folder / f"{A.hex()}.vectors"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.rows.close()


def kept(house: House, count: int = 10) -> list[int]:
    """So many rows, and a snapshot of them, with the house started anew."""
    ids = house.put(units(count))
    house.loaded.refresh(A, 0)
    house.stop()
    house.start()
    return ids


def test_a_restart_reads_only_what_is_newer_than_the_snapshot(house: House) -> None:
    ids = kept(house)
    ids += house.put(-units(2))

    assert [house.nearest(vector) for vector in (*units(10), *-units(2))] == ids
    assert house.rows.vectors_read == 2


def test_a_snapshot_is_private_and_of_small_scopes_there_is_none(house: House) -> None:
    house.put(units(4), B)
    house.loaded.refresh(B, 0)
    kept(house)

    assert [path.name for path in house.folder.iterdir()] == [house.file.name]
    assert (house.file.stat().st_mode & 0o777, house.folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_what_was_deleted_or_expired_since_is_not_taken_up(house: House) -> None:
    ids = kept(house)
    house.rows.delete(ids[:3])

    assert house.loaded.refresh(A, 0) == 7
    assert house.nearest(units(10)[5]) == ids[5]
    house.stop()
    house.start()
    assert house.loaded.refresh(A, 100) == 0


@pytest.mark.parametrize("at", [0, 10, 40, -1, -100])
def test_a_damaged_snapshot_is_read_from_the_rows_and_removed(house: House, at: int) -> None:
    ids = kept(house)
    data = bytearray(house.file.read_bytes())
    data[at] ^= 1
    house.file.write_bytes(data)

    assert house.snapshots.load(A, house.rows.token(A) or b"") is None
    assert not house.file.exists()
    assert house.nearest(units(10)[5]) == ids[5]
    assert house.rows.vectors_read == 10


@pytest.mark.parametrize("length", [0, 5, 20, 100, -1])
def test_a_snapshot_that_lost_its_end_is_read_from_the_rows(house: House, length: int) -> None:
    ids = kept(house)
    house.file.write_bytes(house.file.read_bytes()[:length])

    assert house.nearest(units(10)[5]) == ids[5]
    assert house.rows.vectors_read == 10


def test_a_snapshot_of_another_embedder_is_not_taken_up(house: House) -> None:
    kept(house)
    house.stop()
    house.version = "v2"
    house.start()

    house.loaded.refresh(A, 0)

    assert house.rows.vectors_read == 10


def test_a_snapshot_of_vectors_of_another_length_is_not_taken_up(house: House) -> None:
    ids = kept(house)
    house.rows.mark(A, TOKEN)
    wrong = Snapshot(watermark=ids[-1], ids=np.array(ids), vectors=units(10, DIMENSION * 2))
    house.snapshots.save(A, TOKEN, wrong)

    assert house.nearest(units(10)[5]) == ids[5]
    assert house.rows.vectors_read == 10


def test_rows_that_the_snapshot_does_not_know_make_it_read_them_all(house: House) -> None:
    ids = kept(house)
    house.rows.mark(A, TOKEN)
    fewer = Snapshot(watermark=ids[-1], ids=np.array(ids[1:]), vectors=units(10)[1:])
    house.snapshots.save(A, TOKEN, fewer)

    assert house.nearest(units(10)[0]) == ids[0]
    assert house.rows.vectors_read == 10


def test_older_rows_that_were_put_back_do_not_take_up_a_later_snapshot(house: House, tmp_path: Path) -> None:
    kept(house, 6)
    house.stop()
    older = house.path.read_bytes()
    house.start()
    house.put(units(20)[6:])
    house.loaded.refresh(A, 0)
    house.stop()
    house.path.write_bytes(older)
    house.start()
    ids = house.put(-units(20)[6:])  # the same ids, other vectors

    assert house.nearest(-units(20)[15]) == ids[9]
    assert house.nearest(units(20)[15]) != ids[9]


def test_an_unfinished_snapshot_is_none_and_goes_once_its_writer_is_gone(house: House) -> None:
    kept(house)
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    drafts = [house.file.with_name(f"{house.file.name}.{pid}") for pid in (ended.pid, os.getpid())]
    for draft in drafts:
        draft.write_bytes(house.file.read_bytes()[:50])
    house.stop()
    house.start()

    house.loaded.refresh(A, 0)

    assert [draft.exists() for draft in drafts] == [False, True]  # a worker that ends may still be writing
    assert house.rows.vectors_read == 0


def test_where_none_can_be_written_all_goes_on_without(house: House) -> None:
    house.folder.rmdir()
    house.folder.write_text("a file in its place")

    ids = kept(house)

    assert house.nearest(units(10)[5]) == ids[5]
    assert house.rows.vectors_read == 10


def test_snapshots_of_scopes_without_rows_are_removed(house: House) -> None:
    ids = kept(house)
    house.loaded.tidy(0)
    assert house.file.exists()
    house.rows.delete(ids)

    house.loaded.tidy(0)

    assert not house.file.exists()
    assert house.rows.token(A) is None


def test_a_scope_is_saved_as_it_doubles_and_at_the_end_if_it_changed(house: House) -> None:
    tokens = []
    for vector in units(20):
        house.put(vector[None])
        house.loaded.refresh(A, 0)
        tokens.append(house.rows.token(A))

    assert [place for place in range(1, 20) if tokens[place] != tokens[place - 1]] == [4, 9, 19]
    house.loaded.close()
    assert house.rows.token(A) == tokens[-1]
    house.put(units(1))
    house.loaded.refresh(A, 0)
    house.loaded.close()
    assert house.rows.token(A) != tokens[-1]
