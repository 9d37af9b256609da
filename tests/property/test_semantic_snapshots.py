"""What lies near is what a comparison with every live row finds, whatever has happened to rows, index and snapshots."""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cache.loaded import LoadedScopes
from cache.stores.semantic import SQLiteSemanticRows
from cache.vectors.faiss import FaissIndex
from cache.vectors.snapshots import Snapshots

DIMENSION = 4
SCOPES = (b"a" * 32, b"b" * 32)
POOL = np.random.default_rng(5).normal(size=(9, DIMENSION)).astype(np.float32)
POOL /= np.linalg.norm(POOL, axis=1, keepdims=True)

scopes = st.sampled_from(SCOPES)
places = st.integers(0, len(POOL) - 1)


@dataclass(frozen=True)
class Kept:
    scope: bytes
    place: int
    expires_ns: int


class Shelves(RuleBasedStateMachine):
    """`kept` is what has been put and not taken away, by id."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path, self.backup = self.folder / "semantic.db", self.folder / "backup.db"
        self.snapshots = self.folder / "semantic.vectors"
        self.kept: dict[int, Kept] = {}
        self.saved: dict[int, Kept] = {}
        self.now_ns = 0
        self.version = 1
        self._open()

    def _open(self) -> None:
        self.rows = SQLiteSemanticRows.open(self.path)
        snapshots = Snapshots(self.snapshots, version=f"v{self.version}", least=2)
        index = FaissIndex(DIMENSION)
        self.near = LoadedScopes(self.rows, index, dimension=DIMENSION, max_vectors=12, snapshots=snapshots)
        self.near.tidy(self.now_ns)

    def teardown(self) -> None:
        self.rows.close()
        shutil.rmtree(self.folder)

    @rule(scope=scopes, at=st.lists(places, min_size=1, max_size=4), ttl_ns=st.sampled_from([2, 5, 100]))
    def put(self, scope: bytes, at: list[int], ttl_ns: int) -> None:
        for place in at:
            expires_ns = self.now_ns + ttl_ns
            data = POOL[place].tobytes()
            row_id = self.rows.insert(scope, "q", data, b"a", writer="k", expires_ns=expires_ns)
            self.kept[row_id] = Kept(scope, place, expires_ns)

    @precondition(lambda self: self.kept)
    @rule(which=st.integers(0, 50), told=st.booleans())
    def delete(self, which: int, told: bool) -> None:
        """By this process, or by another."""
        row_id = sorted(self.kept)[which % len(self.kept)]
        gone = self.kept.pop(row_id)
        self.rows.delete([row_id])
        if told:
            self.near.forget(gone.scope, [row_id])

    @rule(by_ns=st.integers(1, 3))
    def wait(self, by_ns: int) -> None:
        self.now_ns += by_ns

    @rule(scope=scopes)
    def trim(self, scope: bytes) -> None:
        for row_id in (ids := self.near.excess(scope, 4, self.now_ns)):
            self.kept.pop(row_id, None)
        self.rows.delete(ids)
        self.near.forget(scope, ids)

    @rule(killed=st.booleans(), other_embedder=st.booleans())
    def restart(self, killed: bool, other_embedder: bool) -> None:
        if not killed:
            self.near.close()
        self.rows.close()
        self.version += other_embedder
        self._open()

    @rule(which=st.integers(0, 9), at=st.integers(0, 400), cut=st.booleans())
    def damage(self, which: int, at: int, cut: bool) -> None:
        """A snapshot loses its end, or a byte of it changes."""
        if found := sorted(self.snapshots.glob("*.vectors")):
            path = found[which % len(found)]
            data = bytearray(path.read_bytes())
            at = len(data) - 1 - at % len(data)
            data[at] ^= 255
            path.write_bytes(data[:at] if cut else data)

    @rule()
    def back_up(self) -> None:
        self.backup.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(self.backup)) as target:
            source.backup(target)
        self.saved = dict(self.kept)

    @rule(keep_snapshots=st.booleans(), restore=st.booleans())
    def lose_the_rows(self, keep_snapshots: bool, restore: bool) -> None:
        """A file begun anew, or an older one put in its place: ids are given once more, and mean other rows."""
        if keep_snapshots:
            self.near.close()
        self.rows.close()
        for name in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + name).unlink(missing_ok=True)
        self.kept = {}
        if restore and self.backup.exists():
            shutil.copy(self.backup, self.path)
            self.kept = dict(self.saved)
        self._open()

    @invariant()
    def finds_what_is_alive(self) -> None:
        for scope in SCOPES:
            self.search(scope, 0, 6, -1.0)

    @rule(scope=scopes, place=places, k=st.integers(1, 6), floor=st.sampled_from([-1.0, 0.3]))
    def search(self, scope: bytes, place: int, k: int, floor: float) -> None:
        alive = {
            row_id: float(POOL[kept.place] @ POOL[place])
            for row_id, kept in self.kept.items()
            if kept.scope == scope and kept.expires_ns > self.now_ns
        }
        best = sorted((cosine for cosine in alive.values() if cosine >= floor), reverse=True)[:k]

        found = self.near.near(scope, POOL[place], k=k, floor=floor, now_ns=self.now_ns)

        assert [one.cosine for one in found] == pytest.approx(best, abs=1e-5)
        assert len({one.row.id for one in found}) == len(found)
        for one in found:
            assert one.cosine == pytest.approx(alive[one.row.id], abs=1e-5)


Shelves.TestCase.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
TestShelves = Shelves.TestCase
