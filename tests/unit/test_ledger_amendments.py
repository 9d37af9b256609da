"""Raises and runs: how they change accounts, and how processes learn of them."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from farthing.catalog import Budget, Window
from farthing.errors import LedgerUnavailable, RunClosed
from farthing.money import Nano
from farthing.tags import Tags
from farthing.value import changed
from ledger import notices, raises, runs, sqlite_file
from ledger.amendments import Raise, Run, RunState, SharedAmendments
from ledger.budgets import BudgetBook, accounts, run_account
from ledger.testing import ManualClock, example_intent, example_record
from tests.ledgers import Engine

TAGS = Tags(tenant="acme", key_id="key-1", feature="search", run="r1")
MONTH = Budget(id="month", limit=Nano(100), window=Window.MONTH, where=(("feature", "search"),))
RUNS = Budget(id="runs", limit=Nano(50), window=Window.RUN, per=("run",), max_run=Nano(500))
NOW_NS = 1_800_000_000 * 10**9
SECOND_NS = 10**9


class Amended:
    """Amendments in memory."""

    def __init__(self, *made: Raise, run: Run | None = None) -> None:
        self.version, self._raises, self._run = 1, made, run

    def raises(self) -> tuple[Raise, ...]:
        return self._raises

    def run(self, tenant: str, name: str) -> Run | None:
        run = self._run
        return run if run and (run.tenant, run.name) == (tenant, name) else None


def lift(amount: int = 30, *, id_: str = "x", budget: str = "month", scope: str = "", seconds: int = 60) -> Raise:
    return Raise(
        id=id_,
        budget=budget,
        scope=scope,
        amount=Nano(amount),
        made_ns=NOW_NS,
        until_ns=NOW_NS + seconds * SECOND_NS,
        ended_ns=None,
        author="boss",
        reason="launch",
    )


def limits(book: BudgetBook, now_ns: int = NOW_NS, tags: Tags = TAGS) -> dict[str, int]:
    return {account.id.rpartition("|")[0]: account.limit for account in book.accounts(tags, now_ns)}


# --- raises --------------------------------------------------------------------------------------


def test_a_raise_lifts_the_limit_until_its_last_moment_and_ends_by_itself() -> None:
    book = BudgetBook([MONTH], Amended(lift()))
    end = NOW_NS + 60 * SECOND_NS

    found = [book.accounts(TAGS, moment)[0].limit for moment in (NOW_NS, end - 1, end, end + SECOND_NS)]

    assert found == [130, 130, 100, 100]


def test_raises_add_up_and_each_ends_at_its_own_time() -> None:
    book = BudgetBook([MONTH], Amended(lift(10, seconds=10), lift(5, seconds=20), lift(1, budget="other")))

    found = [book.accounts(TAGS, NOW_NS + second * SECOND_NS)[0].limit for second in (0, 10, 20)]

    assert found == [115, 105, 100]


@pytest.mark.parametrize(("scope", "limit"), [("", 130), ("feature=search", 130), ("feature=mail", 100)])
def test_a_raise_with_a_scope_lifts_that_account_only(scope: str, limit: int) -> None:
    book = BudgetBook([MONTH], Amended(lift(scope=scope)))

    assert book.accounts(TAGS, NOW_NS)[0].limit == limit


def test_a_new_version_is_taken_up_at_the_next_call() -> None:
    amended = Amended()
    book = BudgetBook([MONTH], amended)
    before = book.accounts(TAGS, NOW_NS)[0].limit

    amended._raises, amended.version = (lift(),), 2

    assert (before, book.accounts(TAGS, NOW_NS)[0].limit) == (100, 130)


# --- runs ----------------------------------------------------------------------------------------


def test_two_tenants_that_use_one_run_name_have_an_account_each() -> None:
    (mine,) = accounts([RUNS], TAGS, NOW_NS)
    (theirs,) = accounts([RUNS], changed(TAGS, tenant="globex"), NOW_NS)

    assert (mine.id, theirs.id) == ("runs|tenant=acme,run=r1|run|", "runs|tenant=globex,run=r1|run|")


@pytest.mark.parametrize("per", [("tenant", "run"), ("run",)])
def test_the_tenant_is_named_once(per: tuple[str, ...]) -> None:
    (account,) = accounts([Budget(id="b", limit=Nano(1), window=Window.DAY, per=per)], TAGS, NOW_NS)

    assert account.scope == "tenant=acme,run=r1"


@pytest.mark.parametrize(("cap", "own", "default"), [(20, 20, 50), (50, 50, 50), (300, 300, 300), (900, 900, 500)])
def test_an_opened_run_has_its_cap_and_lifts_the_default_up_to_the_most(cap: int, own: int, default: int) -> None:
    book = BudgetBook([MONTH, RUNS], Amended(run=Run(tenant="acme", name="r1", cap=Nano(cap))))

    assert limits(book) == {
        "month|feature=search|month": 100,
        "runs|tenant=acme,run=r1|run": default,
        "opened run|tenant=acme,run=r1|run": own,
    }


def test_an_opened_run_binds_its_own_tenant_only() -> None:
    book = BudgetBook([RUNS], Amended(run=Run(tenant="acme", name="r1", cap=Nano(300))))

    assert limits(book, tags=changed(TAGS, tenant="globex")) == {"runs|tenant=globex,run=r1|run": 50}


def test_a_run_takes_no_calls_from_its_end_on() -> None:
    run = Run(tenant="acme", name="r1", cap=Nano(9), until_ns=NOW_NS + SECOND_NS)
    book = BudgetBook([RUNS], Amended(run=run))
    book.accounts(TAGS, NOW_NS + SECOND_NS - 1)

    with pytest.raises(RunClosed):
        book.accounts(TAGS, NOW_NS + SECOND_NS)

    assert book.accounts(changed(TAGS, run=""), NOW_NS + SECOND_NS) == ()


@pytest.mark.parametrize(
    ("refused", "left", "state"),
    [(None, 10, "open"), (None, 0, "paused"), (11, 10, "paused"), (10, 10, "open")],
)
def test_a_run_is_paused_while_the_refused_call_does_not_fit(refused: int | None, left: int, state: str) -> None:
    run = Run(tenant="acme", name="r", cap=Nano(100), refused=None if refused is None else Nano(refused))

    assert run.state_at(NOW_NS, Nano(left)) == RunState(state)


def test_a_budget_that_divides_runs_further_has_no_one_account_for_a_run() -> None:
    assert run_account(Budget(id="b", limit=Nano(1), window=Window.RUN, per=("run", "feature")), "acme", "r") is None
    other = Budget(id="b", limit=Nano(1), window=Window.RUN, per=("run",), where=(("tenant", "globex"),))
    assert run_account(other, "acme", "r") is None


# --- the tables ----------------------------------------------------------------------------------


@asynccontextmanager
async def amendments_of(engine: Engine, now_ns: int) -> AsyncIterator[SharedAmendments]:
    amendments = engine.amendments(ManualClock(now_ns))
    yield amendments
    await amendments.close()


async def test_another_process_sees_a_raise_and_its_end_at_its_next_look(engine: Engine) -> None:
    async with amendments_of(engine, NOW_NS) as other:
        first = await other.refresh(), await other.refresh(), other.raises()

        raises.add(engine.database, lift())
        made = await other.refresh(), [one.amount for one in other.raises()]
        ended = (
            raises.end(engine.database, "month", "x", now_ns=NOW_NS),
            raises.end(engine.database, "month", "x", now_ns=NOW_NS),
        )
        after = await other.refresh(), other.raises()

    assert first == (True, False, ())
    assert made == (True, [30])
    assert ended == (True, False)
    assert after == (True, ())
    assert [one.ended_ns for one in raises.of_budget(engine.database, "month")] == [NOW_NS]


def test_a_raise_that_is_over_cannot_be_ended_and_is_not_live(engine: Engine) -> None:
    raises.add(engine.database, lift(seconds=1))

    over_ns = NOW_NS + SECOND_NS

    assert not raises.end(engine.database, "month", "x", now_ns=over_ns)
    assert raises.live(engine.database, now_ns=over_ns - 1) and not raises.live(engine.database, now_ns=over_ns)


def test_the_first_who_asks_has_the_notice(engine: Engine) -> None:
    claims = [
        notices.claim(engine.database, "a", name, now_ns=1) for name in ("0.5 notify", "0.5 notify", "0.8 downgrade")
    ]

    assert claims == [True, False, True]


async def test_a_table_that_is_gone_is_an_unavailable_ledger(engine: Engine) -> None:
    async with amendments_of(engine, NOW_NS) as amendments:
        engine.change("DROP TABLE runs")

        with pytest.raises(LedgerUnavailable, match="does not answer"):
            await amendments.know("acme", "r1")
            amendments.run("acme", "r1")


async def test_a_runs_money_adds_up_over_raises_of_its_cap(engine: Engine) -> None:
    clock = ManualClock(NOW_NS)
    ledger = await engine.open(clock)
    amendments = engine.amendments(clock)
    book = BudgetBook([], amendments)

    await asyncio.to_thread(open_run, engine, 100)
    await amendments.refresh()
    await amendments.know("acme", "r1")
    hold = await ledger.reserve(example_intent("a", 80, *book.accounts(TAGS, NOW_NS)))
    await ledger.settle(hold, example_record("a", tags=TAGS, cost=Nano(60)))
    await asyncio.to_thread(open_run, engine, 200)
    await amendments.refresh()
    await amendments.know("acme", "r1")
    await ledger.reserve(example_intent("b", 140, *book.accounts(TAGS, NOW_NS)))
    found = runs.look_up(engine.database, [], tenant="acme", name="r1")
    await amendments.close()
    await ledger.close()

    assert found is not None
    assert (found.cap, found.spent, found.held, found.left) == (200, 60, 140, 0)
    assert found.state_at(NOW_NS) is RunState.PAUSED
    assert runs.look_up(engine.database, [], tenant="globex", name="r1") is None


def open_run(engine: Engine, cap: int) -> None:
    runs.open_(
        engine.database,
        tenant="acme",
        name="r1",
        cap=Nano(cap),
        feature="",
        author="key-1",
        until_ns=None,
        now_ns=NOW_NS,
    )


def test_a_run_that_was_closed_or_is_over_is_not_opened_again(engine: Engine) -> None:
    open_run(engine, 100)
    runs.close(engine.database, tenant="acme", name="r1", now_ns=NOW_NS)

    with pytest.raises(RunClosed):
        open_run(engine, 200)

    found = runs.look_up(engine.database, [], tenant="acme", name="r1")
    assert found is not None and found.cap == 100


def test_accounts_of_runs_go_on_under_their_tenant_after_an_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    sqlite_file.prepare(path)
    migration = (Path(sqlite_file.__file__).parent / "migrations" / "sqlite" / "0004_budgets.sql").read_text()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        columns = "id, budget, scope, budget_window, cap, spent"
        write = f"INSERT INTO accounts ({columns}) VALUES (?, 'runs', ?, 'run', 50, ?)"
        database.executemany(write, [("runs|run=r1|run|", "run=r1", 40), ("runs|run=both|run|", "run=both", 7)])
        names = [row[1] for row in database.execute("PRAGMA table_info(records)") if row[3]]
        values = ", ".join(f":{name}" for name in names)
        for tenant, run in (("acme", "r1"), ("acme", "both"), ("globex", "both")):
            row = dict.fromkeys(names, 0) | {"id": f"{tenant}-{run}", "tenant": tenant, "run": run}
            database.execute(f"INSERT INTO records ({', '.join(names)}) VALUES ({values})", row)

        database.execute(migration[migration.index("UPDATE accounts") :])
        found = dict(database.execute("SELECT id, spent FROM accounts"))

    assert found == {"runs|tenant=acme,run=r1|run|": 40, "runs|run=both|run|": 7}


async def test_a_run_stays_known_when_something_else_changes(engine: Engine) -> None:
    open_run(engine, 100)
    async with amendments_of(engine, NOW_NS) as amendments:
        await amendments.refresh()
        await amendments.know("acme", "r1")
        raises.add(engine.database, lift())

        await amendments.refresh()

        known = amendments.run("acme", "r1")
        assert known is not None and known.cap == 100


async def test_a_run_that_was_not_looked_for_is_not_taken_for_one_without_a_cap(
    engine_named: Callable[[str], Engine],
) -> None:
    async with amendments_of(engine_named("postgres"), NOW_NS) as amendments:
        with pytest.raises(LedgerUnavailable):
            amendments.run("acme", "r1")
