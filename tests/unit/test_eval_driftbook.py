"""The driftbook: one evidence for all workers, that survives them."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from evals.drift import Promise, Watch
from evals.driftbook import QUIET_NS, DriftBook, Series

SERIES = Series(task="t", tier="tiny", signal="grades", basis="run-1", promise=Promise(floor=0.85, period=5))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "evals.db"


@pytest.fixture
def book(path: Path) -> Iterator[DriftBook]:
    made = DriftBook(path)
    yield made
    made.close()


def seen(*values: float) -> Watch:
    watch = Watch(promise=SERIES.promise)
    for value in values:
        watch = watch.see(value)
    return watch


def test_two_workers_add_to_one_evidence_that_is_there_after_a_restart(book: DriftBook, path: Path) -> None:
    other = DriftBook(path)
    book.add(SERIES, [1.0, 0.0], now_ns=1)

    found = other.add(SERIES, [0.5], now_ns=2)
    other.close()
    again = DriftBook(path)
    (kept,) = again.standings()
    again.close()

    assert found.watch == kept.watch == seen(1.0, 0.0, 0.5)


@pytest.mark.parametrize("change", [{"basis": "run-2"}, {"promise": Promise(floor=0.8, period=5)}])
def test_another_pass_or_promise_begins_anew_and_keeps_the_count_of_alarms(
    book: DriftBook, change: dict[str, object]
) -> None:
    book.add(SERIES, [0.0] * 20, now_ns=1)

    found = book.add(replace(SERIES, **change), [1.0], now_ns=2)  # type: ignore[arg-type]

    assert (found.watch.graded, found.alarms) == (1, 1)


def test_an_alarm_is_told_once_and_what_came_behind_it_is_dropped(book: DriftBook) -> None:
    found = book.add(SERIES, [0.0] * 100, now_ns=1)
    after = book.add(SERIES, [1.0], now_ns=2)

    assert found.watch.alarms
    assert found.watch.graded < 20
    assert (after.watch.alarms, after.alarms, after.watch.graded) == (False, 1, found.watch.graded + 1)


def test_an_alarm_that_is_known_is_told_again_after_a_day_only(book: DriftBook) -> None:
    known = replace(SERIES, signal="revision")

    told = [book.alarm(known, now_ns=now_ns).is_alarm for now_ns in (1, 2, QUIET_NS, QUIET_NS + 1)]
    worse = [book.add(SERIES, [0.0] * 20, now_ns=now_ns).is_alarm for now_ns in (1, 2)]

    assert told == [True, False, False, True]
    assert worse == [True, False]
    assert [(one.signal, one.alarms) for one in book.standings()] == [("grades", 1), ("revision", 2)]


def test_after_another_pass_an_alarm_is_news(book: DriftBook) -> None:
    book.add(SERIES, [0.0] * 20, now_ns=1)

    found = book.add(replace(SERIES, basis="run-2"), [0.0] * 20, now_ns=2)

    assert (found.is_alarm, found.alarms) == (True, 2)


def test_revisions_are_kept_for_one_pass_and_are_bounded(book: DriftBook) -> None:
    book.learn("t", "tiny", "run-1", ["m-1 a"], now_ns=1)
    book.learn("t", "tiny", "run-2", ["m-1 a", "m-1 a", "m-1 b"], now_ns=2)
    book.learn("t", "tiny", "run-2", [f"m-{number}" for number in range(100)], now_ns=3)

    assert book.revisions("t", "tiny", "run-1") == ()
    kept = book.revisions("t", "tiny", "run-2")
    assert len(kept) == 32
    assert {"m-1 a", "m-1 b"} < set(kept)


def test_a_closed_book_says_so(path: Path) -> None:
    book = DriftBook(path)
    book.close()

    with pytest.raises(sqlite3.ProgrammingError):
        book.standings()
