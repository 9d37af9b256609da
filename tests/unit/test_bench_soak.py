"""The auditor of the soak: it is worth as much as what it would find."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bench.soak import BUDGETS, Audit, Seen, audit
from bench.victims import Victim
from ledger import rollups, sqlite_file
from ledger.check import repair
from ledger.sqlite_file import SQLiteFile

Rows = list[tuple[str, str, int, str]]
PAID, ESTIMATE = ("success", 100, "provider"), ("lost", 300, "estimated")


@pytest.fixture
def look(tmp_path: Path) -> Iterator[Callable[..., Audit]]:
    victim = Victim(tmp_path / "config", 2)
    victim.ledger.parent.mkdir()
    sqlite_file.prepare(victim.ledger)
    with SQLiteFile(victim.ledger).working() as session:
        rollups.catch_up(session)

    def write(rows: dict[str, tuple[str, int, str]], off: int = 0) -> Victim:
        with closing(sqlite3.connect(victim.ledger)) as database, database:
            for number, (run, (outcome, cost, source)) in enumerate(rows.items()):
                _insert(database, number, run.rstrip("'"), outcome, cost, source)
            spent = sum(cost for _, cost, _ in rows.values())
            database.executemany(
                "INSERT INTO accounts (id, budget, scope, budget_window, cap, spent)"
                " VALUES (?1, ?1, 'all', 'day', 1, ?2)",
                [(budget["id"], spent + off) for budget in BUDGETS],
            )
        repair(SQLiteFile(victim.ledger), (0,))
        return victim

    def audited(rows: dict[str, tuple[str, int, str]], off: int = 0, **seen: Any) -> Audit:
        known: dict[str, Any] = {"asked": {run.rstrip("'") for run in rows}, "billed": Counter[str](), **seen}
        return audit(write(rows, off), Seen(**known))

    yield audited


def _insert(database: sqlite3.Connection, number: int, run: str, outcome: str, cost: int, source: str) -> None:
    given = {"id": f"r{number}", "run": run, "outcome": outcome, "cost": cost, "usage_source": source, "attempts": "[]"}
    names = [row[1] for row in database.execute("PRAGMA table_info(records)") if row[3] and row[4] is None]
    names += [name for name in given if name not in names]
    marks = ", ".join("?" * len(names))
    values = [given.get(name, 0) for name in names]
    database.execute(f"INSERT INTO records ({', '.join(names)}) VALUES ({marks})", values)


def test_books_that_are_right_have_nothing_wrong(look: Callable[..., Audit]) -> None:
    found = look({"w1": PAID, "w2": ESTIMATE, "w1.2": ("hit", 0, "none")}, billed=Counter(w1=1, w2=1), served={"w1"})

    assert (found.wrong, found.charges, found.estimated, found.never_sent) == (0, 2, 1, 0)


def test_a_call_that_was_answered_and_not_charged_is_missing(look: Callable[..., Audit]) -> None:
    assert look({"w1": PAID}, billed=Counter(w1=1, w2=1)).missing == 1


def test_a_second_charge_of_a_run_is_found(look: Callable[..., Audit]) -> None:
    assert look({"w1": PAID, "w1'": PAID}, billed=Counter(w1=2)).doubled == 1


def test_a_charge_that_nobody_asked_for_is_invented(look: Callable[..., Audit]) -> None:
    assert look({"w1": PAID}, billed=Counter(w1=1), asked=set()).invented == 1


def test_a_charge_of_what_was_never_sent_is_invented_unless_it_says_that_it_is_an_estimate(
    look: Callable[..., Audit],
) -> None:
    found = look({"w1": PAID, "w2": ESTIMATE})

    assert (found.invented, found.never_sent) == (1, 2)


def test_an_answer_without_a_record_is_found(look: Callable[..., Audit]) -> None:
    assert look({"w1": ESTIMATE}, billed=Counter(w1=1), served={"w1"}).unrecorded == 1


def test_an_answer_for_which_the_ledger_was_too_slow_may_be_charged_at_its_hold_by_a_recovery(
    look: Callable[..., Audit],
) -> None:
    found = look({"w1": ESTIMATE}, billed=Counter(w1=1), served={"w1"}, unsettled={"w1"})

    assert (found.wrong, found.unrecorded, found.owed) == (0, 0, 1)


def test_an_answer_from_a_cache_without_a_record_is_found(look: Callable[..., Audit]) -> None:
    assert look({"w1": PAID}, billed=Counter(w1=1), asked={"w1", "w1.2"}, served={"w1", "w1.2"}).unrecorded == 1


def test_an_account_that_is_not_the_sum_of_its_records_is_found(look: Callable[..., Audit]) -> None:
    assert look({"w1": PAID}, off=1, billed=Counter(w1=1)).off_accounts == len(BUDGETS)


def test_a_report_that_does_not_know_a_record_is_found(look: Callable[..., Audit], tmp_path: Path) -> None:
    look({"w1": PAID}, billed=Counter(w1=1))
    victim = Victim(tmp_path / "config", 2)
    with closing(sqlite3.connect(victim.ledger)) as database, database:
        database.execute("UPDATE rollup_hours SET cost = cost - 1")
        database.execute("UPDATE rollup_days SET cost = cost - 1")

    assert audit(victim, Seen(asked={"w1"}, billed=Counter(w1=1))).off_sums > 0


def test_a_failed_attempt_that_no_record_tells_of_is_found(look: Callable[..., Audit]) -> None:
    assert look({"w1": PAID}, billed=Counter(w1=1), failed=Counter(w1=1)).lost_attempts == 1
