"""What the stores of the semantic cache cost: lookups in PostgreSQL with pgvector, and a start with and without
snapshots of the vectors.

`python -m bench.semantic_stores [--hnsw] [--entries N] [--json PATH]`: the five nearest among all entries of a scope,
by the adapter and by what it could have been (`--hnsw`: an approximate index over all scopes); the first lookup after
a start among N entries in a file.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg
from numpy.typing import NDArray

from bench.processes import cpu_seconds
from bench.results import write_result
from bench.semantic_load import DIMENSION, SCOPE, fill
from cache.loaded import LoadedScopes
from cache.stores.pgvector import PgvectorRows
from cache.stores.semantic import SQLiteSemanticRows
from cache.vectors.faiss import FaissIndex
from cache.vectors.pgvector import PgvectorNearby
from cache.vectors.snapshots import Snapshots
from gateway.clock import SystemClock

SCOPES: Final = (20_000, *[10_000] * 2, *[1_000] * 20, *[100] * 200)
"""Entries of each scope."""
PLACES: Final = (0, 1, 3, 23)
"""Scopes that are looked into: one of each size."""
LOOKUPS: Final = 100
TOPICS: Final = 400
NEAREST: Final = 5
Vectors = NDArray[np.float32]
Find = Callable[[bytes, Vectors], list[int]]

HNSW: Final = {
    "HNSW": "SET hnsw.iterative_scan = off",
    "HNSW, strict_order": "SET hnsw.iterative_scan = strict_order",
    "HNSW, relaxed_order, ef_search 100": "SET hnsw.iterative_scan = relaxed_order; SET hnsw.ef_search = 100",
}
_APPROXIMATE: Final = b"""
    SELECT id FROM vectors WHERE scope = %s ORDER BY vector::vector(384) <#> %s::vector(384) LIMIT 5
"""


class Corpus:
    """Unit vectors in clusters, as questions are, dealt out to the scopes."""

    def __init__(self) -> None:
        dice = np.random.default_rng(1)
        count = sum(SCOPES)
        topics = dice.standard_normal((TOPICS, DIMENSION)).astype(np.float32)
        self.vectors = _units(topics[dice.integers(0, TOPICS, count)] + _noise(dice, count))
        self.place = dice.permutation(np.repeat(np.arange(len(SCOPES)), SCOPES))

    def questions(self, place: int) -> Vectors:
        """Near some of a scope's vectors."""
        dice = np.random.default_rng(place)
        own = dice.choice(np.flatnonzero(self.place == place), LOOKUPS)
        return _units(self.vectors[own] + 0.03 * _noise(dice, LOOKUPS))

    def nearest(self, place: int, question: Vectors) -> set[int]:
        """Ids of the true ones: rows are numbered from 1."""
        own = np.flatnonzero(self.place == place)
        return set((own[np.argsort(-(self.vectors[own] @ question))[:NEAREST]] + 1).tolist())


def _noise(dice: np.random.Generator, count: int) -> Vectors:
    return dice.standard_normal((count, DIMENSION)).astype(np.float32)


def _units(vectors: Vectors) -> Vectors:
    units: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units


def scope_of(place: int) -> bytes:
    """Its bytes."""
    return int(place).to_bytes(32, "big")


def measure_lookups(*, hnsw: bool) -> list[dict[str, Any]]:
    """Milliseconds of lookups in a server of the bench's own."""
    from tests import postgres

    postgres.SETTINGS |= {"shared_buffers": "512MB", "maintenance_work_mem": "400MB"}
    corpus, clock = Corpus(), SystemClock()
    with postgres.Server() as server:
        url = server.fresh_database()
        rows = PgvectorRows.open(url, clock, late_s=10)
        _fill(url, corpus, clock.wall_ns() + 3600 * 10**9)
        nearby = PgvectorNearby(rows.link)

        def exact(scope: bytes, question: Vectors) -> list[int]:
            found = nearby.near(scope, question, k=NEAREST, floor=-1, now_ns=clock.wall_ns())
            return [one.row.id for one in found]

        def cpu() -> float:
            return cpu_seconds(server.pid)

        figures = [_lookups("every entry of the scope", place, corpus, exact, cpu) for place in PLACES]
        rows.close()
        return figures + (_measure_hnsw(url, corpus, cpu) if hnsw else [])


def _fill(url: str, corpus: Corpus, expires_ns: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET search_path TO farthing_cache_1, public")
        questions = b"COPY questions (scope, prompt, answer, writer, expires_ns) FROM STDIN"
        with connection.cursor().copy(questions) as copy:
            for place in corpus.place:
                copy.write_row((scope_of(place), b"a question", b"an answer", "k", expires_ns))
        with connection.cursor().copy(b"COPY vectors (scope, id, expires_ns, vector) FROM STDIN") as copy:
            for number, (place, vector) in enumerate(zip(corpus.place, corpus.vectors, strict=True), 1):
                copy.write_row((scope_of(place), number, expires_ns, str(vector.tolist())))
        connection.execute("VACUUM ANALYZE questions")
        connection.execute("VACUUM ANALYZE vectors")


def _measure_hnsw(url: str, corpus: Corpus, cpu: Callable[[], float]) -> list[dict[str, Any]]:
    figures = []
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET search_path TO farthing_cache_1, public; SET max_parallel_maintenance_workers = 0")
        started = time.perf_counter()
        connection.execute("CREATE INDEX ON vectors USING hnsw ((vector::vector(384)) vector_ip_ops)")
        print(f"HNSW was built in {time.perf_counter() - started:.0f} s")
        connection.execute("SET enable_sort = off")  # or small scopes are compared whole

        def approximate(scope: bytes, question: Vectors) -> list[int]:
            rows = connection.execute(_APPROXIMATE, (scope, str(question.tolist())), prepare=True)
            return [row_id for (row_id,) in rows.fetchall()]

        for what, setting in HNSW.items():
            connection.execute(setting.encode())
            figures += [_lookups(what, place, corpus, approximate, cpu) for place in PLACES]
    return figures


def _lookups(what: str, place: int, corpus: Corpus, find: Find, cpu: Callable[[], float]) -> dict[str, Any]:
    taken: list[float] = []
    right, spent = 0, cpu()
    for question in corpus.questions(place):
        with _timed(taken):
            found = find(scope_of(place), question)
        right += len(corpus.nearest(place, question).intersection(found))
    ordered = sorted(taken)
    return {
        "what": what,
        "entries": SCOPES[place],
        "least decile, ms": round(1000 * ordered[LOOKUPS // 10], 2),
        "median, ms": round(1000 * statistics.median(ordered), 2),
        "CPU, ms": round(1000 * (cpu() - spent) / LOOKUPS, 1),
        "recall": round(right / NEAREST / LOOKUPS, 3),
    }


@contextmanager
def _timed(taken: list[float], clock: Callable[[], float] = time.perf_counter) -> Iterator[None]:
    started = clock()
    yield
    taken.append(clock() - started)


def measure_starts(folder: Path, entries: int) -> list[dict[str, Any]]:
    """CPU milliseconds of the first lookup after a start: all read from the rows, or taken from a snapshot."""
    path, clock = folder / "semantic.db", SystemClock()
    fill(path, entries)
    rows = SQLiteSemanticRows.open(path)
    snapshots = Snapshots(folder / "semantic.vectors", version="bench")
    question = _units(_noise(np.random.default_rng(3), 1))[0]

    def start(of: Snapshots | None) -> Sequence[float]:
        taken: list[float] = []
        for _ in range(5):
            loaded = LoadedScopes(rows, FaissIndex(DIMENSION), dimension=DIMENSION, max_vectors=entries, snapshots=of)
            with _timed(taken, time.process_time):
                loaded.near(SCOPE, question, k=NEAREST, floor=-1, now_ns=clock.wall_ns())
        return taken

    without, (first, *later) = start(None), start(snapshots)
    rows.close()
    return [
        {"what": "all read from the rows", "median, ms": round(1000 * statistics.median(without))},
        {"what": "the same, and a snapshot written", "median, ms": round(1000 * first)},
        {"what": "taken from the snapshot", "median, ms": round(1000 * statistics.median(later))},
    ]


def main() -> None:
    """Measure, print, and write the files in the directory that `--json` names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--hnsw", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        starts = measure_starts(Path(folder), given.entries)
    lookups = measure_lookups(hnsw=given.hnsw)
    for row in (*starts, *lookups):
        print(row)
    if given.json:
        command = f"python -m bench.semantic_stores --entries {given.entries}{' --hnsw' if given.hnsw else ''}"
        write_result(
            given.json / "semantic-start.json",
            name=f"The first lookup by meaning after a start, {given.entries:,} entries in the scope",
            command=command,
            figures=starts,
            note="CPU milliseconds of the process; the file is in the system's cache.",
        )
        write_result(
            given.json / "semantic-pgvector.json",
            name="Lookups by meaning in PostgreSQL with pgvector",
            command=command,
            figures=lookups,
            note=f"{sum(SCOPES):,} vectors of {DIMENSION} dimensions in {len(SCOPES)} scopes, all in memory, one "
            "lookup at a time over TCP on the same machine, which had other things to do; prompt and answer of the "
            "five nearest included (HNSW: their ids alone). CPU is the server's. Recall: the share of the true five. "
            "Why it is as it is: docs/adr/0012-vectors-in-postgresql.md.",
        )


if __name__ == "__main__":
    main()
