"""What every Ledger promises about charges from outside, tested on each adapter."""

from collections.abc import AsyncIterator, Callable

import pytest

from farthing.errors import LedgerUnavailable
from farthing.money import Nano
from ledger.charges import Charge, EventKey, booked
from ledger.groupcommit import GroupCommit
from ledger.testing import ManualClock, MemoryLedger, example_account, example_intent, example_record
from tests.ledgers import Engine

DAY = example_account(limit=1000)
AnyLedger = GroupCommit | MemoryLedger


@pytest.fixture(params=["sqlite", "postgres", "memory"])
async def ledger(request: pytest.FixtureRequest, engine_named: Callable[[str], Engine]) -> AsyncIterator[AnyLedger]:
    clock, name = ManualClock(), request.param
    opened: AnyLedger = MemoryLedger(clock) if name == "memory" else await engine_named(name).open(clock)
    yield opened
    await opened.close()


def charge(id_: str, cost: int) -> Charge:
    key = EventKey("acme", "/batch", id_)
    record = example_record(key.record_id, cost=Nano(cost), price_version="v1", endpoint="external")
    return Charge(key=key, record=record, accounts=(DAY,), booked_ns=7, booked_by="boss")


async def left(ledger: AnyLedger) -> int:
    """What the account has left, asked by a hold of nothing."""
    hold = await ledger.reserve(example_intent("probe", 0, DAY))
    assert hold.remaining is not None
    return hold.remaining


async def test_a_charge_draws_on_the_account(ledger: AnyLedger) -> None:
    assert await ledger.book(charge("a", 300)) is True

    assert await left(ledger) == 700


async def test_a_charge_is_taken_past_the_cap(ledger: AnyLedger) -> None:
    assert await ledger.book(charge("a", 5000)) is True

    assert await left(ledger) == -4000


async def test_the_same_charge_again_changes_nothing(ledger: AnyLedger) -> None:
    results = [await ledger.book(charge("a", 300)) for _ in range(3)]

    assert results == [True, False, False]
    assert await left(ledger) == 700


async def test_a_closed_ledger_books_nothing(ledger: AnyLedger) -> None:
    await ledger.close()

    with pytest.raises(LedgerUnavailable):
        await ledger.book(charge("a", 300))


async def test_what_was_booked_is_found_by_its_record_id(engine: Engine) -> None:
    ledger = await engine.open(ManualClock())
    one = charge("a", 300)
    await ledger.book(one)

    found = booked(engine.database, [one.record.id, "ext-unknown"])

    assert {id_: (entry.cost, entry.price_version, entry.booked_ns) for id_, entry in found.items()} == {
        one.record.id: (300, "v1", 7)
    }
    await ledger.close()


def test_a_ledger_that_cannot_be_read_says_so(engine: Engine) -> None:
    engine.remove()

    with pytest.raises(LedgerUnavailable):
        booked(engine.database, ["x"])


def test_no_two_events_share_a_record_id() -> None:
    keys = [EventKey("a", "bc", "d"), EventKey("ab", "c", "d"), EventKey("a", "b", "cd"), EventKey("", "abc", "d")]

    assert len({key.record_id for key in keys}) == len(keys)
