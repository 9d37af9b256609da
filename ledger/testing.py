"""MemoryLedger: the port Ledger in a dictionary, with example values, for the tests of those who use a ledger."""

import asyncio
from collections.abc import Sequence
from typing import Any

from farthing.errors import BudgetExceeded, LedgerUnavailable
from farthing.hold import Account, Hold, Intent
from farthing.money import Nano
from farthing.ports import Clock
from farthing.record import Outcome, Record
from farthing.tags import Tags
from farthing.value import changed
from ledger.charges import Charge
from ledger.rows import charged_as_lost


class MemoryLedger:
    """Passes the same contract suite as SQLiteLedger. `records`, `spent` and `held` may be read by tests; setting
    `broken` makes every call raise LedgerUnavailable, as a full disk would."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.records: dict[str, Record] = {}
        self.holds: dict[str, Intent] = {}
        self.spent: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.broken = self.closed = False
        self.recovered = self.overages = self.late_settlements = 0

    async def reserve(self, intent: Intent) -> Hold:
        """See the port."""
        self._check()
        left = self._set_aside(intent.accounts, intent.amount)
        self.holds[intent.id] = intent
        return Hold(intent=intent, remaining=min(left) if left else None, left=tuple(left))

    async def extend(self, hold: Hold, amount: Nano) -> Hold:
        """See the port."""
        self._check()
        open_ = self.holds.get(hold.intent.id)
        if open_ is None:
            raise LedgerUnavailable
        left = self._set_aside(hold.intent.accounts, amount)
        grown = self.holds[open_.id] = changed(open_, amount=Nano(open_.amount + amount))
        return Hold(
            intent=changed(grown, accounts=hold.intent.accounts),
            remaining=min(left) if left else None,
            left=tuple(left),
        )

    def settle(self, hold: Hold | None, record: Record) -> "asyncio.Future[bool]":
        """See the port."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        try:
            self._check()
        except LedgerUnavailable as error:
            future.set_exception(error)
            return future
        future.set_result(self._settle(hold, record))
        return future

    def book(self, charge: Charge) -> "asyncio.Future[bool]":
        """See SQLiteLedger."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        try:
            self._check()
        except LedgerUnavailable as error:
            future.set_exception(error)
            return future
        fresh = self._settle(None, charge.record)
        if fresh:
            for account in charge.accounts:
                self.spent[account.id] = self.spent.get(account.id, 0) + charge.record.cost
        future.set_result(fresh)
        return future

    async def recover(self) -> int:
        """Charge the holds that have expired; returns how many."""
        now_ns = self._clock.wall_ns()
        expired = [intent for intent in self.holds.values() if intent.expires_ns <= now_ns]
        for intent in expired:
            self._settle(Hold(intent=intent), charged_as_lost(intent.draft, intent.amount))
        self.recovered += len(expired)
        return len(expired)

    async def close(self) -> None:
        """See the port."""
        self.closed = True

    def _check(self) -> None:
        if self.broken or self.closed:
            raise LedgerUnavailable

    def _set_aside(self, accounts: Sequence[Account], amount: Nano) -> list[Nano]:
        left = [self._room(account) for account in accounts]
        for account, room in zip(accounts, left, strict=True):
            if amount > max(room, 0):
                raise self._refusal(account, amount)
        for account in accounts:
            self.held[account.id] = self.held.get(account.id, 0) + amount
        return [Nano(room - amount) for room in left]

    def _room(self, account: Account) -> int:
        return account.limit - self.spent.get(account.id, 0) - self.held.get(account.id, 0)

    def _refusal(self, account: Account, needed: Nano) -> BudgetExceeded:
        return BudgetExceeded(
            budget=account.budget,
            scope=account.scope,
            window=account.window,
            limit=account.limit,
            spent=Nano(self.spent.get(account.id, 0)),
            held=Nano(self.held.get(account.id, 0)),
            needed=needed,
            resets_at=account.resets_at,
        )

    def _settle(self, hold: Hold | None, record: Record) -> bool:
        if hold and hold.intent.id not in self.holds:
            self.late_settlements += 1
            return False
        fresh = record.id not in self.records
        cost = record.cost if fresh else 0
        self.records.setdefault(record.id, record)
        if hold:
            self._replace(self.holds.pop(hold.intent.id), cost)
        return fresh

    def _replace(self, intent: Intent, cost: int) -> None:
        self.overages += cost > intent.amount
        for account in intent.accounts:
            self.held[account.id] -= intent.amount
            self.spent[account.id] = self.spent.get(account.id, 0) + cost


class ManualClock:
    """A clock that stands still until a test moves it; wall and monotonic time move together."""

    def __init__(self, wall_ns: int = 1_800_000_000 * 10**9) -> None:
        self._wall_ns = wall_ns

    def wall_ns(self) -> int:
        """See the port Clock."""
        return self._wall_ns

    def monotonic(self) -> float:
        """See the port Clock."""
        return self._wall_ns / 1e9

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._wall_ns += round(seconds * 1e9)


def example_record(id_: str, **changes: Any) -> Record:
    """A plain successful record; any field may be given."""
    defaults: dict[str, Any] = {
        "tags": Tags(tenant="acme", key_id="key-1", feature="search"),
        "endpoint": "chat/completions",
        "stream": False,
        "received_ns": 1_800_000_000 * 10**9,
        "outcome": Outcome.SUCCESS,
        "status": 200,
    }
    return Record(id=id_, **{**defaults, **changes})


def example_account(id_: str = "b|tenant=acme|day|2027-01-15", *, limit: int) -> Account:
    """An account with that limit, nano-dollars."""
    budget, scope, window, _ = id_.split("|")
    return Account(
        id=id_, budget=budget, scope=scope, window=window, limit=Nano(limit), resets_at="2027-01-16T00:00:00+00:00"
    )


def example_intent(id_: str, amount: int, *accounts: Account, expires_ns: int = 2**62) -> Intent:
    """An intent over these accounts whose draft has the same id."""
    return Intent(
        id=id_, amount=Nano(amount), accounts=accounts, expires_ns=expires_ns, draft=example_record(id_, status=0)
    )
