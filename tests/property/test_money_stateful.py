"""Two workers on one ledger against the ledger in memory: whatever the order in which calls are reserved,
extended, settled, left, charged from outside, expire, or lose their worker, both keep the same books, and for every
account settled + held + remaining is its limit."""

import asyncio
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import Any, Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from farthing.errors import BudgetExceeded, LedgerUnavailable, MoneyError
from farthing.hold import Account, Hold, Intent
from farthing.money import Nano, format_usd, nano_from_usd
from farthing.record import CacheOutcome, Outcome, Record
from farthing.value import changed
from ledger.charges import EXTERNAL, Charge, EventKey
from ledger.check import check
from ledger.groupcommit import GroupCommit
from ledger.rows import charged_as_lost
from ledger.testing import ManualClock, MemoryLedger, example_account, example_intent, example_record
from tests.ledgers import Engine

LIMITS: Final = (100, 150, 300)
WORKERS: Final = 2

workers = st.integers(0, WORKERS - 1)
amounts = st.integers(0, 120)
picks = st.sets(st.integers(0, len(LIMITS) - 1))
lifetimes = st.sampled_from((5, 50, 5_000))  # seconds
shares = st.sampled_from((0, 1, 50, 99, 100, 140))  # percent of the hold; providers may bill more than was held


class Money(RuleBasedStateMachine):
    """The rules; every one is done to the ledger and to the model, and must come out the same."""

    holds = Bundle("holds")

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.engine.empty()
        self.clock = ManualClock()
        self.model = MemoryLedger(self.clock)
        self.limits = list(LIMITS)
        self.owner: dict[str, int] = {}
        self.number = 0
        self.ledgers = [self.run(self.engine.open(self.clock)) for _ in range(WORKERS)]

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            for ledger in self.ledgers:
                self.run(ledger.close())
            found = check(self.engine.database).differences
            assert [str(difference) for difference in found if difference.figure != "spent"] == []
            self.runner.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of something asynchronous."""
        return self.runner.run(work)

    def account(self, number: int) -> Account:
        """An account at its present limit."""
        return example_account(f"b{number}|tenant=acme|day|d", limit=self.limits[number])

    def intent(self, amount: int, picks: set[int], seconds: int) -> Intent:
        """A new intent."""
        self.number += 1
        expires_ns = self.clock.wall_ns() + seconds * 10**9
        accounts = (self.account(pick) for pick in sorted(picks))
        return example_intent(f"c{self.number}", amount, *accounts, expires_ns=expires_ns)

    # --- rules ---------------------------------------------------------------------------------

    @rule(target=holds, worker=workers, amount=amounts, picks=picks, seconds=lifetimes)
    def reserve(self, worker: int, amount: int, picks: set[int], seconds: int) -> Any:
        return self._reserve(worker, [self.intent(amount, picks, seconds)])

    @rule(target=holds, worker=workers, wanted=st.lists(st.tuples(amounts, picks), min_size=2, max_size=12))
    def reserve_at_once(self, worker: int, wanted: list[tuple[int, set[int]]]) -> Any:
        """In one turn of the loop, so in one transaction."""
        return self._reserve(worker, [self.intent(amount, picks, 50) for amount, picks in wanted])

    def _reserve(self, worker: int, intents: list[Intent]) -> Any:
        async def real() -> list[Any]:
            asked = (self.ledgers[worker].reserve(intent) for intent in intents)
            return await asyncio.gather(*asked, return_exceptions=True)

        got = self.run(real())
        expected = [self._model_reserve(intent) for intent in intents]
        assert [_told(one) for one in got] == [_told(one) for one in expected]
        kept = [hold for hold in got if isinstance(hold, Hold)]
        for hold in kept:
            self.owner[hold.intent.id] = worker
            for account in hold.intent.accounts if hold.intent.amount else ():
                assert self.model.spent.get(account.id, 0) + self.model.held[account.id] <= account.limit
        return multiple(*kept)

    def _model_reserve(self, intent: Intent) -> Hold | BudgetExceeded:
        try:
            hold: Hold = self.run(self.model.reserve(intent))
        except BudgetExceeded as error:
            return error
        return hold

    @rule(worker=workers, amount=amounts, picks=picks, turns=st.integers(0, 3))
    def leave_while_reserving(self, worker: int, amount: int, picks: set[int], turns: int) -> None:
        """A client that leaves before it learns of its hold holds nothing, whenever it left."""
        intent = self.intent(amount, picks, 5_000)

        async def leaving() -> Any:
            asking = asyncio.ensure_future(self.ledgers[worker].reserve(intent))
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            with suppress(asyncio.CancelledError, BudgetExceeded):
                return await asking
            return None

        if isinstance(hold := self.run(leaving()), Hold):  # it had learnt of it: then it is settled at nothing
            self._settle(worker, hold, 0, times=1)
            return
        self.run(_all_done(self.ledgers[worker], Hold(intent=changed(intent, id="nobody"))))

    @rule(target=holds, hold=holds, worker=workers, amount=st.integers(1, 60))
    def extend(self, hold: Hold, worker: int, amount: int) -> Any:
        """A stream that needs more than it had set aside, by whichever worker, also when it is gone."""
        got = self.run(_outcome(self.ledgers[worker].extend(hold, Nano(amount))))
        expected = self.run(_outcome(self.model.extend(hold, Nano(amount))))
        assert _told(got) == _told(expected)
        return multiple(got) if isinstance(got, Hold) else multiple()

    @rule(worker=workers, cost=amounts, picks=picks, again=st.booleans(), times=st.integers(1, 3))
    def charge_from_outside(self, worker: int, cost: int, picks: set[int], again: bool, times: int) -> None:
        """The money is gone, so it is booked past any limit; the same event once."""
        self.number += not again
        key = EventKey("acme", "/batch", str(self.number))
        charge = Charge(
            key=key,
            record=example_record(key.record_id, endpoint=EXTERNAL, cost=Nano(cost)),
            accounts=tuple(self.account(pick) for pick in sorted(picks)),
            booked_ns=self.clock.wall_ns(),
            booked_by="k",
        )

        async def at(ledger: GroupCommit | MemoryLedger) -> list[bool]:
            return list(await asyncio.gather(*(ledger.book(charge) for _ in range(times))))

        assert self.run(at(self.ledgers[worker])) == self.run(at(self.model))

    @rule(hold=holds, worker=workers, share=shares, times=st.integers(1, 3))
    def settle(self, hold: Hold, worker: int, share: int, times: int) -> None:
        """By whichever worker, also when it is settled or charged already, also several times at once."""
        self._settle(worker, hold, share, times=times)

    @rule(hold=consumes(holds), worker=workers)
    def settle_and_forget(self, hold: Hold, worker: int) -> None:
        self._settle(worker, hold, 50, times=1)

    def _settle(self, worker: int, hold: Hold, share: int, *, times: int) -> None:
        record = example_record(hold.intent.id, cost=Nano(hold.intent.amount * share // 100))

        async def at(ledger: GroupCommit | MemoryLedger) -> list[bool]:
            return list(await asyncio.gather(*(ledger.settle(hold, record) for _ in range(times))))

        if hold.intent.id not in self.owner:  # it was left, and the model never heard of it
            self.model.holds[hold.intent.id] = hold.intent
            self.owner[hold.intent.id] = worker
            for account in hold.intent.accounts:
                self.model.held[account.id] = self.model.held.get(account.id, 0) + hold.intent.amount
        assert self.run(at(self.ledgers[worker])) == self.run(at(self.model))

    @rule(worker=workers, again=st.booleans())
    def hit(self, worker: int, again: bool) -> None:
        """A record without a hold; a second one of the same id changes nothing."""
        self.number += not again
        record = example_record(f"h{self.number}", outcome=Outcome.HIT, cache=CacheOutcome.EXACT)

        assert self.run(_settle(self.ledgers[worker], None, record)) == self.run(_settle(self.model, None, record))

    @rule(seconds=st.sampled_from((1, 20, 600)))
    def wait_and_recover(self, seconds: int) -> None:
        """Each worker charges at least what has expired of its own."""
        self.clock.advance(seconds)
        assert sum(self.run(ledger.recover()) for ledger in self.ledgers) == self.run(self.model.recover())

    @rule(worker=workers)
    def die_and_return(self, worker: int) -> None:
        """What the worker held is charged by whoever looks."""
        self.run(self.ledgers[worker].close())
        self.ledgers[worker] = self.run(self.engine.open(self.clock))
        self.engine.outlast_leases()
        for ledger in self.ledgers:
            self.run(ledger.recover())
        for intent in list(self.model.holds.values()):
            if self.owner[intent.id] == worker or intent.expires_ns <= self.clock.wall_ns():
                record = charged_as_lost(intent.draft, intent.amount)
                self.run(_settle(self.model, Hold(intent=intent), record))

    @rule(number=st.integers(0, len(LIMITS) - 1), limit=st.integers(0, 400))
    def change_a_limit(self, number: int, limit: int) -> None:
        """As a reload does: from the next call on."""
        self.limits[number] = limit

    # --- what always holds ---------------------------------------------------------------------

    @invariant()
    def the_books_are_the_models(self) -> None:
        if not hasattr(self, "ledgers"):
            return
        rows = self.engine.rows("SELECT id, cost, outcome FROM records ORDER BY rowid")
        assert len({row[0] for row in rows}) == len(rows)
        assert {row[0]: row[1:] for row in rows} == {
            id_: (record.cost, record.outcome.value) for id_, record in self.model.records.items()
        }
        assert {row[0] for row in self.engine.rows("SELECT id FROM holds")} == set(self.model.holds)
        for id_, spent, held in self.engine.rows("SELECT id, spent, held FROM accounts"):
            assert (spent, held) == (self.model.spent.get(id_, 0), self.model.held.get(id_, 0))

    @invariant()
    def settled_and_held_and_remaining_are_the_limit(self) -> None:
        if not hasattr(self, "ledgers"):
            return
        for number, limit in enumerate(self.limits):
            probe = self.account(number)
            mine = [intent for intent in self.model.holds.values() if probe.id in {a.id for a in intent.accounts}]
            refusal = self._refusal(example_intent("probe", 10**6, probe))
            spent, held = nano(refusal, "spent_usd"), nano(refusal, "reserved_usd")
            assert held == sum(intent.amount for intent in mine)
            room = limit - spent - held
            if room > 0:
                assert self._refusal(example_intent("probe", room + 1, probe)).budget == {
                    **refusal.budget,
                    "estimate_usd": format_usd(Nano(room + 1)),
                }

    def _refusal(self, intent: Intent) -> BudgetExceeded:
        """What the ledger says to a call that is too dear."""
        with pytest.raises(BudgetExceeded) as caught:
            self.run(self.ledgers[0].reserve(intent))
        return caught.value


async def _outcome(work: Awaitable[Hold]) -> Hold | MoneyError:
    try:
        return await work
    except MoneyError as error:
        return error


async def _settle(ledger: GroupCommit | MemoryLedger, hold: Hold | None, record: Record) -> bool:
    return await ledger.settle(hold, record)


async def _all_done(ledger: GroupCommit, nobody: Hold) -> None:
    """What was asked for is done in its order: the reservation, then, asked for at its end, its release."""
    for _ in range(2):
        with suppress(LedgerUnavailable):
            await ledger.extend(nobody, Nano(0))


def nano(refusal: BudgetExceeded, name: str) -> int:
    """A figure of a refusal in nano-dollars."""
    return nano_from_usd(str(refusal.budget[name]))


def _told(result: object) -> object:
    """What a caller is told: what remains of each account, or the figures of the refusal, or that it is gone."""
    if isinstance(result, Hold):
        return result.remaining, result.left
    return result.budget if isinstance(result, BudgetExceeded) else type(result)


def test_the_ledger_keeps_the_books_of_the_model(engine: Engine) -> None:
    run_state_machine_as_test(lambda: Money(engine), settings=engine.tries(25, stateful_step_count=30))
