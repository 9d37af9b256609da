"""Raises and runs under any interleaving of two workers: no cap is passed, and no call is refused that fits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from farthing.call import CacheControl, Endpoint
from farthing.catalog import Budget, Window
from farthing.errors import BudgetExceeded
from farthing.money import Nano
from farthing.record import Outcome
from farthing.tags import Tags
from gateway.books import Books, Page
from gateway.budgetdesk import BudgetDesk
from gateway.request import Request
from gateway.tasks import Background
from ledger import raises, reports, runs
from ledger.amendments import Raise
from ledger.budgets import BudgetBook
from ledger.groupcommit import GroupCommit
from ledger.testing import ManualClock
from tests.ledgers import Engine

LIMIT = 1000
BUDGETS = [Budget(id="month", limit=Nano(LIMIT), window=Window.MONTH)]
TAGS = Tags(tenant="acme", key_id="k", feature="f", run="r1")
WORKER = st.integers(0, 1)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), WORKER, st.integers(1, 700)),
        st.tuples(st.just("settle"), WORKER, st.integers(0, 100)),
        st.tuples(st.just("raise"), WORKER, st.integers(1, 800)),
        st.tuples(st.just("cap"), WORKER, st.integers(1, 1500)),
        st.tuples(st.just("look"), WORKER, st.just(0)),
    ),
    max_size=25,
)


@dataclass
class Worker:
    """The books and the desk of one worker, and its calls under way."""

    books: Books
    desk: BudgetDesk
    ledger: GroupCommit
    background: Background
    open: list[tuple[Page, int]]

    async def call(self, number: int, amount: int) -> bool:
        """Whether a call of that worst case is let through."""
        page = self.books.open(_request(number))
        page.tags = TAGS
        try:
            await page.reserve(Nano(amount), 1.0)
        except BudgetExceeded:
            await page.close(Outcome.REFUSED, 402)
            return False
        self.open.append((page, amount))
        return True

    async def settle(self, share: int) -> int:
        """Finish the oldest call at a share of its worst case; the cost."""
        page, amount = self.open.pop(0)
        page.cost = Nano(amount * share // 100)
        await page.close(Outcome.SUCCESS, 200)
        return page.cost


def _request(number: int) -> Request:
    return Request(
        id=f"req-{number:04d}",
        endpoint=Endpoint.CHAT,
        body=b"{}",
        received_ns=ManualClock().wall_ns(),
        started=0.0,
        cache_control=CacheControl(),
    )


@asynccontextmanager
async def worker(engine: Engine, clock: ManualClock) -> AsyncIterator[Worker]:
    ledger, background = await engine.open(clock), Background()
    books: list[BudgetBook] = []
    amendments = engine.amendments(clock)
    desk = BudgetDesk(engine.database, amendments, background, book=lambda: books[0], tell=lambda *_: None)
    await desk.take_up()
    books.append(BudgetBook(BUDGETS, desk.amendments))
    hooks: dict[str, Any] = {"know": desk.know, "on_hold": desk.on_hold, "on_refusal": desk.on_refusal}
    yield Worker(Books(ledger, clock, desk.accounts, (), **hooks), desk, ledger, background, [])
    await background.settle()
    await amendments.close()
    await ledger.close()


def test_no_cap_is_passed_and_no_call_is_refused_that_fits(engine: Engine) -> None:
    @engine.tries(25)
    @given(events=EVENTS)
    def law(events: list[tuple[str, int, int]]) -> None:
        engine.empty()
        asyncio.run(_play(engine, events))

    law()


async def _play(engine: Engine, events: list[tuple[str, int, int]]) -> None:
    clock, limit, cap, spent, held = ManualClock(), LIMIT, 0, 0, 0
    async with worker(engine, clock) as one, worker(engine, clock) as other:
        workers = (one, other)
        for number, (kind, index, value) in enumerate(events):
            at = workers[index]
            if kind == "call":
                fits = spent + held + value <= min(limit, cap or limit)
                assert await at.call(number, value) is fits
                held += value if fits else 0
            elif kind == "settle" and at.open:
                held -= at.open[0][1]
                spent += await at.settle(value)
            elif kind == "raise":
                await asyncio.to_thread(raises.add, engine.database, _raise(number, value))
                limit += value
            elif kind == "cap" and not held:
                # A call under way when its run is opened is not in the run's sum.
                new = max(value, cap, spent + 1)  # caps go up: going down takes up to a second elsewhere
                await asyncio.to_thread(_open, engine, new, clock.wall_ns())
                await at.desk.take_up()
                if not cap:
                    await workers[1 - index].desk.take_up()  # a run that is known takes up to a second too
                cap = new
            elif kind == "look":
                await at.desk.look()
        states = {state.account.budget: state for state in reports.budget_states(engine.database, now_ns=0)}
        for budget, most in (("month", limit), ("opened run", cap)):
            if budget in states:
                assert (states[budget].spent, states[budget].held) == (spent, held)
                assert spent + held <= most


def _raise(number: int, amount: int) -> Raise:
    return Raise(
        id=f"raise-{number}",
        budget="month",
        scope="",
        amount=Nano(amount),
        made_ns=0,
        until_ns=2**62,
        ended_ns=None,
        author="boss",
        reason="any",
    )


def _open(engine: Engine, cap: int, now_ns: int) -> None:
    runs.open_(
        engine.database, tenant="acme", name="r1", cap=Nano(cap), feature="", author="k", until_ns=None, now_ns=now_ns
    )
