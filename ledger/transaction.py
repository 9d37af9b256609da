"""One transaction of the ledger: a batch of operations decided against the account rows and committed together."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from farthing.errors import BudgetExceeded
from farthing.hold import Account, Hold, Intent
from farthing.money import Nano
from farthing.record import Record
from farthing.value import changed
from ledger import rollups
from ledger.charges import Charge
from ledger.rows import Row, draft_of, insertion, row_of
from ledger.schema import STATEMENTS

Outcome = Hold | BudgetExceeded | bool
"""What came of one operation: the hold, the refusal, or whether a settlement wrote its record."""

_encode: Final = msgspec.json.Encoder().encode
_INSERT_RECORD: Final = insertion(STATEMENTS["insert_record"])
_INSERT_HOLD: Final = STATEMENTS["insert_hold"]
_INSERT_CHARGE: Final = STATEMENTS["insert_charge"]
_EXTEND_HOLD: Final = STATEMENTS["extend_hold"]
_WRITE_ACCOUNT: Final = STATEMENTS["write_account"]
_FEW: Final = 8
"""So many ids are bound one by one; json_each costs 8 us to set up, which only a larger batch earns back."""


def _by_number_of_ids(name: str) -> list[str]:
    """The statement for 0 to _FEW ids bound one by one, then for a JSON array of any length."""
    ids = [", ".join("?" * number) for number in range(_FEW + 1)]
    return [STATEMENTS[name].format(ids=text) for text in (*ids, "SELECT value FROM json_each(?)")]


_TAKE_HOLDS: Final = _by_number_of_ids("take_holds")
_READ_HOLDS: Final = _by_number_of_ids("read_holds")
_KNOWN_RECORDS: Final = _by_number_of_ids("known_records")
_READ_ACCOUNTS: Final = _by_number_of_ids("read_accounts")


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

    __slots__ = ("cost", "hold", "hold_id", "record_id", "row")

    extends = ""

    def __init__(self, hold: Hold | None, record: Record) -> None:
        self.hold = hold
        self.hold_id = hold.intent.id if hold else ""
        self.record_id, self.cost, self.row = record.id, record.cost, row_of(record)

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
            work.replace(self.hold.intent.accounts, held, self.cost if fresh else 0)
        return fresh


class Release:
    """Undo a reservation whose caller was cancelled before it learnt of it: nothing was sent, nothing is owed."""

    __slots__ = ("hold_id", "intent")

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

    __slots__ = ("charge", "record_id")

    hold_id = extends = ""

    def __init__(self, charge: Charge) -> None:
        self.charge, self.record_id = charge, charge.record.id

    @property
    def accounts(self) -> Sequence[Account]:
        """The accounts it touches."""
        return self.charge.accounts

    def apply(self, work: "Work") -> Outcome:
        """Each record id once; whatever comes later changes nothing."""
        if self.record_id in work.known:
            return False
        record = self.charge.record
        work.known.add(self.record_id)
        work.records.append(row_of(record))
        work.charges.append(self.charge.row())
        for account in self.accounts:
            work.balances[account.id].settle(account, 0, record.cost)
        return True


Operation = Reserve | Extend | Settle | Release | Book


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


def commit(connection: sqlite3.Connection, operations: Sequence[Operation], keys: rollups.Keys) -> Committed:
    """Run the operations in their order as one transaction; `keys` are those of the connection's file.

    Raises, with nothing done, sqlite3.Error; for impossible values also ArithmeticError, TypeError, ValueError.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        work = _read(connection, operations)
        outcomes = [operation.apply(work) for operation in operations]
        _write(connection, work, keys)
        connection.execute("COMMIT")
    except BaseException:
        keys.forget()
        if connection.in_transaction:  # SQLite has already rolled back after some disk errors
            connection.execute("ROLLBACK")
        raise
    return Committed(outcomes, work)


def _read(connection: sqlite3.Connection, operations: Sequence[Operation]) -> Work:
    holds = [operation.hold_id for operation in operations if operation.hold_id]
    records = [operation.record_id for operation in operations if operation.record_id]
    accounts = {account.id: account.limit for operation in operations for account in operation.accounts}
    balances = {id_: Balance(limit, 0, 0) for id_, limit in accounts.items()}
    for id_, cap, spent, held in _select(connection, _READ_ACCOUNTS, list(accounts)):
        balances[id_] = Balance(cap, spent, held)
    extends = [operation.extends for operation in operations if operation.extends]
    open_ = dict(_select(connection, _READ_HOLDS, extends)) if extends else {}
    open_.update(_select(connection, _TAKE_HOLDS, holds))
    known = {row[0] for row in _select(connection, _KNOWN_RECORDS, records)}
    return Work(open_, known, balances)


def _select(connection: sqlite3.Connection, statements: list[str], ids: list[str]) -> Iterable[tuple[Any, ...]]:
    if not ids:
        return ()
    if len(ids) <= _FEW:
        return connection.execute(statements[len(ids)], ids).fetchall()
    return connection.execute(statements[-1], (_encode(ids).decode(),)).fetchall()


def _write(connection: sqlite3.Connection, work: Work, keys: rollups.Keys) -> None:
    if work.records:
        connection.executemany(_INSERT_RECORD, work.records)
        rollups.add(connection, work.records, keys)
    if work.holds:
        connection.executemany(_INSERT_HOLD, work.holds)
    if work.extended:  # of a hold that was also settled in this batch there is no row left to change
        connection.executemany(_EXTEND_HOLD, [(amount, id_) for id_, amount in work.extended.items()])
    if work.charges:
        connection.executemany(_INSERT_CHARGE, work.charges)
    accounts = [balance.row(id_) for id_, balance in work.balances.items() if balance.changed]
    if accounts:
        connection.executemany(_WRITE_ACCOUNT, accounts)
