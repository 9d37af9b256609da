"""What every store of the semantic cache must do: questions with their answers, and what is learned about them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cache.calibration import Evidence
from cache.rows import DomainRow, Sample, SemanticStore
from cache.stores.semantic import SQLiteSemanticRows, read_domains, read_published

A, B = b"a" * 32, b"b" * 32
EVIDENCE = Evidence(cosine=0.91, score=0.75, lead=0.125, votes=2)


@pytest.fixture(params=["sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SemanticStore]:
    opened = SQLiteSemanticRows.open(tmp_path / "semantic.db")
    yield opened
    opened.close()


def _insert(store: SemanticStore, scope: bytes = A, *, writer: str = "k", expires_ns: int = 100) -> int:
    return store.insert(scope, "a question", b"vector", b"answer", writer=writer, expires_ns=expires_ns)


def _sample(entry: int, same: bool | None = True, **changes: object) -> Sample:
    facts = {"evidence": EVIDENCE, "weight": 2.5, "served": True, "would": True, "kept": None, **changes}
    return Sample(entry=entry, same=same, **facts)  # type: ignore[arg-type]


def test_ids_rise_and_newer_rows_of_a_scope_come_in_their_order(store: SemanticStore) -> None:
    ids = [_insert(store) for _ in range(3)]
    other = _insert(store, B)

    assert ids == sorted(ids)
    assert other > ids[-1]
    assert store.newer(A, 0, 0, 10) == [(row_id, b"vector") for row_id in ids]
    assert store.newer(A, ids[0], 0, 1) == [(ids[1], b"vector")]
    assert store.newer(A, 0, 100, 10) == []


def test_an_id_is_never_given_twice(store: SemanticStore) -> None:
    first = _insert(store)
    store.delete([first])

    assert _insert(store) > first


def test_a_row_is_alive_in_its_scope_until_it_expires(store: SemanticStore) -> None:
    row_id = _insert(store, writer="k")

    row = store.alive(A, [row_id, 999], 99)[row_id]

    assert (row.id, row.prompt, row.answer, row.writer, row.admitted) == (row_id, "a question", b"answer", "k", False)
    assert store.alive(B, [row_id], 99) == {}
    assert store.alive(A, [row_id], 100) == {}


def test_a_row_serves_its_writer_until_it_is_admitted(store: SemanticStore) -> None:
    row_id = _insert(store, writer="k")

    before = store.alive(A, [row_id], 0)[row_id]
    store.admit(row_id)
    after = store.alive(A, [row_id], 0)[row_id]

    assert (before.serves("k"), before.serves("other")) == (True, False)
    assert after.serves("other")


def test_expired_rows_and_those_beyond_the_newest_are_told_and_deleted(store: SemanticStore) -> None:
    ids = [_insert(store, expires_ns=at) for at in (10, 20, 30)]

    assert store.expired(20, 10) == [(ids[0], A), (ids[1], A)]
    assert store.expired(20, 1) == [(ids[0], A)]
    assert store.beyond(A, 1) == [ids[1], ids[0]]
    store.delete([ids[0], 999])
    store.delete([])
    assert store.expired(100, 10) == [(ids[1], A), (ids[2], A)]


def test_samples_come_back_as_they_were_the_newest_in_their_order(store: SemanticStore) -> None:
    kept = [_sample(1), _sample(2, None, kept=7), _sample(3, False, served=False, would=False)]
    for sample in kept:
        store.keep("one", sample)
    store.keep("other", _sample(9))

    found = store.samples("one", 0, 10)

    assert [sample for _, sample in found] == kept
    assert store.samples("one", found[0][0], 10) == found[1:]
    assert store.samples("one", 0, 2) == found[1:]


def test_old_samples_are_forgotten_by_domain(store: SemanticStore) -> None:
    for entry in range(5):
        store.keep("one", _sample(entry))
    store.keep("other", _sample(9))

    store.forget("one", 2)

    assert [sample.entry for _, sample in store.samples("one", 0, 10)] == [3, 4]
    assert len(store.samples("other", 0, 10)) == 1


def test_what_was_saved_last_is_loaded(store: SemanticStore) -> None:
    row = DomainRow(feature="f", state=b"\0one", watermark=3, hit_share=0.25, calibrated=True, stopped=False)
    store.save("one", DomainRow(feature="f", state=b"", watermark=1, hit_share=1.0, calibrated=False, stopped=True))

    store.save("one", row)

    assert store.load("one") == row
    assert store.load("other") is None


def test_sums_add_up_by_feature_and_money_stays_exact(tmp_path: Path) -> None:
    path = tmp_path / "semantic.db"
    here, there = SQLiteSemanticRows.open(path), SQLiteSemanticRows.open(path)
    here.tally("f", {"saved": 2**53 + 1, "weight": 0.5})
    there.tally("f", {"saved": 2**53 + 1, "weight": 0.25})
    here.close()
    there.close()

    totals, domains = read_published(path)

    assert totals == {"f": {"saved": 2**54 + 2, "weight": 0.75}}
    assert domains == {}


def test_each_domain_is_told_with_its_state_and_of_two_versions_the_later(tmp_path: Path) -> None:
    path = tmp_path / "semantic.db"
    rows = SQLiteSemanticRows.open(path)
    for version, watermark, calibrated in (("v2", 9, True), ("v1", 4, False)):
        row = DomainRow(
            feature="f", state=b"", watermark=watermark, hit_share=1.0, calibrated=calibrated, stopped=False
        )
        rows.save(f"acme\0f\0test\0{version}", row)
    stopped = DomainRow(feature="f", state=b"", watermark=1, hit_share=1.0, calibrated=True, stopped=True)
    rows.save("globex\0f\0\0v2", stopped)
    rows.keep("acme\0f\0test\0v2", _sample(1))
    rows.keep("acme\0f\0test\0v2", _sample(1, same=None))
    rows.close()

    found = {(one.tenant, one.environment): (one.state.value, one.compared) for one in read_domains(path)}

    assert found == {("acme", "test"): ("calibrated", 1), ("globex", ""): ("stopped", 0)}


def test_where_there_is_no_file_there_are_no_domains(tmp_path: Path) -> None:
    assert read_domains(tmp_path / "semantic.db") == []
