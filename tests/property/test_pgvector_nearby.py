"""In PostgreSQL, too, what lies near is what a comparison with every live row of the scope finds, whatever has been
kept and taken away."""

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed: scripts/install postgres")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.stores.pgvector import PgvectorRows
from cache.vectors.pgvector import PgvectorNearby
from ledger.testing import ManualClock

SCOPES = [bytes([place]) * 32 for place in range(40)]  # some share a partition
POOL = np.random.default_rng(5).normal(size=(9, 4)).astype(np.float32)
POOL /= np.linalg.norm(POOL, axis=1, keepdims=True)

rows_kept = st.lists(st.tuples(st.sampled_from(SCOPES[:3] + SCOPES), st.integers(0, 8), st.integers(1, 9)), max_size=25)


@pytest.fixture
def rows(postgres_url: str) -> Iterator[PgvectorRows]:
    opened = PgvectorRows.open(postgres_url, ManualClock(), late_s=10)
    yield opened
    opened.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kept=rows_kept,
    gone=st.sets(st.integers(0, 24)),
    now_ns=st.integers(0, 9),
    place=st.integers(0, 8),
    k=st.integers(1, 6),
    floor=st.sampled_from([-1.0, 0.3]),
)
def test_nothing_is_missed_and_nothing_else_is_found(
    rows: PgvectorRows,
    kept: list[tuple[bytes, int, int]],
    gone: set[int],
    now_ns: int,
    place: int,
    k: int,
    floor: float,
) -> None:
    ids = [
        rows.insert(scope, "q", POOL[at].tobytes(), b"a", writer="k", expires_ns=expires_ns)
        for scope, at, expires_ns in kept
    ]
    rows.delete([ids[number] for number in gone if number < len(ids)])
    alive = {
        ids[number]: (scope, float(POOL[at] @ POOL[place]))
        for number, (scope, at, expires_ns) in enumerate(kept)
        if number not in gone and expires_ns > now_ns
    }
    nearby = PgvectorNearby(rows.link)

    for scope in SCOPES[:4]:
        best = sorted((cosine for of, cosine in alive.values() if of == scope and cosine >= floor), reverse=True)[:k]
        found = nearby.near(scope, POOL[place], k=k, floor=floor, now_ns=now_ns)

        assert [one.cosine for one in found] == pytest.approx(best, abs=1e-5)
        for one in found:
            assert alive[one.row.id] == (scope, pytest.approx(one.cosine, abs=1e-5))
    rows.delete(ids)
