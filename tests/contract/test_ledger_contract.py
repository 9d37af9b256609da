"""What every Ledger promises, tested on each adapter."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from farthing.errors import BudgetExceeded, LedgerUnavailable
from farthing.money import Nano
from farthing.record import Outcome, Record
from farthing.usage import UsageSource
from farthing.value import changed
from ledger import reports
from ledger.database import Database
from ledger.groupcommit import GroupCommit
from ledger.testing import ManualClock, MemoryLedger, example_account, example_intent, example_record
from tests.ledgers import Engine


class Books:
    """A ledger under test with a view on what it keeps."""

    def __init__(self, ledger: GroupCommit | MemoryLedger, clock: ManualClock, database: Database | None) -> None:
        self.ledger, self.clock, self._database = ledger, clock, database

    def record(self, id_: str) -> Record | None:
        if isinstance(self.ledger, MemoryLedger):
            return self.ledger.records.get(id_)
        assert self._database is not None
        return reports.record(self._database, id_)

    def balance(self, id_: str) -> tuple[int, int]:
        if isinstance(self.ledger, MemoryLedger):
            return self.ledger.spent.get(id_, 0), self.ledger.held.get(id_, 0)
        assert self._database is not None
        states = {state.account.id: state for state in reports.budget_states(self._database, now_ns=0)}
        return (states[id_].spent, states[id_].held) if id_ in states else (0, 0)


@pytest.fixture(params=["sqlite", "postgres", "memory"])
async def books(request: pytest.FixtureRequest, engine_named: Callable[[str], Engine]) -> AsyncIterator[Books]:
    clock = ManualClock()
    if request.param == "memory":
        books = Books(MemoryLedger(clock), clock, None)
    else:
        engine = engine_named(request.param)
        books = Books(await engine.open(clock), clock, engine.database)
    yield books
    await books.ledger.close()


DAY = example_account("daily|tenant=acme|day|2027-01-15", limit=1000)
RUN = example_account("runs|run=r1|run|", limit=300)


async def test_a_hold_sets_the_amount_aside_in_every_account(books: Books) -> None:
    hold = await books.ledger.reserve(example_intent("a", 100, RUN, DAY))

    assert hold.remaining == 200
    assert books.balance(DAY.id) == (0, 100)
    assert books.balance(RUN.id) == (0, 100)


async def test_an_intent_without_accounts_is_held_too(books: Books) -> None:
    hold = await books.ledger.reserve(example_intent("a", 100))

    assert hold.remaining is None


async def test_a_refusal_holds_nothing_in_any_account(books: Books) -> None:
    with pytest.raises(BudgetExceeded):
        await books.ledger.reserve(example_intent("a", 301, DAY, RUN))

    assert books.balance(DAY.id) == (0, 0)
    assert books.balance(RUN.id) == (0, 0)


async def test_a_refusal_tells_the_figures_of_the_first_account_that_refuses(books: Books) -> None:
    hold = await books.ledger.reserve(example_intent("a", 200, DAY, RUN))
    await books.ledger.settle(hold, example_record("a", cost=Nano(150)))
    await books.ledger.reserve(example_intent("b", 100, DAY, RUN))

    with pytest.raises(BudgetExceeded) as refusal:
        await books.ledger.reserve(example_intent("c", 60, DAY, RUN))

    assert refusal.value.budget == {
        "id": "runs",
        "scope": "run=r1",
        "window": "run",
        "limit_usd": "0.000000300",
        "spent_usd": "0.000000150",
        "reserved_usd": "0.000000100",
        "estimate_usd": "0.000000060",
        "resets_at": RUN.resets_at,
    }


async def test_a_budget_can_be_held_to_the_last_nano_dollar_and_not_beyond(books: Books) -> None:
    await books.ledger.reserve(example_intent("a", 1000, DAY))

    with pytest.raises(BudgetExceeded):
        await books.ledger.reserve(example_intent("b", 1, DAY))

    assert books.balance(DAY.id) == (0, 1000)


async def test_a_call_that_cannot_cost_anything_passes_an_exhausted_budget(books: Books) -> None:
    await books.ledger.reserve(example_intent("a", 1000, DAY))

    hold = await books.ledger.reserve(example_intent("b", 0, DAY))

    assert hold.remaining == 0


async def test_settling_replaces_the_hold_by_the_cost(books: Books) -> None:
    hold = await books.ledger.reserve(example_intent("a", 100, RUN, DAY))

    await books.ledger.settle(hold, example_record("a", cost=Nano(40)))

    assert books.balance(DAY.id) == (40, 0)
    assert books.balance(RUN.id) == (40, 0)
    assert books.record("a") == example_record("a", cost=Nano(40))


async def test_a_second_settlement_changes_nothing(books: Books) -> None:
    hold = await books.ledger.reserve(example_intent("a", 100, DAY))
    await books.ledger.settle(hold, example_record("a", cost=Nano(40)))

    await books.ledger.settle(hold, example_record("a", cost=Nano(90)))
    await books.ledger.settle(hold, example_record("other", cost=Nano(90)))
    await books.ledger.settle(None, example_record("a", cost=Nano(90)))

    assert books.balance(DAY.id) == (40, 0)
    assert books.record("a") == example_record("a", cost=Nano(40))
    assert books.record("other") is None
    assert books.ledger.late_settlements == 2


async def test_two_settlements_asked_for_at_once_count_once(books: Books) -> None:
    hold = await books.ledger.reserve(example_intent("a", 100, DAY))

    await asyncio.gather(*(books.ledger.settle(hold, example_record("a", cost=Nano(40))) for _ in range(5)))

    assert books.balance(DAY.id) == (40, 0)


async def test_a_record_without_a_hold_is_written_down(books: Books) -> None:
    await books.ledger.settle(None, example_record("hit", outcome=Outcome.HIT))

    assert books.record("hit") == example_record("hit", outcome=Outcome.HIT)


async def test_a_cost_above_the_hold_is_accepted_and_counted(books: Books) -> None:
    hold = await books.ledger.reserve(example_intent("a", 100, DAY))

    await books.ledger.settle(hold, example_record("a", cost=Nano(5000)))

    assert books.balance(DAY.id) == (5000, 0)
    assert books.ledger.overages == 1


async def test_a_settlement_frees_room_for_the_next_call(books: Books) -> None:
    hold = await books.ledger.reserve(example_intent("a", 1000, DAY))
    await books.ledger.settle(hold, example_record("a", cost=Nano(10)))

    next_hold = await books.ledger.reserve(example_intent("b", 990, DAY))

    assert next_hold.remaining == 0


async def test_the_limit_of_the_intent_binds_not_an_older_one(books: Books) -> None:
    await books.ledger.reserve(example_intent("a", 1000, DAY))

    hold = await books.ledger.reserve(example_intent("b", 1000, example_account(DAY.id, limit=2500)))

    assert hold.remaining == 500


async def test_an_extension_sets_more_aside_and_a_settlement_gives_all_of_it_back(books: Books) -> None:
    hold = await books.ledger.reserve(example_intent("a", 100, RUN, DAY))

    extended = await books.ledger.extend(hold, Nano(50))
    held = books.balance(DAY.id), books.balance(RUN.id)
    await books.ledger.settle(extended, example_record("a", cost=Nano(120)))

    assert (extended.intent.amount, extended.remaining) == (150, 150)
    assert held == ((0, 150), (0, 150))
    assert (books.balance(DAY.id), books.balance(RUN.id)) == ((120, 0), (120, 0))
    assert books.ledger.overages == 0


async def test_a_refused_extension_leaves_the_hold_as_it_was_in_every_account(books: Books) -> None:
    hold = await books.ledger.reserve(example_intent("a", 200, DAY, RUN))

    with pytest.raises(BudgetExceeded) as refusal:
        await books.ledger.extend(hold, Nano(101))

    assert refusal.value.budget["id"] == "runs"
    assert (books.balance(DAY.id), books.balance(RUN.id)) == ((0, 200), (0, 200))


async def test_a_hold_may_be_extended_to_the_last_nano_dollar(books: Books) -> None:
    hold = await books.ledger.reserve(example_intent("a", 200, RUN))

    extended = await books.ledger.extend(await books.ledger.extend(hold, Nano(99)), Nano(1))

    assert (extended.intent.amount, extended.remaining) == (300, 0)


async def test_an_extension_nobody_told_the_settlement_of_is_given_back_too(books: Books) -> None:
    hold = await books.ledger.reserve(example_intent("a", 100, DAY))
    await books.ledger.extend(hold, Nano(50))

    await books.ledger.settle(hold, example_record("a", cost=Nano(40)))

    assert books.balance(DAY.id) == (40, 0)


@pytest.mark.parametrize("settled_first", [True, False])
async def test_an_extension_and_the_settlement_asked_for_at_once_leave_nothing_held(
    books: Books, settled_first: bool
) -> None:
    hold = await books.ledger.reserve(example_intent("a", 100, DAY))
    settling = [books.ledger.settle(hold, example_record("a", cost=Nano(40)))] if settled_first else []

    extending = asyncio.ensure_future(books.ledger.extend(hold, Nano(50)))
    await asyncio.sleep(0)
    settling = settling or [books.ledger.settle(hold, example_record("a", cost=Nano(40)))]
    extended, *_ = await asyncio.gather(extending, *settling, return_exceptions=True)

    assert isinstance(extended, LedgerUnavailable) is settled_first
    assert books.balance(DAY.id) == (40, 0)


async def test_a_hold_that_is_gone_cannot_be_extended(books: Books) -> None:
    hold = await books.ledger.reserve(example_intent("a", 100, DAY))
    await books.ledger.settle(hold, example_record("a", cost=Nano(40)))

    with pytest.raises(LedgerUnavailable):
        await books.ledger.extend(hold, Nano(50))

    assert books.balance(DAY.id) == (40, 0)


async def test_an_extended_hold_that_expires_is_charged_whole(books: Books) -> None:
    hold = await books.ledger.reserve(example_intent("a", 100, DAY, expires_ns=books.clock.wall_ns()))
    await books.ledger.extend(hold, Nano(50))

    await books.ledger.recover()

    assert books.balance(DAY.id) == (150, 0)


async def test_the_limits_given_with_the_hold_bind_its_extension(books: Books) -> None:
    hold = await books.ledger.reserve(example_intent("a", 1000, DAY))
    raised = changed(hold, intent=changed(hold.intent, accounts=(example_account(DAY.id, limit=2500),)))

    extended = await books.ledger.extend(raised, Nano(500))

    assert extended.remaining == 1000


async def test_concurrent_calls_worth_three_times_the_cap_never_pass_it(books: Books) -> None:
    async def call(number: int) -> bool:
        id_ = f"call-{number}"
        try:
            hold = await books.ledger.reserve(example_intent(id_, 30, DAY))
        except BudgetExceeded:
            return False
        await asyncio.sleep(0)
        await books.ledger.settle(hold, example_record(id_, cost=Nano(30)))
        return True

    served = sum(await asyncio.gather(*(call(number) for number in range(100))))

    assert served == 33  # 33 x 30 = 990 of 1000
    assert books.balance(DAY.id) == (990, 0)


async def test_an_expired_hold_becomes_one_lost_record_of_the_whole_amount(books: Books) -> None:
    expires_ns = books.clock.wall_ns() + 10 * 10**9
    await books.ledger.reserve(example_intent("a", 100, DAY, expires_ns=expires_ns))
    early = await books.ledger.recover()
    books.clock.advance(10)

    found = await books.ledger.recover()

    record = books.record("a")
    assert record is not None
    assert (early, found, books.ledger.recovered) == (0, 1, 1)
    assert (record.outcome, record.cost, record.usage.source) == (Outcome.LOST, 100, UsageSource.ESTIMATED)
    assert books.balance(DAY.id) == (100, 0)


async def test_a_settlement_after_expiry_does_not_charge_twice(books: Books) -> None:
    hold = await books.ledger.reserve(example_intent("a", 100, DAY, expires_ns=books.clock.wall_ns()))
    await books.ledger.recover()

    await books.ledger.settle(hold, example_record("a", cost=Nano(40)))

    assert books.balance(DAY.id) == (100, 0)
    record = books.record("a")
    assert record is not None
    assert record.outcome is Outcome.LOST
    assert books.ledger.late_settlements == 1


async def test_a_hold_whose_record_is_on_the_books_already_is_only_let_go(books: Books) -> None:
    now_ns = books.clock.wall_ns()
    await asyncio.gather(*(books.ledger.settle(None, example_record(id_, cost=Nano(7))) for id_ in ("a", "b")))
    settled = await books.ledger.reserve(example_intent("a", 100, DAY))
    await books.ledger.reserve(example_intent("b", 100, DAY, expires_ns=now_ns))

    await books.ledger.settle(settled, example_record("a", cost=Nano(40)))
    await books.ledger.recover()

    assert books.balance(DAY.id) == (0, 0)
    assert books.record("b") == example_record("b", cost=Nano(7))


async def test_a_settlement_happens_although_nobody_waits_for_it(books: Books) -> None:
    hold = await books.ledger.reserve(example_intent("a", 100, DAY))

    async def settle() -> None:
        await books.ledger.settle(hold, example_record("a", cost=Nano(40)))

    task = asyncio.ensure_future(settle())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await books.ledger.settle(None, example_record("b"))

    assert books.balance(DAY.id) == (40, 0)


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancelled_reservation_holds_nothing(books: Books, turns: int) -> None:
    if isinstance(books.ledger, MemoryLedger):
        pytest.skip("it reserves without waiting, so there is no moment in which to cancel")
    task = asyncio.ensure_future(books.ledger.reserve(example_intent("a", 100, DAY)))
    for _ in range(turns):
        await asyncio.sleep(0)

    cancelled = task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await books.ledger.settle(None, example_record("b"))

    assert books.balance(DAY.id) == (0, 0 if cancelled else 100)


async def test_a_closed_ledger_refuses(books: Books) -> None:
    hold = await books.ledger.reserve(example_intent("a", 100, DAY))
    await books.ledger.close()

    with pytest.raises(LedgerUnavailable):
        await books.ledger.reserve(example_intent("b", 100, DAY))
    with pytest.raises(LedgerUnavailable):
        await books.ledger.settle(hold, example_record("a"))


async def test_closing_commits_what_is_queued(books: Books) -> None:
    pending = books.ledger.settle(None, example_record("last"))

    await books.ledger.close()

    assert pending.done()
    assert books.record("last") is not None
