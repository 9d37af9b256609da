"""What every store of the semantic cache must do: questions with their answers, and what is learned about them."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cache.calibration import Evidence
from cache.loaded import LoadedScopes
from cache.published import Domains, DomainState, Totals
from cache.rows import DomainRow, Nearby, Sample, SemanticStore
from cache.stores.semantic import SQLiteSemanticRows, read_domains, read_published
from cache.vectors.faiss import FaissIndex
from cache.vectors.memory import MemoryIndex
from ledger.testing import ManualClock

A, B = b"a" * 32, b"b" * 32
DIMENSION = 16
EVIDENCE = Evidence(cosine=0.91, score=0.75, lead=0.125, votes=2)
STORES = ("sqlite", "pgvector")
FINDERS = ("sqlite+memory", "sqlite+faiss", "pgvector")

Opened = tuple[SemanticStore, Nearby]
Open = Callable[[], Opened]


@pytest.fixture
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the store named by the parameter, each time as another process would."""
    stores: list[SemanticStore] = []

    def sqlite() -> Opened:
        rows = SQLiteSemanticRows.open(tmp_path / "semantic.db")
        stores.append(rows)
        index = MemoryIndex() if request.param == "sqlite+memory" else FaissIndex(DIMENSION)
        return rows, LoadedScopes(rows, index, dimension=DIMENSION)

    def pgvector() -> Opened:
        from cache.stores.pgvector import PgvectorRows
        from cache.vectors.pgvector import PgvectorNearby

        rows = PgvectorRows.open(request.getfixturevalue("postgres_url"), ManualClock(), late_s=1)
        stores.append(rows)
        return rows, PgvectorNearby(rows.link)

    if request.param == "pgvector":
        request.getfixturevalue("postgres_url")
    yield pgvector if request.param == "pgvector" else sqlite
    for store in stores:
        store.close()


@pytest.fixture
def store(opener: Open) -> SemanticStore:
    return opener()[0]


@pytest.fixture
def opened(opener: Open) -> Opened:
    return opener()


def _published(store: SemanticStore, path: Path) -> tuple[Totals, Domains]:
    return read_published(path) if isinstance(store, SQLiteSemanticRows) else _figures(store)[:2]


def _states(store: SemanticStore, path: Path) -> list[DomainState]:
    return read_domains(path) if isinstance(store, SQLiteSemanticRows) else _figures(store)[2]


def _figures(store: SemanticStore) -> tuple[Totals, Domains, list[DomainState]]:
    from cache.stores.pgvector import PgvectorRows, read_figures

    assert isinstance(store, PgvectorRows)
    return read_figures(store.link.url)


def _units(count: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    units: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units


VECTOR = _units(1)[0]
every_store = pytest.mark.parametrize("opener", STORES, indirect=True)
every_finder = pytest.mark.parametrize("opener", FINDERS, indirect=True)


def _put(rows: SemanticStore, vector: NDArray[np.float32], scope: bytes = A, expires_ns: int = 100) -> int:
    return rows.insert(scope, "a question", vector.tobytes(), b"answer", writer="k", expires_ns=expires_ns)


def _insert(store: SemanticStore, scope: bytes = A, *, writer: str = "k", expires_ns: int = 100) -> int:
    return store.insert(scope, "a question", VECTOR.tobytes(), b"answer", writer=writer, expires_ns=expires_ns)


def _sample(entry: int, same: bool | None = True, **changes: object) -> Sample:
    facts = {"evidence": EVIDENCE, "weight": 2.5, "served": True, "would": True, "kept": None, **changes}
    return Sample(entry=entry, same=same, **facts)  # type: ignore[arg-type]


def test_newer_rows_of_a_scope_come_in_their_order_with_their_vectors(tmp_path: Path) -> None:
    with closing(SQLiteSemanticRows.open(tmp_path / "semantic.db")) as store:
        ids = [_insert(store) for _ in range(3)]
        _insert(store, B)

        assert store.newer(A, 0, 0, 10) == [(row_id, VECTOR.tobytes()) for row_id in ids]
        assert store.newer(A, ids[0], 0, 1) == [(ids[1], VECTOR.tobytes())]
        assert store.newer(A, 0, 100, 10) == []


@every_store
def test_ids_rise(store: SemanticStore) -> None:
    ids = [_insert(store, scope) for scope in (A, B, A)]

    assert ids == sorted(set(ids))


@every_store
def test_an_id_is_never_given_twice(store: SemanticStore) -> None:
    first = _insert(store)
    store.delete([first])

    assert _insert(store) > first


@every_store
def test_a_row_is_alive_in_its_scope_until_it_expires(store: SemanticStore) -> None:
    row_id = _insert(store, writer="k")

    row = store.alive(A, [row_id, 999], 99)[row_id]

    assert (row.id, row.prompt, row.answer, row.writer, row.admitted) == (row_id, "a question", b"answer", "k", False)
    assert store.alive(B, [row_id], 99) == {}
    assert store.alive(A, [row_id], 100) == {}


@every_store
def test_a_row_serves_its_writer_until_it_is_admitted(store: SemanticStore) -> None:
    row_id = _insert(store, writer="k")

    before = store.alive(A, [row_id], 0)[row_id]
    store.admit(row_id)
    after = store.alive(A, [row_id], 0)[row_id]

    assert (before.serves("k"), before.serves("other")) == (True, False)
    assert after.serves("other")


@every_store
def test_expired_rows_and_those_beyond_the_newest_are_told_and_deleted(store: SemanticStore) -> None:
    ids = [_insert(store, expires_ns=at) for at in (10, 20, 30)]

    assert store.expired(20, 10) == [(ids[0], A), (ids[1], A)]
    assert store.expired(20, 1) == [(ids[0], A)]
    assert store.beyond(A, 1) == [ids[1], ids[0]]
    store.delete([ids[0], 999])
    store.delete([])
    assert store.expired(100, 10) == [(ids[1], A), (ids[2], A)]


@every_store
def test_samples_come_back_as_they_were_the_newest_in_their_order(store: SemanticStore) -> None:
    kept = [_sample(1), _sample(2, None, kept=7), _sample(3, False, served=False, would=False)]
    for sample in kept:
        store.keep("one", sample)
    store.keep("other", _sample(9))

    found = store.samples("one", 0, 10)

    assert [sample for _, sample in found] == kept
    assert store.samples("one", found[0][0], 10) == found[1:]
    assert store.samples("one", 0, 2) == found[1:]


@every_store
def test_old_samples_are_forgotten_by_domain(store: SemanticStore) -> None:
    for entry in range(5):
        store.keep("one", _sample(entry))
    store.keep("other", _sample(9))

    store.forget("one", 2)

    assert [sample.entry for _, sample in store.samples("one", 0, 10)] == [3, 4]
    assert len(store.samples("other", 0, 10)) == 1


@every_store
def test_what_was_saved_last_is_loaded(store: SemanticStore) -> None:
    row = DomainRow(feature="f", state=b"\0one", watermark=3, hit_share=0.25, calibrated=True, stopped=False)
    store.save("one", DomainRow(feature="f", state=b"", watermark=1, hit_share=1.0, calibrated=False, stopped=True))

    store.save("one", row)

    assert store.load("one") == row
    assert store.load("other") is None


@every_store
def test_texts_come_back_whatever_is_in_them(store: SemanticStore) -> None:
    said = "a\0b é 漢字 \N{GRINNING FACE} 'quoted' %s"
    row_id = store.insert(A, said, VECTOR.tobytes(), b"\0\xff", writer="k", expires_ns=100)
    store.keep("tenant\0feature", _sample(row_id))

    row = store.alive(A, [row_id], 0)[row_id]

    assert (row.prompt, row.answer) == (said, b"\0\xff")
    assert len(store.samples("tenant\0feature", 0, 10)) == 1
    assert store.samples("tenant", 0, 10) == []


@every_store
def test_sums_add_up_by_feature_and_money_stays_exact(opener: Open, tmp_path: Path) -> None:
    (here, _), (there, _) = opener(), opener()
    here.tally("f", {"saved": 2**53 + 1, "weight": 0.5})
    there.tally("f", {"saved": 2**53 + 1, "weight": 0.25})
    here.tally("g", {})

    totals, domains = _published(here, tmp_path / "semantic.db")

    assert totals == {"f": {"saved": 2**54 + 2, "weight": 0.75}}
    assert domains == {}


@every_store
def test_each_domain_is_told_with_its_state_and_of_two_versions_the_later(store: SemanticStore, tmp_path: Path) -> None:
    for version, watermark, calibrated in (("v2", 9, True), ("v1", 4, False)):
        row = DomainRow(
            feature="f", state=b"", watermark=watermark, hit_share=1.0, calibrated=calibrated, stopped=False
        )
        store.save(f"acme\0f\0test\0{version}", row)
    stopped = DomainRow(feature="f", state=b"", watermark=1, hit_share=1.0, calibrated=True, stopped=True)
    store.save("globex\0f\0\0v2", stopped)
    store.keep("acme\0f\0test\0v2", _sample(1))
    store.keep("acme\0f\0test\0v2", _sample(1, same=None))

    states = _states(store, tmp_path / "semantic.db")

    found = {(one.tenant, one.environment): (one.state.value, one.compared) for one in states}
    assert found == {("acme", "test"): ("calibrated", 1), ("globex", ""): ("stopped", 0)}


def test_where_there_is_no_file_there_are_no_domains(tmp_path: Path) -> None:
    assert read_domains(tmp_path / "semantic.db") == []


@every_store
def test_domains_are_counted_by_feature(store: SemanticStore, tmp_path: Path) -> None:
    facts = {"state": b"", "watermark": 1, "hit_share": 1.0}
    store.save("one", DomainRow(feature="f", calibrated=True, stopped=False, **facts))  # type: ignore[arg-type]
    store.save("two", DomainRow(feature="f", calibrated=True, stopped=True, **facts))  # type: ignore[arg-type]

    assert _published(store, tmp_path / "semantic.db") == ({}, {"f": (2, 2, 1)})


# --- what lies near ------------------------------------------------------------------------------


@every_finder
def test_the_nearest_live_rows_of_the_scope_come_first_with_their_cosines(opened: Opened) -> None:
    rows, nearby = opened
    vectors = _units(20)
    ids = [_put(rows, vector) for vector in vectors]
    _put(rows, vectors[7], B)
    cosines = vectors @ vectors[7]

    found = nearby.near(A, vectors[7], k=3, floor=-1, now_ns=0)

    best = np.argsort(-cosines)[:3]
    assert [one.row.id for one in found] == [ids[at] for at in best]
    assert [one.cosine for one in found] == pytest.approx(cosines[best].tolist(), abs=1e-6)
    assert (found[0].row.prompt, found[0].row.answer, found[0].row.writer) == ("a question", b"answer", "k")


@every_finder
def test_nothing_below_the_floor_is_near(opened: Opened) -> None:
    rows, nearby = opened
    row_id = _put(rows, VECTOR)
    _put(rows, -VECTOR)

    assert [one.row.id for one in nearby.near(A, VECTOR, k=5, floor=0.5, now_ns=0)] == [row_id]
    assert nearby.near(B, VECTOR, k=5, floor=-1, now_ns=0) == []


@every_finder
def test_a_scope_is_empty_until_any_process_puts_something_there_that_lives(opener: Open) -> None:
    (_, nearby), (there, _) = opener(), opener()
    assert nearby.is_empty(A, 0)

    _put(there, VECTOR, expires_ns=10)

    assert not nearby.is_empty(A, 9)
    assert nearby.is_empty(B, 9)
    assert opener()[1].is_empty(A, 10)


@every_finder
def test_what_expired_or_was_deleted_by_another_process_is_not_near(opener: Open) -> None:
    (here, nearby), (there, _) = opener(), opener()
    soon, gone, stays = (_put(here, VECTOR, expires_ns=at) for at in (10, 100, 100))
    assert len(nearby.near(A, VECTOR, k=5, floor=0, now_ns=9)) == 3

    there.delete([gone])

    assert [one.row.id for one in nearby.near(A, VECTOR, k=5, floor=0, now_ns=10)] == [stays]
    assert soon < gone


@every_finder
def test_what_another_process_keeps_is_near_at_once(opener: Open) -> None:
    (here, _), (_, nearby) = opener(), opener()
    assert nearby.near(A, VECTOR, k=5, floor=0, now_ns=0) == []

    row_id = _put(here, VECTOR)

    assert [one.row.id for one in nearby.near(A, VECTOR, k=5, floor=0, now_ns=0)] == [row_id]


@every_finder
def test_rows_whose_vector_has_another_length_are_left_out(opened: Opened) -> None:
    rows, nearby = opened
    _put(rows, VECTOR[:5])
    row_id = _put(rows, VECTOR)

    assert [one.row.id for one in nearby.near(A, VECTOR, k=5, floor=-1, now_ns=0)] == [row_id]


@every_finder
def test_a_scope_that_grows_too_large_is_told_its_oldest_rows(opened: Opened) -> None:
    rows, nearby = opened
    for vector in _units(120):
        row_id = _put(rows, vector)
        rows.delete(excess := nearby.excess(A, 100, 0))
        nearby.forget(A, excess)
    kept = rows.beyond(A, 0)

    assert max(kept) == row_id
    assert 99 <= len(kept) <= 120
    assert nearby.excess(B, 100, 0) == []
