"""The ledger on PostgreSQL when many want the same rows at once, when others lock them, when the disk is full, and when
values are not what they should be."""

import asyncio
import os
import random
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed: scripts/install postgres")

import psycopg

from farthing.errors import BudgetExceeded, LedgerUnavailable
from farthing.hold import Hold
from farthing.money import Nano
from farthing.record import Attempt, Record
from farthing.tags import Tags
from farthing.value import changed
from ledger import reports
from ledger.charges import Charge, EventKey
from ledger.check import check
from ledger.postgres_database import ALONE, PostgresDatabase
from ledger.testing import example_account, example_intent, example_record
from tests.faults.postgres_setup import (
    HELD,
    ROOMY,
    Callers,
    ask,
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

DEADLINE_S = 0.3
PATIENT_S = 30.0


# --- locks of others -----------------------------------------------------------------------------


@contextmanager
def another_session(url: str, statement: str) -> Iterator[None]:
    """Somebody else's transaction, in which this statement was run."""
    with closing(psycopg.connect(url)) as connection:
        connection.execute("SET search_path TO farthing")
        connection.execute(statement.encode())
        yield


LOCKS = {
    "all accounts": "LOCK TABLE accounts",
    "one account": f"UPDATE accounts SET held = held WHERE id = '{ROOMY.id}'",
    "the whole ledger, as a repair does": f"SELECT pg_advisory_xact_lock({ALONE})",
    "the sums": "LOCK TABLE rollup_hours",
}


@pytest.mark.parametrize("what", LOCKS)
async def test_whoever_locks_something_delays_callers_until_their_deadline_and_never_the_loop(
    postgres_url: str, what: str
) -> None:
    ledger = await open_ledger(postgres_url, deadline_s=DEADLINE_S, lease_s=1.5)
    callers = Callers(ledger, "c").start(10)
    await until(lambda: len(callers.costs) > 20, wait_s=PATIENT_S)

    with another_session(postgres_url, LOCKS[what]):
        longest = await lag(3 * DEADLINE_S)
        waited_in_vain = len(callers.refused) + callers.unsettled
    before = len(callers.costs)
    await until(lambda: len(callers.costs) > before + 20, wait_s=PATIENT_S)
    await callers.stop()
    await ledger.close()

    assert longest < 0.1
    assert waited_in_vain >= 10
    assert_the_books_are_right(postgres_url, callers)


# --- crowds --------------------------------------------------------------------------------------


async def test_a_process_that_cannot_say_that_it_lives_goes_on_and_nobody_is_taken_for_dead(postgres_url: str) -> None:
    ledgers = [await open_ledger(postgres_url, deadline_s=DEADLINE_S, lease_s=1.0) for _ in range(2)]
    callers = [Callers(ledger, f"c{number}").start(5) for number, ledger in enumerate(ledgers)]
    await asyncio.sleep(1.2)

    with another_session(postgres_url, "LOCK TABLE instances"):
        longest = await lag(1.5)
        before = [len(one.costs) for one in callers]
    for _ in range(10):
        assert [await ledger.recover() for ledger in ledgers] == [0, 0]
        await asyncio.sleep(0.02)
    await until(lambda: all(len(one.costs) > count + 20 for one, count in zip(callers, before, strict=True)))
    for one in callers:
        await one.stop()
        await one.ledger.close()

    assert longest < 0.1
    assert_the_books_are_right(postgres_url, *callers)


async def test_hundreds_of_callers_over_four_ledgers_and_overlapping_scopes_never_pass_a_cap(postgres_url: str) -> None:
    names = [f"budget-{number}|all|day|2027-01-15" for number in range(6)]
    scopes = [example_account(name, limit=60_000 + 5_000 * number) for number, name in enumerate(names)]
    ledgers = [await open_ledger(postgres_url, deadline_s=20) for _ in range(4)]
    dice, spent = random.Random(7), dict.fromkeys(names, 0)

    async def call(number: int) -> bool:
        accounts = tuple(dice.sample(scopes, dice.randint(1, 4)))  # in any order
        cost, ledger = Nano(dice.randint(500, 1_500)), ledgers[number % 4]
        await asyncio.sleep(dice.random() / 10)
        try:
            hold = await ledger.reserve(example_intent(f"call-{number}", HELD, *accounts))
        except BudgetExceeded:
            return False
        with suppress(BudgetExceeded):
            hold = await ledger.extend(hold, Nano(500))
        cost = min(cost, hold.intent.amount)
        assert await ledger.settle(hold, example_record(f"call-{number}", cost=cost)) is True
        for account in accounts:
            spent[account.id] += cost
        return True

    async def look(stop: asyncio.Event) -> int:
        found = 0
        while not stop.is_set():
            rows = await asyncio.to_thread(ask, postgres_url, "SELECT id FROM accounts WHERE spent + held > cap")
            found += len(rows)
        return found

    stop = asyncio.Event()
    looking = asyncio.ensure_future(look(stop))
    served = await asyncio.gather(*(call(number) for number in range(600)))
    stop.set()
    for ledger in ledgers:
        await ledger.close()

    assert await looking == 0
    assert 100 < sum(served) < 600
    assert dict(ask(postgres_url, "SELECT id, spent FROM accounts")) == spent
    assert all(spent[scope.id] <= scope.limit for scope in scopes)
    assert holds(postgres_url) == 0
    assert max(spent[scope.id] / scope.limit for scope in scopes) > 0.5  # how near depends on who meets whom
    assert check(PostgresDatabase(postgres_url)).differences == ()


def charge_of(number: int) -> Charge:
    key = EventKey("acme", "/batch", str(number))
    record = example_record(key.record_id, cost=Nano(10), price_version="v1", endpoint="external")
    return Charge(key=key, record=record, accounts=(ROOMY,), booked_ns=7, booked_by="boss")


async def test_an_event_that_all_ledgers_book_at_once_is_on_the_books_once(postgres_url: str) -> None:
    ledgers = [await open_ledger(postgres_url, deadline_s=20) for _ in range(4)]
    charges, dice = [charge_of(number) for number in range(60)], random.Random(3)

    async def book_all(number: int) -> int:
        shuffled = dice.sample(charges, len(charges))
        return sum(await asyncio.gather(*(ledgers[number].book(charge) for charge in shuffled)))

    fresh = await asyncio.gather(*(book_all(number) for number in range(4)))

    for ledger in ledgers:
        await ledger.close()
    assert sum(fresh) == 60
    assert spent_and_held(postgres_url) == (600, 0)
    assert len(costs(postgres_url)) == 60
    assert ask(postgres_url, "SELECT count(*) FROM charges") == [(60,)]
    assert check(PostgresDatabase(postgres_url)).differences == ()


async def test_a_record_id_that_two_ledgers_settle_at_once_is_on_the_books_once(postgres_url: str) -> None:
    ledgers = [await open_ledger(postgres_url, deadline_s=20) for _ in range(2)]
    held = [await ledger.reserve(example_intent(f"hold-{n}", HELD, ROOMY)) for n, ledger in enumerate(ledgers)]

    told = await asyncio.gather(
        *(ledger.settle(held[n], example_record("same", cost=Nano(5 + n))) for n, ledger in enumerate(ledgers))
    )

    for ledger in ledgers:
        await ledger.close()
    assert sorted(told) == [False, True]
    assert costs(postgres_url) == {"same": 5 + told.index(True)}
    assert spent_and_held(postgres_url) == (5 + told.index(True), 0)
    assert check(PostgresDatabase(postgres_url)).differences == ()


# --- values that are not what they should be -------------------------------------------------------

HOSTILE = (
    "nul \0 between, \0\0 two, and at the end \0",
    "what looks like one: \\u0000 \\\\u0000 \\\0",
    "'; DROP TABLE records; -- %s %(id)s {columns} :name ? $1",
    '"\\/\b\f\n\r\t\u2028\u202e\ufffe\ufeff\U0001f9ee',
    '{"\\u0000": "\\ud800"}',
)
TEXTS = (
    *("model_requested", "model_served", "provider", "deployment", "tier", "reference_tier", "policy", "route_reason"),
    *("task_source", "rates", "price_version", "error_code", "finish_reason", "service_tier", "refused_by"),
)


def hostile_record(id_: str, text: str) -> Record:
    tags = Tags(**dict.fromkeys(("tenant", "key_id", "feature", "task", "run", "environment", "team"), text))
    attempts = (Attempt(deployment=text, status=500, error=text, seconds=0.1),)
    return example_record(id_, cost=Nano(7), tags=tags, attempts=attempts, **dict.fromkeys(TEXTS, text))


def readable(record: Record) -> Record:
    """The same without U+0000, but where it is escaped."""
    tags = {name: value.replace("\0", "\ufffd") for name, value in zip(TAGS, tags_of(record), strict=True)}
    return changed(
        record,
        tags=Tags(**tags),
        **{name: getattr(record, name).replace("\0", "\ufffd") for name in TEXTS},
    )


TAGS = ("tenant", "key_id", "feature", "task", "run", "environment", "team")


def tags_of(record: Record) -> list[str]:
    return [getattr(record.tags, name) for name in TAGS]


@pytest.mark.parametrize("text", HOSTILE)
async def test_any_text_in_any_field_is_written_and_reads_as_it_was_but_for_nul(postgres_url: str, text: str) -> None:
    ledger, database = await open_ledger(postgres_url), PostgresDatabase(postgres_url)
    settled, lost = hostile_record("settled", text), hostile_record("lost", text)
    hold = await ledger.reserve(changed(example_intent("settled", HELD, ROOMY), draft=settled))
    await ledger.reserve(changed(example_intent("lost", HELD, ROOMY, expires_ns=0), draft=lost))

    await ledger.settle(hold, settled)
    await ledger.recover()

    await ledger.close()
    assert reports.record(database, "settled") == readable(settled)
    found = reports.record(database, "lost")
    assert found is not None
    assert tags_of(found) == tags_of(readable(lost))
    assert reports.totals(database, since_ns=0, until_ns=2**62).requests == 2
    assert check(database).differences == ()


async def test_a_value_that_no_column_takes_fails_alone(postgres_url: str) -> None:
    ledger = await open_ledger(postgres_url)
    hold = await ledger.reserve(example_intent("a", HELD, ROOMY))
    bad = (
        example_record("too-large", cost=Nano(2**63)),
        example_record("far-too-large", cost=Nano(2**70)),
        example_record("no-number", seconds=float("nan")),
        example_record("surrogate", error_code="\ud800"),
        example_record("no-cost", cost="5 cents"),
        example_record("too-late", received_ns=2**63),
    )
    good = [example_record(f"good-{number}", cost=Nano(1)) for number in range(3)]

    told = await asyncio.gather(
        *(ledger.settle(None, record) for record in (good[0], *bad, *good[1:])),
        ledger.settle(hold, example_record("a", cost=Nano(7))),
        return_exceptions=True,
    )

    await ledger.close()
    assert [one is True for one in told] == [True, *[False] * len(bad), True, True, True]
    assert costs(postgres_url) == {"good-0": 1, "good-1": 1, "good-2": 1, "a": 7}
    assert spent_and_held(postgres_url) == (7, 0)
    assert check(PostgresDatabase(postgres_url)).differences == ()


async def test_a_second_hold_of_one_id_fails_alone(postgres_url: str) -> None:
    ledger = await open_ledger(postgres_url)
    await ledger.reserve(example_intent("same", HELD, ROOMY))

    told = await asyncio.gather(
        *(ledger.reserve(example_intent(id_, HELD, ROOMY)) for id_ in ("a", "same", "b")), return_exceptions=True
    )

    await ledger.close()
    assert [isinstance(one, Hold) for one in told] == [True, False, True]
    assert isinstance(told[1], LedgerUnavailable)
    assert spent_and_held(postgres_url) == (0, 3 * HELD)


# --- the disk is full ----------------------------------------------------------------------------


needs_prlimit = pytest.mark.skipif(shutil.which("prlimit") is None, reason="prlimit is not installed")


def limit_files(server: "Server", most: int | str) -> None:
    """No file of the server grows beyond so many bytes: what it does then is what it does on a full disk."""
    from tests.postgres import processes

    owner = server.folder.stat()  # who alone may do it, where root is not allowed everything
    identity: dict[str, Any] = {} if os.geteuid() else {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    for pid in (server.pid, *processes(server.pid)):
        subprocess.run(["prlimit", f"--pid={pid}", f"--fsize={most}:"], check=False, cwd="/", **identity)


SLOWLY = """
    CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(0.02); RETURN new; END$$;
    CREATE TRIGGER slowly BEFORE INSERT ON records FOR EACH ROW EXECUTE FUNCTION slowly();
"""


async def test_what_is_owed_is_written_in_portions_where_a_server_is_too_slow_for_all_of_it(postgres_url: str) -> None:
    ledger = await open_ledger(postgres_url, deadline_s=DEADLINE_S)
    held = [await ledger.reserve(example_intent(f"answered-{n}", HELD, ROOMY)) for n in range(40)]
    with closing(psycopg.connect(postgres_url, autocommit=True)) as connection:
        connection.execute("SET search_path TO farthing")
        connection.execute(SLOWLY.encode())  # all at once take 0.8 s

    settled = [ledger.settle(hold, example_record(hold.intent.id, cost=Nano(7))) for hold in held]
    told = await asyncio.gather(*settled, return_exceptions=True)
    unsettled = sum(one is not True for one in told)
    await until(lambda: ledger.made_up == unsettled, wait_s=PATIENT_S)
    await ledger.close()

    assert unsettled > 0
    assert costs(postgres_url) == {hold.intent.id: 7 for hold in held}


def bulky(id_: str) -> Record:
    """Half a megabyte that cannot be compressed."""
    return example_record(id_, cost=Nano(7), route_reason=secrets.token_hex(250_000))


@needs_prlimit
async def test_a_full_disk_holds_nothing_without_writing_it_and_what_is_owed_is_written_when_there_is_room(
    own_postgres: "Server",
) -> None:
    url, late = own_postgres.fresh_database(), list[Record]()
    ledger = await open_ledger(url, on_late=late.append, deadline_s=1.0)
    held = [await ledger.reserve(example_intent(f"answered-{n}", HELD, ROOMY)) for n in range(60)]
    limit_files(own_postgres, 16 * 2**20)  # the size of a segment of the log, which is written on

    told = await asyncio.gather(*(ledger.settle(hold, bulky(hold.intent.id)) for hold in held), return_exceptions=True)
    refused = await asyncio.gather(
        *(ledger.reserve(changed(example_intent(f"new-{n}", HELD, ROOMY), draft=bulky(f"new-{n}"))) for n in range(40)),
        return_exceptions=True,
    )
    limit_files(own_postgres, "unlimited")
    unsettled = sum(one is not True for one in told)
    await until(lambda: ledger.made_up == unsettled, wait_s=PATIENT_S)
    await ledger.close()

    assert unsettled > 0
    kept = {f"new-{n}" for n, one in enumerate(refused) if isinstance(one, Hold)}
    assert len(kept) < 40
    assert costs(url) == {hold.intent.id: 7 for hold in held}
    assert {row[0] for row in ask(url, "SELECT id FROM holds")} == kept
    assert spent_and_held(url) == (60 * 7, len(kept) * HELD)
    assert check(PostgresDatabase(url)).differences == ()


@needs_prlimit
async def test_a_disk_too_full_for_the_servers_log_ends_the_server_and_loses_nothing(own_postgres: "Server") -> None:
    url, late = own_postgres.fresh_database(), list[Record]()
    ledger = await open_ledger(url, on_late=late.append, deadline_s=1.0)
    callers = Callers(ledger, "c").start(10)
    await until(lambda: len(callers.costs) > 50, wait_s=PATIENT_S)
    limit_files(own_postgres, 2**16)

    await until(lambda: len(callers.refused) > 20, wait_s=PATIENT_S)
    limit_files(own_postgres, "unlimited")
    await asyncio.to_thread(own_postgres.restart)
    before = len(callers.costs)
    await until(lambda: len(callers.costs) > before + 20, wait_s=PATIENT_S)
    await callers.stop()
    await ledger.close()

    assert_the_books_are_right(url, callers, late=late)
