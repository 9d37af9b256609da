"""The ledger on PostgreSQL when the way to its server is cut, above all between COMMIT and its answer."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed: scripts/install postgres")

from farthing.errors import LedgerUnavailable
from farthing.money import Nano
from farthing.record import Record
from ledger.charges import Charge, EventKey
from ledger.testing import example_intent, example_record
from tests.faults.postgres_setup import (
    HELD,
    ROOMY,
    Callers,
    Network,
    assert_the_books_are_right,
    costs,
    holds,
    lag,
    open_ledger,
    spent_and_held,
)
from tests.gateway import until

if TYPE_CHECKING:
    from tests.postgres import Server

Cut = Callable[[asyncio.StreamWriter, asyncio.StreamWriter, bytes], Awaitable[None]]


async def before_the_server_hears_of_it(client: asyncio.StreamWriter, server: asyncio.StreamWriter, _: bytes) -> None:
    client.transport.abort()
    server.transport.abort()


async def after_the_server_heard_of_it(client: asyncio.StreamWriter, server: asyncio.StreamWriter, data: bytes) -> None:
    client.transport.abort()
    server.write(data)
    await server.drain()
    await asyncio.sleep(0.05)  # an end of the connection that comes at once may overtake the data


async def long_before_the_server_hears_of_it_after_all(
    client: asyncio.StreamWriter, server: asyncio.StreamWriter, data: bytes
) -> None:
    client.transport.abort()
    await asyncio.sleep(0.2)  # by now the client is back by another connection
    await after_the_server_heard_of_it(client, server, data)


async def slowly(client: asyncio.StreamWriter, server: asyncio.StreamWriter, data: bytes) -> bool:
    del client
    await asyncio.sleep(0.5)
    server.write(data)
    return True


CUTS = (before_the_server_hears_of_it, after_the_server_heard_of_it, long_before_the_server_hears_of_it_after_all)


@pytest.fixture
async def network(postgres: "Server") -> AsyncIterator[Network]:
    async with Network(postgres.port).open() as network:
        yield network


@pytest.mark.parametrize("cut", CUTS)
async def test_a_reservation_whose_commit_is_not_answered_is_refused_and_holds_nothing(
    network: Network, postgres_url: str, cut: Cut
) -> None:
    ledger = await open_ledger(network.url(postgres_url))
    first = await ledger.reserve(example_intent("first", HELD, ROOMY))
    network.on_commit = cut

    with pytest.raises(LedgerUnavailable, match="broke off"):
        await ledger.reserve(example_intent("doubtful", HELD, ROOMY))

    await ledger.settle(first, example_record("first", cost=Nano(7)))
    await ledger.close()
    assert network.on_commit is None
    assert costs(postgres_url) == {"first": 7}
    assert holds(postgres_url) == 0
    assert spent_and_held(postgres_url) == (7, 0)


async def test_a_hold_that_is_made_after_its_caller_was_refused_is_given_back(
    network: Network, postgres_url: str
) -> None:
    ledger = await open_ledger(network.url(postgres_url), deadline_s=0.3)
    await ledger.settle(None, example_record("first"))
    network.on_commit = slowly

    with pytest.raises(LedgerUnavailable, match="slow to answer"):
        await ledger.reserve(example_intent("late", HELD, ROOMY))

    await ledger.close()
    assert network.on_commit is None
    assert costs(postgres_url) == {"first": 0}
    assert holds(postgres_url) == 0
    assert spent_and_held(postgres_url) == (0, 0)


@pytest.mark.parametrize("cut", CUTS)
async def test_a_settlement_whose_commit_is_not_answered_is_written_once_and_told_to_its_caller(
    network: Network, postgres_url: str, cut: Cut
) -> None:
    late = list[Record]()
    ledger = await open_ledger(network.url(postgres_url), on_late=late.append)
    hold = await ledger.reserve(example_intent("doubtful", HELD, ROOMY))
    network.on_commit = cut

    told = await ledger.settle(hold, example_record("doubtful", cost=Nano(7)))

    await ledger.close()
    assert network.on_commit is None
    assert told is True
    assert late == []
    assert ledger.late_settlements == 0
    assert costs(postgres_url) == {"doubtful": 7}
    assert spent_and_held(postgres_url) == (7, 0)


@pytest.mark.parametrize("cut", CUTS)
async def test_a_repeated_charge_whose_commit_is_not_answered_is_still_told_to_be_a_repetition(
    network: Network, postgres_url: str, cut: Cut
) -> None:
    ledger = await open_ledger(network.url(postgres_url))
    key = EventKey("acme", "/batch", "1")
    record = example_record(key.record_id, cost=Nano(7))
    charge = Charge(key=key, record=record, accounts=(ROOMY,), booked_ns=1, booked_by="boss")
    assert await ledger.book(charge) is True
    network.on_commit = cut

    again, other = ledger.book(charge), ledger.settle(None, example_record("other", cost=Nano(1)))
    told = await asyncio.gather(again, other)

    await ledger.close()
    assert network.on_commit is None
    assert told == [False, True]
    assert costs(postgres_url) == {key.record_id: 7, "other": 1}
    assert spent_and_held(postgres_url) == (7, 0)


@pytest.mark.parametrize("cut", CUTS)
async def test_an_extension_whose_commit_is_not_answered_is_given_back_by_the_settlement(
    network: Network, postgres_url: str, cut: Cut
) -> None:
    ledger = await open_ledger(network.url(postgres_url))
    hold = await ledger.reserve(example_intent("a", HELD, ROOMY))
    network.on_commit = cut

    with pytest.raises(LedgerUnavailable):
        await ledger.extend(hold, Nano(500))

    await ledger.settle(hold, example_record("a", cost=Nano(7)))
    await ledger.close()
    assert spent_and_held(postgres_url) == (7, 0)


async def test_cuts_at_random_moments_under_load_neither_lose_nor_double_nor_invent_a_call(
    network: Network, postgres_url: str
) -> None:
    dice, late = random.Random(1), list[Record]()
    ledgers = [await open_ledger(network.url(postgres_url), on_late=late.append) for _ in range(2)]
    callers = [Callers(ledger, f"c{number}").start(20) for number, ledger in enumerate(ledgers)]

    for turn in range(30):
        await asyncio.sleep(dice.uniform(0, 0.05))
        if turn % 3:
            network.cut()
        else:
            network.on_commit = dice.choice(CUTS)
            await until(lambda: network.on_commit is None, wait_s=30)
    await asyncio.gather(*(one.stop() for one in callers))
    for ledger in ledgers:
        await ledger.close()

    assert sum(len(one.costs) for one in callers) > 50
    assert_the_books_are_right(postgres_url, *callers, late=late)


async def test_a_server_that_says_nothing_refuses_in_time_without_stopping_the_loop_and_is_left_for_a_new_connection(
    network: Network, postgres_url: str
) -> None:
    ledger = await open_ledger(network.url(postgres_url), deadline_s=0.2, lease_s=60)
    callers = Callers(ledger, "c").start(10)
    await until(lambda: len(callers.costs) > 20)
    network.silent = True
    await until(lambda: len(callers.refused) > 20, wait_s=30)
    settled_before = len(callers.costs)

    longest = await lag(0.5)
    network.silent = False
    await until(lambda: len(callers.costs) > settled_before + 20, wait_s=30)
    await callers.stop()
    await ledger.close()

    assert longest < 0.1
    assert_the_books_are_right(postgres_url, callers)


async def test_a_connection_that_stays_silent_is_given_up_for_a_new_one(network: Network, postgres_url: str) -> None:
    ledger = await open_ledger(network.url(postgres_url), deadline_s=0.2, lease_s=60)
    hold = await ledger.reserve(example_intent("a", HELD, ROOMY))
    network.swallow()

    with pytest.raises(LedgerUnavailable, match="slow to answer"):
        await ledger.settle(hold, example_record("a", cost=Nano(7)))
    await until(lambda: ledger.made_up == 1, wait_s=30)

    await ledger.close()
    assert costs(postgres_url) == {"a": 7}
    assert spent_and_held(postgres_url) == (7, 0)
