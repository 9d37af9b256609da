"""Who lives and who is dead among the gateways that share a PostgreSQL, and whose holds are charged."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed: scripts/install postgres")

from farthing.hold import Hold
from farthing.money import Nano
from farthing.record import Record
from ledger.check import check
from ledger.postgres import PostgresLedger
from ledger.postgres_database import PostgresDatabase
from ledger.testing import ManualClock, example_intent, example_record
from tests.faults.postgres_setup import HELD, ROOMY, Network, ask, costs, holds, open_ledger, spent_and_held
from tests.gateway import until

if TYPE_CHECKING:
    from tests.postgres import Server

ROOT = Path(__file__).parents[2]
LEASE_S = 1.0
PATIENT_S = 30.0

HOLD_AND_SETTLE_WHEN_TOLD = """
import asyncio, sys
from farthing.money import Nano
from ledger.postgres import PostgresLedger
from ledger.postgres_database import PostgresDatabase
from ledger.testing import ManualClock, example_account, example_intent, example_record

async def main():
    ledger = await PostgresLedger.open(PostgresDatabase(sys.argv[1]), ManualClock(), lease_s=float(sys.argv[2]))
    account = example_account("day|all|day|2027-01-15", limit=10**15)
    hold = await ledger.reserve(example_intent("theirs", 1_000, account))
    print("held", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    wrote = await ledger.settle(hold, example_record("theirs", cost=Nano(7)))
    again = await ledger.reserve(example_intent("theirs-again", 1_000, account))
    print(wrote, ledger.late_settlements, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(await ledger.settle(again, example_record("theirs-again", cost=Nano(5))), flush=True)
    await ledger.close()

asyncio.run(main())
"""


class Neighbour:
    """A gateway's ledger in a process of its own, which holds 1,000 for the call `theirs`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    async def says(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.to_thread(self.process.stdout.readline)).strip()

    async def goes_on(self) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write("go on\n")
        self.process.stdin.flush()
        return await self.says()


@contextmanager
def spawned(url: str) -> Iterator[Neighbour]:
    arguments = [sys.executable, "-c", HOLD_AND_SETTLE_WHEN_TOLD, url, str(LEASE_S)]
    with subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Neighbour(process)
        finally:
            process.kill()


@asynccontextmanager
async def neighbour(url: str) -> AsyncIterator[Neighbour]:
    with spawned(url) as found:
        assert await found.says() == "held"
        yield found


async def recovered(ledger: PostgresLedger) -> int:
    """What is charged once somebody is known to be dead."""
    await until(lambda: ledger.recovery_is_due, wait_s=PATIENT_S)
    return await ledger.recover()


async def hold(ledger: PostgresLedger, id_: str) -> Hold:
    return await ledger.reserve(example_intent(id_, HELD, ROOMY))


async def test_the_holds_of_a_killed_process_are_charged_by_another_and_those_of_the_living_are_not(
    postgres_url: str,
) -> None:
    late = list[Record]()
    living = await open_ledger(postgres_url, lease_s=LEASE_S, on_late=late.append)
    ours = await hold(living, "ours")
    async with neighbour(postgres_url) as killed:
        killed.process.kill()

        found = await recovered(living)

    assert found == 1
    assert [(record.id, record.cost) for record in late] == [("theirs", HELD)]
    assert costs(postgres_url) == {"theirs": HELD}
    assert spent_and_held(postgres_url) == (HELD, HELD)
    assert await living.settle(ours, example_record("ours", cost=Nano(7))) is True
    await living.close()
    assert spent_and_held(postgres_url) == (HELD + 7, 0)
    assert ask(postgres_url, "SELECT name FROM instances") == []


async def test_a_process_that_stood_still_for_longer_than_a_lease_is_charged_once_and_may_go_on(
    postgres_url: str,
) -> None:
    living = await open_ledger(postgres_url, lease_s=LEASE_S)
    async with neighbour(postgres_url) as stopped:
        stopped.process.send_signal(signal.SIGSTOP)
        assert await recovered(living) == 1
        stopped.process.send_signal(signal.SIGCONT)

        said = await stopped.goes_on()

        assert said == "False 1"  # its settlement came too late
        await asyncio.sleep(0.05)
        assert await living.recover() == 0  # it holds again, and lives
        assert costs(postgres_url) == {"theirs": HELD}
        assert await stopped.goes_on() == "True"
        stopped.process.wait(PATIENT_S)
    await living.close()
    assert costs(postgres_url) == {"theirs": HELD, "theirs-again": 5}
    assert spent_and_held(postgres_url) == (HELD + 5, 0)
    assert check(PostgresDatabase(postgres_url)).differences == ()


async def stopped_for_two_leases(server: "Server") -> None:
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(2 * LEASE_S)
    await asyncio.to_thread(server.start)


async def frozen_for_two_leases(server: "Server") -> None:
    from tests.postgres import processes

    pids = (server.pid, *processes(server.pid))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(2 * LEASE_S)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("disaster", [stopped_for_two_leases, frozen_for_two_leases])
async def test_after_an_outage_longer_than_a_lease_nobody_who_lives_is_taken_for_dead(
    own_postgres: "Server", disaster: object
) -> None:
    assert callable(disaster)
    url = own_postgres.fresh_database()
    ledgers = [await open_ledger(url, lease_s=LEASE_S, deadline_s=0.5) for _ in range(3)]
    held = [await hold(ledger, f"ours-{number}") for number, ledger in enumerate(ledgers)]
    await asyncio.sleep(1.2 * LEASE_S)  # so that all of them may judge

    await disaster(own_postgres)

    for _ in range(20):  # all come back within two leases
        found = [await ledger.recover() for ledger in ledgers]
        assert found == [0, 0, 0]
        await asyncio.sleep(LEASE_S / 10)
    for number, ledger in enumerate(ledgers):
        assert await ledger.settle(held[number], example_record(f"ours-{number}", cost=Nano(7))) is True
        await ledger.close()
    assert spent_and_held(url) == (21, 0)


async def test_a_machine_whose_clock_is_minutes_ahead_charges_no_hold_of_another_before_its_time(
    postgres_url: str,
) -> None:
    here, there = ManualClock(), ManualClock()
    there.advance(600)
    ours = await open_ledger(postgres_url, clock=here)
    theirs = await open_ledger(postgres_url, clock=there)
    in_a_minute = here.wall_ns() + 60 * 10**9
    await ours.reserve(example_intent("a", HELD, ROOMY, expires_ns=in_a_minute))

    early = await theirs.recover()
    here.advance(61)
    in_time = await ours.recover()

    await ours.close()
    await theirs.close()
    assert (early, in_time) == (0, 1)
    assert costs(postgres_url) == {"a": HELD}


async def test_a_process_that_stands_still_in_the_middle_of_a_transaction_does_not_keep_others_waiting_for_long(
    postgres: "Server", postgres_url: str
) -> None:
    going_on = asyncio.Event()

    async def stand_still(client: asyncio.StreamWriter, server: asyncio.StreamWriter, data: bytes) -> None:
        del client, server, data
        await going_on.wait()

    async with Network(postgres.port).open() as network:
        still = await open_ledger(network.url(postgres_url), deadline_s=0.5)
        other = await open_ledger(postgres_url, deadline_s=20)
        warm = await hold(still, "warm")
        network.on_commit = stand_still
        stuck = asyncio.ensure_future(still.settle(warm, example_record("warm", cost=Nano(7))))
        await until(lambda: network.on_commit is None)

        held = await asyncio.wait_for(hold(other, "b"), PATIENT_S)

        going_on.set()
        await asyncio.gather(stuck, return_exceptions=True)
        await until(lambda: costs(postgres_url) == {"warm": 7}, wait_s=PATIENT_S)
        await other.settle(held, example_record("b", cost=Nano(5)))
        await still.close()
        await other.close()
    assert holds(postgres_url) == 0
    assert spent_and_held(postgres_url) == (12, 0)
