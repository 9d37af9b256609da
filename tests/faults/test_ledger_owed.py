"""What is owed to the books while the ledger cannot be written: told to its caller in time, and written once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.mock_upstream import MockSettings, running_mock
from farthing.errors import LedgerUnavailable
from farthing.money import Nano
from farthing.record import CacheOutcome, Outcome, Record
from farthing.usage import UsageSource
from ledger import reports
from ledger.charges import Charge, EventKey
from ledger.check import check
from ledger.groupcommit import KEPT_ANSWERS, PORTION
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import FileSession, SQLiteFile, connect_waiting, connector
from ledger.testing import ManualClock, example_account, example_intent, example_record
from tests.gateway import change, reached, until, write_tree
from tests.http.test_charges_api import event, post

DAY = example_account("daily|tenant=acme|day|2027-01-15", limit=1_000)
HELD, COST = 100, 40
DEADLINE_S = 0.02
"""Instead of two seconds; what is owed is tried again every quarter of a second."""


@contextmanager
def locked(path: Path) -> Iterator[Callable[[], None]]:
    """Somebody else writes, for longer than anybody waits: until the end, or until what this yields is called."""
    with closing(connect_waiting(path)) as other:
        other.execute("BEGIN IMMEDIATE")

        def free() -> None:
            if other.in_transaction:
                other.execute("ROLLBACK")

        yield free


@asynccontextmanager
async def opened(path: Path, late: list[Record], **how: Any) -> AsyncIterator[SQLiteLedger]:
    ledger = await SQLiteLedger.open(path, ManualClock(), busy_deadline_s=DEADLINE_S, on_late=late.append, **how)
    try:
        yield ledger
    finally:
        await ledger.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def recent(path: Path) -> dict[str, Record]:
    return {record.id: record for record in reports.recent(SQLiteFile(path))}


def balance(path: Path) -> tuple[int, int]:
    (state,) = reports.budget_states(SQLiteFile(path), now_ns=0)
    return state.spent, state.held


def paid(id_: str, **changes: Any) -> Record:
    return example_record(id_, cost=Nano(COST), **changes)


def free(id_: str) -> Record:
    """The record of an answer from a cache: no hold, no cost."""
    return example_record(id_, outcome=Outcome.HIT, cache=CacheOutcome.EXACT, avoided_cache=Nano(7))


def avoided(path: Path) -> int:
    return reports.totals(SQLiteFile(path), since_ns=0, until_ns=2**62).avoided_cache


def charge(id_: str) -> Charge:
    key = EventKey("acme", "/s", id_)
    return Charge(key=key, record=paid(key.record_id), accounts=(DAY,), booked_ns=1, booked_by="boss")


async def test_a_settlement_that_meets_a_long_lock_is_told_and_is_written_once_at_its_cost(path: Path) -> None:
    late: list[Record] = []
    async with opened(path, late) as ledger:
        hold = await ledger.reserve(example_intent("a", HELD, DAY))
        with locked(path) as free:
            with pytest.raises(LedgerUnavailable, match="locked"):
                await ledger.settle(hold, paid("a"))
            while_locked = list(late), balance(path)
            free()
            await until(lambda: ledger.made_up > 0)
        again = await ledger.settle(hold, paid("a"))

    assert while_locked == ([], (0, HELD))
    assert (again, ledger.made_up, late) == (False, 1, [paid("a")])
    assert recent(path) == {"a": paid("a")}
    assert balance(path) == (COST, 0)
    assert check(SQLiteFile(path)).differences == ()


async def test_what_is_asked_twice_because_it_failed_is_written_once(path: Path) -> None:
    late: list[Record] = []
    one = charge("e1")
    async with opened(path, late) as ledger:
        hold = await ledger.reserve(example_intent("a", HELD, DAY))
        with locked(path) as free:
            for _ in range(2):
                asked = ledger.settle(hold, paid("a")), ledger.settle(None, paid("b")), ledger.book(one)
                told = await asyncio.gather(*asked, return_exceptions=True)
                assert all(isinstance(error, LedgerUnavailable) for error in told)
            free()
            await until(lambda: len(late) == 2)
        third = [await asked for asked in (ledger.settle(hold, paid("a")), ledger.book(one))]

    assert third == [False, True]  # a charge is not owed: who was told that it is not booked sends it again
    assert sorted(record.id for record in late) == ["a", "b"]
    assert sorted(recent(path)) == sorted(["a", "b", one.record.id])
    assert balance(path) == (2 * COST, 0)  # what had no hold is in no account


async def test_the_record_of_a_refused_call_is_not_kept_for_a_ledger_that_cannot_be_written(path: Path) -> None:
    late: list[Record] = []
    async with opened(path, late) as ledger:
        with locked(path) as free:
            with pytest.raises(LedgerUnavailable):
                await ledger.settle(None, example_record("refused", outcome=Outcome.REFUSED, status=402))
            free()
        await ledger.settle(None, paid("later"))

    assert list(recent(path)) == ["later"]
    assert (ledger.made_up, late) == (0, [])


async def test_the_record_of_a_free_answer_is_kept_for_a_ledger_that_cannot_be_written(path: Path) -> None:
    late: list[Record] = []
    async with opened(path, late) as ledger:
        with locked(path) as unlock:
            with pytest.raises(LedgerUnavailable):
                await ledger.settle(None, free("hit"))
            while_locked = recent(path)
            unlock()
            await until(lambda: ledger.made_up == 1)

    assert while_locked == {}
    assert (late, avoided(path), ledger.dropped) == ([free("hit")], 7, 0)
    assert check(SQLiteFile(path)).differences == ()


async def test_free_answers_beyond_what_memory_keeps_are_counted_and_nothing_that_costs_is_dropped_for_them(
    path: Path,
) -> None:
    late: list[Record] = []
    async with opened(path, late) as ledger:
        hold = await ledger.reserve(example_intent("a", HELD, DAY))
        with locked(path) as unlock:
            answers = [ledger.settle(None, free(f"hit-{number}")) for number in range(KEPT_ANSWERS + 3)]
            await asyncio.gather(*answers, ledger.settle(hold, paid("a")), return_exceptions=True)
            unlock()
            await until(lambda: ledger.made_up == KEPT_ANSWERS + 1)

    assert ledger.dropped == 3
    assert len({record.id for record in late}) == len(late) == KEPT_ANSWERS + 1
    assert (avoided(path), balance(path)) == (7 * KEPT_ANSWERS, (COST, 0))


async def test_calls_are_held_between_the_portions_of_free_answers_that_waited(path: Path) -> None:
    async with opened(path, []) as ledger:
        with locked(path):
            answers = [ledger.settle(None, free(f"hit-{number}")) for number in range(5 * PORTION)]
            await asyncio.gather(*answers, return_exceptions=True)

        await ledger.reserve(example_intent("a", HELD, DAY))
        after_one_call = ledger.made_up
        await until(lambda: ledger.made_up == 5 * PORTION)

    assert after_one_call <= 2 * PORTION


@pytest.mark.parametrize("is_locked", [True, False])
async def test_a_ledger_that_closes_writes_the_free_answers_that_waited_or_counts_them(
    path: Path, is_locked: bool
) -> None:
    ledger = await SQLiteLedger.open(path, ManualClock(), busy_deadline_s=DEADLINE_S)
    with locked(path) as unlock:
        answers = [ledger.settle(None, free(f"hit-{number}")) for number in range(2 * PORTION)]
        await asyncio.gather(*answers, return_exceptions=True)
        if not is_locked:
            unlock()

        await ledger.close()

    assert (ledger.made_up, ledger.dropped) == ((0, 2 * PORTION) if is_locked else (2 * PORTION, 0))


async def test_a_reservation_that_failed_is_never_made_beside_what_is_owed(path: Path) -> None:
    async with opened(path, []) as ledger:
        hold = await ledger.reserve(example_intent("a", HELD, DAY))
        with locked(path) as free:
            settling = ledger.settle(hold, paid("a"))
            told = await asyncio.gather(settling, ledger.reserve(example_intent("b", 5, DAY)), return_exceptions=True)
            free()
            await until(lambda: ledger.made_up == 1)

    assert all(isinstance(error, LedgerUnavailable) for error in told)
    assert balance(path) == (COST, 0)


async def test_a_close_under_a_lock_ends_and_leaves_the_hold_to_recovery(path: Path) -> None:
    late: list[Record] = []
    ledger = await SQLiteLedger.open(path, ManualClock(), busy_deadline_s=DEADLINE_S, on_late=late.append)
    hold = await ledger.reserve(example_intent("a", HELD, DAY))
    with locked(path):
        with pytest.raises(LedgerUnavailable):
            await ledger.settle(hold, paid("a"))

        async with asyncio.timeout(10):  # of which it needs its deadline
            await ledger.close()

    assert (ledger.made_up, late, balance(path)) == (0, [], (0, HELD))
    async with opened(path, late):
        pass
    assert [(record.id, record.outcome, record.cost) for record in late] == [("a", Outcome.LOST, HELD)]
    assert balance(path) == (HELD, 0)


async def test_a_close_after_the_lock_writes_what_is_owed_without_waiting_for_the_next_try(path: Path) -> None:
    late: list[Record] = []
    async with opened(path, late) as ledger:
        hold = await ledger.reserve(example_intent("a", HELD, DAY))
        with locked(path), pytest.raises(LedgerUnavailable):
            await ledger.settle(hold, paid("a"))

    assert (late, balance(path)) == ([paid("a")], (COST, 0))


async def test_a_settlement_that_meets_a_failing_disk_is_written_when_it_works_again(path: Path) -> None:
    late: list[Record] = []
    sessions: list[FileSession] = []

    def connect(path: Path) -> FileSession:
        sessions.append(connector("normal")(path))
        return sessions[-1]

    async with opened(path, late, connect=connect) as ledger:
        hold = await ledger.reserve(example_intent("a", HELD, DAY))
        sessions[0].execute("PRAGMA query_only = 1")
        with pytest.raises(LedgerUnavailable, match="readonly"):
            await ledger.settle(hold, paid("a"))
        await until(lambda: ledger.made_up == 1)

    assert len(sessions) == 2  # the one that failed was closed

    assert (late, balance(path)) == ([paid("a")], (COST, 0))


async def test_a_row_that_cannot_be_stored_is_not_tried_for_ever_after_a_lock(path: Path) -> None:
    late: list[Record] = []
    async with opened(path, late) as ledger:
        hold = await ledger.reserve(example_intent("a", HELD, DAY))
        with locked(path) as free:
            bad = ledger.settle(None, example_record("bad", cost=Nano(2**70)))
            asked = bad, ledger.settle(hold, paid("a"))
            await asyncio.gather(*asked, return_exceptions=True)
            free()
            await until(lambda: ledger.made_up == 1)
        failures = ledger.failures
        await ledger.settle(None, paid("later"))

    assert ledger.failures == failures
    assert sorted(recent(path)) == ["a", "later"]


async def test_the_hold_of_a_caller_who_left_is_given_back_when_the_lock_goes(path: Path) -> None:
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unheard.append(context))
    async with opened(path, []) as ledger:
        with closing(connect_waiting(path)) as other:
            caller = asyncio.ensure_future(ledger.reserve(example_intent("a", HELD, DAY)))
            await asyncio.sleep(0)  # it has asked
            await asyncio.sleep(0)  # it has been given its hold, and does not know yet
            other.execute("BEGIN IMMEDIATE")
            caller.cancel()
            await asyncio.wait({caller})
            await until(lambda: ledger.failures > 0)
            while_locked = balance(path)
            other.execute("ROLLBACK")
        await until(lambda: balance(path) == (0, 0))

    assert caller.cancelled()
    assert while_locked == (0, HELD)
    assert unheard == []


async def test_what_is_spent_during_a_long_lock_is_on_the_books_metrics_and_log_once_the_lock_goes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with running_mock(MockSettings(slow_ms=300, recording=True)) as mock:
        config = write_tree(tmp_path, mock.base_url)
        change(config, ("{level: error}", "{level: info}"))
        async with reached(config, mock) as gateway:
            ledger, file = gateway.application.house.ledger, gateway.application.house.files.ledger
            call = asyncio.ensure_future(gateway.chat(model="mock-slow-first-byte", max_tokens=20))
            await until(lambda: len(mock.requests) == 1)
            with locked(file) as free:
                refused, response = await asyncio.gather(post(gateway, event()), call)
                waiting = await gateway.metric("farthing_ledger_unwritten_records"), gateway.records()
                free()
                await until(lambda: ledger.made_up == 1)

            again = await post(gateway, event())
            written = await gateway.metric("farthing_ledger_unwritten_records")
            seen = await gateway.metric("farthing_requests_total")
            records, held = gateway.records(), gateway.holds()

    assert (refused.status_code, response.status_code) == (503, 200)
    assert (waiting, written, seen, held) == ((1, []), 0, 2, 0)
    assert [record.id for record in records] == [
        again.json()["record_id"],
        response.headers["x-farthing-request-id"],
    ]
    assert again.json()["duplicate"] is False
    assert (records[1].outcome, records[1].usage.source) == (Outcome.SUCCESS, UsageSource.PROVIDER)
    log = capfd.readouterr().err
    assert [log.count(record.id) for record in records] == [1, 1]
