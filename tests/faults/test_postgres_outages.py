"""The ledger on PostgreSQL when its server goes away and comes back."""

import asyncio
from typing import TYPE_CHECKING, Literal

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed: scripts/install postgres")

from farthing.errors import LedgerUnavailable
from farthing.money import Nano
from farthing.record import CacheOutcome, Outcome, Record
from farthing.value import changed
from ledger import reports
from ledger.groupcommit import PORTION
from ledger.postgres_database import PostgresDatabase
from ledger.testing import example_intent, example_record
from tests.faults.postgres_setup import (
    HELD,
    ROOMY,
    Callers,
    assert_the_books_are_right,
    costs,
    holds,
    open_ledger,
    spent_and_held,
)
from tests.gateway import until

if TYPE_CHECKING:
    from tests.postgres import Server

PATIENT_S = 30.0


@pytest.mark.parametrize("mode", ["immediate", "fast"])
async def test_restarts_under_load_neither_lose_nor_double_nor_invent_a_call(
    own_postgres: "Server", mode: Literal["immediate", "fast"]
) -> None:
    url, late = own_postgres.fresh_database(), list[Record]()
    ledgers = [await open_ledger(url, on_late=late.append) for _ in range(2)]
    callers = [Callers(ledger, f"c{number}").start(30) for number, ledger in enumerate(ledgers)]
    for _ in range(5):
        await asyncio.sleep(0.3)
        await asyncio.to_thread(own_postgres.restart, mode)
    await asyncio.sleep(0.5)

    await asyncio.gather(*(one.stop() for one in callers))
    for ledger in ledgers:
        await ledger.close()

    assert sum(len(one.costs) for one in callers) > 100
    assert_the_books_are_right(url, *callers, late=late)


async def test_a_server_that_stays_away_refuses_in_time_and_is_told_the_true_costs_when_it_returns(
    own_postgres: "Server",
) -> None:
    url, late, loop = own_postgres.fresh_database(), list[Record](), asyncio.get_running_loop()
    ledger = await open_ledger(url, on_late=late.append, deadline_s=0.5)
    held = [await ledger.reserve(example_intent(f"answered-{number}", HELD, ROOMY)) for number in range(20)]
    await asyncio.to_thread(own_postgres.kill)
    settled = [
        ledger.settle(hold, example_record(hold.intent.id, cost=Nano(number))) for number, hold in enumerate(held)
    ]
    began = loop.time()

    told = await asyncio.gather(
        *(ledger.reserve(example_intent(f"new-{number}", HELD, ROOMY)) for number in range(20)),
        *settled,
        return_exceptions=True,
    )
    waited = loop.time() - began
    again = loop.time()
    with pytest.raises(LedgerUnavailable):
        await ledger.reserve(example_intent("newer", HELD, ROOMY))
    waited_again = loop.time() - again
    await asyncio.to_thread(own_postgres.start)
    await until(lambda: ledger.made_up == 20, wait_s=PATIENT_S)
    later = await ledger.reserve(example_intent("later", HELD, ROOMY))
    await ledger.settle(later, example_record("later", cost=Nano(7)))
    await ledger.close()

    assert all(isinstance(one, LedgerUnavailable) for one in told)
    assert waited < 5
    assert waited_again < 5
    assert costs(url) == {**{f"answered-{number}": number for number in range(20)}, "later": 7}
    assert sorted(record.id for record in late) == sorted(hold.intent.id for hold in held)
    assert holds(url) == 0
    assert spent_and_held(url) == (sum(range(20)) + 7, 0)


async def test_nobody_waits_for_a_server_that_is_known_to_be_away_whatever_is_owed_to_it(
    own_postgres: "Server",
) -> None:
    url = own_postgres.fresh_database()
    ledger = await open_ledger(url, deadline_s=1.5)
    held = [await ledger.reserve(example_intent(f"answered-{number}", HELD, ROOMY)) for number in range(20)]
    await asyncio.to_thread(own_postgres.kill)
    settled = [ledger.settle(hold, example_record(hold.intent.id, cost=Nano(7))) for hold in held]
    await asyncio.gather(*settled, return_exceptions=True)
    await until(lambda: ledger.failures > 8, wait_s=PATIENT_S)

    asked = [ledger.reserve(example_intent(f"new-{number}", HELD, ROOMY)) for number in range(20)]
    refused = await asyncio.gather(*asked, return_exceptions=True)
    await asyncio.to_thread(own_postgres.start)
    await until(lambda: ledger.made_up == 20, wait_s=PATIENT_S)
    await ledger.close()

    # Told with the batch that failed, and not when their own patience was over.
    assert [error for error in map(str, refused) if "cannot be written" not in error] == []


async def test_free_answers_while_the_server_is_away_are_on_the_books_when_it_returns(own_postgres: "Server") -> None:
    url, late = own_postgres.fresh_database(), list[Record]()
    ledger = await open_ledger(url, on_late=late.append, deadline_s=0.2)
    await asyncio.to_thread(own_postgres.kill)

    hit = example_record("", outcome=Outcome.HIT, cache=CacheOutcome.EXACT, avoided_cache=Nano(7))
    hits = [changed(hit, id=f"hit-{number}") for number in range(3 * PORTION)]
    told = await asyncio.gather(*(ledger.settle(None, record) for record in hits), return_exceptions=True)
    refused = ledger.settle(None, example_record("refused", outcome=Outcome.REFUSED, status=402))
    with pytest.raises(LedgerUnavailable):
        await refused
    await asyncio.to_thread(own_postgres.start)
    await until(lambda: ledger.made_up == len(hits), wait_s=PATIENT_S)
    await ledger.close()

    assert all(isinstance(one, LedgerUnavailable) for one in told)
    assert set(costs(url)) == {record.id for record in hits} == {record.id for record in late}
    totals = reports.totals(PostgresDatabase(url), since_ns=0, until_ns=2**62)
    assert (totals.avoided_cache, ledger.dropped) == (7 * len(hits), 0)


async def test_a_ledger_that_closes_while_the_server_is_away_ends_and_counts_the_free_answers_it_gives_up(
    own_postgres: "Server",
) -> None:
    ledger = await open_ledger(own_postgres.fresh_database(), deadline_s=0.2)
    await asyncio.to_thread(own_postgres.kill)
    hit = example_record("", outcome=Outcome.HIT, cache=CacheOutcome.EXACT)
    hits = [ledger.settle(None, changed(hit, id=f"hit-{number}")) for number in range(2 * PORTION)]
    await asyncio.gather(*hits, return_exceptions=True)

    async with asyncio.timeout(10):  # of which it needs its deadline
        await ledger.close()

    assert (ledger.dropped, ledger.made_up) == (2 * PORTION, 0)


async def test_settlements_that_a_ledger_closes_on_are_written_when_the_server_returns_within_the_deadline(
    own_postgres: "Server",
) -> None:
    url = own_postgres.fresh_database()
    ledger = await open_ledger(url, deadline_s=20)
    hold = await ledger.reserve(example_intent("answered", HELD, ROOMY))
    await asyncio.to_thread(own_postgres.end, "immediate")
    settled = ledger.settle(hold, example_record("answered", cost=Nano(7)))

    closing = asyncio.ensure_future(ledger.close())
    await asyncio.sleep(0.05)
    await asyncio.to_thread(own_postgres.start)
    await closing

    assert await settled is True
    assert costs(url) == {"answered": 7}
    assert spent_and_held(url) == (7, 0)
