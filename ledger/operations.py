"""Operations: what a ledger is asked to do, decided against the rows that a transaction has read, on any engine."""

from collections.abc import Sequence
from typing import Final

import msgspec

from farthing.errors import BudgetExceeded
from farthing.hold import Account, Hold, Intent
from farthing.money import Nano
from farthing.record import Record
from farthing.value import changed
from ledger.charges import Charge
from ledger.rows import Row, draft_of, row_of

Outcome = Hold | BudgetExceeded | bool
"""What came of one operation: the hold, the refusal, or whether a settlement wrote its record."""

_encode: Final = msgspec.json.Encoder().encode


class Balance:
    """An account's row while a transaction works on it."""

    __slots__ = ("account", "cap", "changed", "held", "spent")

    def __init__(self, cap: int, spent: int, held: int) -> None:
        self.account: Account | None = None
        self.cap, self.spent, self.held = cap, spent, held
        self.changed = False

    def hold(self, account: Account, amount: int) -> Nano:
        """Set the amount aside; returns what is left."""
        self.account, self.cap, self.changed = account, account.limit, True
        self.held += amount
        return Nano(self.cap - self.spent - self.held)

    def settle(self, account: Account, amount: int, cost: int) -> None:
        """Replace a hold by a cost. The stored cap stays: this account value is older than the last hold's."""
        self.account, self.changed = self.account or account, True
        self.held = max(self.held - amount, 0)
        self.spent += cost

    def row(self, id_: str) -> Row:
        """The row to write."""
        account = self.account
        assert account is not None  # only changed balances are written
        return (
            id_,
            account.budget,
            account.scope,
            account.window,
            self.cap,
            account.resets_at,
            self.spent,
            self.held,
        )


class Reserve:
    """Set an intent's amount aside in all of its accounts, or in none."""

    __slots__ = ("hold_row", "intent")

    owed = False
    hold_id = record_id = extends = ""

    def __init__(self, intent: Intent, instance: str) -> None:
        self.intent = intent
        accounts = _encode([account.id for account in intent.accounts]).decode()
        self.hold_row: Row = (
            intent.id,
            instance,
            intent.amount,
            accounts,
            intent.expires_ns,
            draft_of(intent.draft),
        )

    @property
    def accounts(self) -> Sequence[Account]:
        """The accounts it touches."""
        return self.intent.accounts

    def apply(self, work: "Work") -> Outcome:
        """Decide; nothing is changed by a refusal."""
        left = _set_aside(work, self.intent.accounts, self.intent.amount)
        if isinstance(left, BudgetExceeded):
            return left
        work.holds.append(self.hold_row)
        return Hold(intent=self.intent, remaining=min(left) if left else None, left=tuple(left))


class Extend:
    """Set more aside for an open hold in all of its accounts, or in none."""

    __slots__ = ("amount", "extends", "hold")

    owed = False
    hold_id = record_id = ""

    def __init__(self, hold: Hold, amount: Nano) -> None:
        self.hold, self.amount, self.extends = hold, amount, hold.intent.id

    @property
    def accounts(self) -> Sequence[Account]:
        """The accounts it touches."""
        return self.hold.intent.accounts

    def apply(self, work: "Work") -> Outcome:
        """Decide; nothing is changed by a refusal, nor where the hold is gone."""
        held = work.open.get(self.extends)
        if held is None:
            return False
        left = _set_aside(work, self.accounts, self.amount)
        if isinstance(left, BudgetExceeded):
            return left
        work.open[self.extends] = work.extended[self.extends] = held + self.amount
        intent = changed(self.hold.intent, amount=Nano(held + self.amount))
        return Hold(intent=intent, remaining=min(left) if left else None, left=tuple(left))


def _set_aside(work: "Work", accounts: Sequence[Account], amount: Nano) -> list[Nano] | BudgetExceeded:
    """Hold the amount in all of the accounts or in none; returns what each has left."""
    balances = work.balances
    if amount > 0:
        for account in accounts:
            balance = balances[account.id]
            if balance.spent + balance.held + amount > account.limit:
                return _refusal(account, balance, amount)
    return [balances[account.id].hold(account, amount) for account in accounts]


def _refusal(account: Account, balance: Balance, amount: Nano) -> BudgetExceeded:
    return BudgetExceeded(
        budget=account.budget,
        scope=account.scope,
        window=account.window,
        limit=account.limit,
        spent=Nano(balance.spent),
        held=Nano(balance.held),
        needed=amount,
        resets_at=account.resets_at,
    )


class Settle:
    """Write a record and, with a hold, replace the hold by the record's cost."""

    __slots__ = ("hold", "hold_id", "record", "record_id", "row")

    extends = ""

    def __init__(self, hold: Hold | None, record: Record) -> None:
        self.hold = hold
        self.hold_id = hold.intent.id if hold else ""
        self.record, self.record_id, self.row = record, record.id, row_of(record)

    @property
    def owed(self) -> bool:
        """Whether there is money in it; that somebody was refused may be forgotten where nothing can be written."""
        return self.hold is not None or self.record.cost != 0

    @property
    def is_free_answer(self) -> bool:
        """An answer from a cache: no money is in it, but what it avoided is in the reports."""
        return not self.owed and self.record.cache.is_hit

    @property
    def accounts(self) -> Sequence[Account]:
        """The accounts it touches."""
        return self.hold.intent.accounts if self.hold else ()

    def apply(self, work: "Work") -> Outcome:
        """Each hold and each record id once; whatever comes later changes nothing."""
        held = work.open.pop(self.hold_id, None)
        if self.hold and held is None:
            work.late += 1
            return False
        fresh = self.record_id not in work.known
        if fresh:
            work.known.add(self.record_id)
            work.records.append(self.row)
        if self.hold and held is not None:
            work.replace(self.hold.intent.accounts, held, self.record.cost if fresh else 0)
        return fresh


class Release:
    """Undo a reservation whose caller was cancelled before it learnt of it: nothing was sent, nothing is owed."""

    __slots__ = ("hold_id", "intent")

    owed = True
    record_id = extends = ""

    def __init__(self, intent: Intent) -> None:
        self.intent, self.hold_id = intent, intent.id

    @property
    def accounts(self) -> Sequence[Account]:
        """The accounts it touches."""
        return self.intent.accounts

    def apply(self, work: "Work") -> Outcome:
        """Give the money back."""
        if (held := work.open.pop(self.hold_id, None)) is not None:
            work.replace(self.intent.accounts, held, 0)
        return False


class Book:
    """Write a charge that comes from outside: the money is spent already, so no cap can refuse it."""

    __slots__ = ("charge", "record", "record_id", "row")

    owed = False  # who was told that it is not booked sends it again
    hold_id = extends = ""

    def __init__(self, charge: Charge) -> None:
        self.charge, self.record, self.record_id = charge, charge.record, charge.record.id
        self.row = row_of(charge.record)

    @property
    def accounts(self) -> Sequence[Account]:
        """The accounts it touches."""
        return self.charge.accounts

    def apply(self, work: "Work") -> Outcome:
        """Each record id once; whatever comes later changes nothing."""
        if self.record_id in work.known:
            return False
        work.known.add(self.record_id)
        work.records.append(self.row)
        work.charges.append(self.charge.row())
        for account in self.accounts:
            work.balances[account.id].settle(account, 0, self.record.cost)
        return True


Operation = Reserve | Extend | Settle | Release | Book
"""Each names the ids that have to be read for it (`hold_id` is taken, `extends` is read, `record_id` is looked up) and
its accounts; `owed`: it is tried again where it could not be written."""


class Work:
    """The state of a transaction: what it read, and the rows that it is going to write. `open` has the amount of each
    hold that is still there, as it was extended up to here: what a settlement gives back, whatever its caller knew."""

    __slots__ = ("balances", "charges", "extended", "holds", "known", "late", "open", "overages", "records")

    def __init__(self, open_: dict[str, int], known: set[str], balances: dict[str, Balance]) -> None:
        self.open, self.known, self.balances = open_, known, balances
        self.holds: list[Row] = []
        self.extended: dict[str, int] = {}
        self.records: list[Row] = []
        self.charges: list[Row] = []
        self.late = self.overages = 0

    def replace(self, accounts: Sequence[Account], held: int, cost: int) -> None:
        """Replace a hold by a cost in each of its accounts."""
        self.overages += cost > held
        for account in accounts:
            self.balances[account.id].settle(account, held, cost)


class Committed:
    """What a committed batch came to: one outcome an operation, and what deserves counting."""

    __slots__ = ("late", "outcomes", "overages")

    def __init__(self, outcomes: list[Outcome], work: Work) -> None:
        self.outcomes, self.late, self.overages = outcomes, work.late, work.overages
