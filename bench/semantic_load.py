"""What a lookup by meaning costs, and what memory the questions of a scope take.

`python -m bench.semantic_load [--entries N] [--memory N] [--json PATH]`: N questions in one scope, looked up one after
another with the packaged MiniLM and verifier; and what the vectors of N entries take once they are loaded.
"""

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from bench.results import write_result
from cache.calibration import Calibration
from cache.embedders.minilm import MiniLM
from cache.embedders.pooled import PooledEmbedder
from cache.entry import Entry, pack
from cache.finding import SemanticRules
from cache.grading import LocalGrader
from cache.loaded import LoadedScopes
from cache.semantic import Learning, SemanticCache
from cache.stores.file import connect, open_file
from cache.stores.semantic import SQLiteSemanticRows
from cache.testing import example_answer, example_call, example_question
from cache.vectors.faiss import FaissIndex
from cache.verifier import Verifier
from farthing.call import Call
from gateway.clock import SystemClock

SCOPE: Final = b"s" * 32
DIMENSION: Final = 384
TTL_S: Final = 3600
RULES: Final = SemanticRules(floor=0.5, max_wrong=0.005)
COUNTRIES: Final = ("France", "Norway", "Spain", "Chile", "Ghana", "Nepal", "Kenya", "Peru", "Japan", "Greece")
ASKED: Final = "What is the {} city of {}?"
SAME: Final = "What's the {} city of {}?"
KINDS: Final = (
    *("capital", "largest", "oldest", "smallest", "richest", "poorest", "greenest", "busiest", "coldest", "hottest"),
    *("nicest", "quietest", "loudest", "safest", "newest", "wettest", "driest", "highest", "lowest", "cleanest"),
    *("western", "eastern", "northern", "southern", "central", "coastal", "border", "harbour", "twin", "sister"),
)


class Times(NamedTuple):
    """Milliseconds of each call, and the CPU of all threads for one on average."""

    wall: list[float]
    cpu: float


def fill(path: Path, entries: int) -> None:
    """Questions with random vectors: how many there are decides what a search costs, not what they say."""
    dice = np.random.default_rng(7)
    expires_ns = SystemClock().wall_ns() + TTL_S * 10**9
    answer = pack(Entry(key=SCOPE, expires_ns=expires_ns, answer=example_answer()))
    open_file(path, "semantic.sql")
    with closing(connect(path, busy_s=5)) as connection:
        rows = SQLiteSemanticRows(connection)
        connection.execute("BEGIN")
        for number in range(entries):
            vector = dice.standard_normal(DIMENSION).astype(np.float32)
            vector /= np.linalg.norm(vector)
            text = f"What is known of case {number}?"
            rows.insert(SCOPE, text, vector.tobytes(), answer, writer="k", expires_ns=expires_ns)
        connection.execute("COMMIT")


async def measure_finds(path: Path, entries: int) -> list[dict[str, Any]]:
    """Milliseconds of finds, embedding included, and of embeddings alone."""
    fill(path, entries)
    embedder = PooledEmbedder(MiniLM())
    learning = Learning(
        scorer=Verifier.load(),
        calibrations=Calibration.of_state,
        grader=LocalGrader(embedder),
    )
    rows, clock = SQLiteSemanticRows.open(path), SystemClock()
    loaded = LoadedScopes(rows, FaissIndex(DIMENSION), dimension=DIMENSION)
    cache = SemanticCache(rows, loaded, embedder, clock, learning=learning, deadline_s=10)
    places = [(kind, country) for kind in KINDS for country in COUNTRIES]
    for place in places:
        await cache.add(_call(ASKED.format(*place)), SCOPE, example_answer(), ttl_s=TTL_S)
    hits = await _finds(cache, [SAME.format(*place) for place in places])
    served = cache.counts.hits
    again = await _finds(cache, [SAME.format(*place) for place in places])  # their vectors are still there
    counted = cache.counts.hits
    misses = await _finds(cache, [f"Who was {kind} and came from {country}?" for kind, country in places])
    alone = await _timed(lambda text: embedder.embed([text]), [SAME.format(*place) for place in places])
    await cache.close()
    await embedder.aclose()
    return [
        _row(f"asked in other words, {served} of {len(places)} served", hits),
        _row("the same without embedding", again),
        _row(f"asked what nobody asked, {cache.counts.hits - counted} of {len(places)} served", misses),
        _row("embedding alone", alone),
    ]


async def _finds(cache: SemanticCache, texts: list[str]) -> Times:
    return await _timed(lambda text: cache.find(_call(text), SCOPE, RULES), texts)


async def _timed(ask: Callable[[str], Awaitable[object]], texts: list[str]) -> Times:
    random.Random(7).shuffle(texts)
    taken, cpu = [], time.process_time()
    for text in texts:
        started = time.perf_counter()
        await ask(text)
        taken.append(1000 * (time.perf_counter() - started))
    return Times(taken, 1000 * (time.process_time() - cpu) / len(texts))


def _call(text: str) -> Call:
    return example_call(example_question(text))


def _row(what: str, times: Times) -> dict[str, Any]:
    cuts = statistics.quantiles(times.wall, n=100)
    return {
        "what": what,
        "p50": round(cuts[49], 2),
        "p99": round(cuts[98], 2),
        "cpu": round(times.cpu, 2),
        "unit": "ms",
    }


def measure_memory(path: Path, entries: int) -> dict[str, Any]:
    """MiB that the loaded vectors of so many entries take, with the ids by which they are known."""
    fill(path, entries)
    rows = SQLiteSemanticRows.open(path)
    loaded = LoadedScopes(rows, FaissIndex(DIMENSION), dimension=DIMENSION, max_vectors=entries)
    before = _resident()
    count = loaded.refresh(SCOPE, SystemClock().wall_ns())
    grown = (_resident() - before) / 2**20
    rows.close()
    return {"what": f"memory of {count:,} entries", "p50": round(grown, 1), "p99": None, "cpu": None, "unit": "MiB"}


def _resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Measure, print, and write the file that `--json` names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--memory", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = [measure_memory(Path(folder, "memory.db"), given.memory)]
        figures += asyncio.run(measure_finds(Path(folder, "finds.db"), given.entries))
    for row in figures:
        print(row)
    if given.json:
        write_result(
            given.json,
            name=f"Lookups by meaning, {given.entries:,} entries in the scope",
            command=f"python -m bench.semantic_load --entries {given.entries} --memory {given.memory}",
            figures=figures,
            note="One lookup at a time, in process: the embedding, the search, the rows of five neighbours, guards and "
            "verifier. `cpu` is what all threads used for one on average; where it is far below p50, the machine was "
            "busy with other things. A gateway's own share of a request comes besides.",
        )


if __name__ == "__main__":
    main()
