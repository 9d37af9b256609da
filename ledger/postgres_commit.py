"""One transaction of the ledger on PostgreSQL: a batch of operations, decided against the account rows.

Two round trips, whatever the size of the batch: what it is decided by is read and locked, then all rows are written and
the transaction ends. Rows go as JSON, one value for each table, so that the driver has next to nothing to do.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
import psycopg

from farthing.hold import Account
from ledger.charges import COLUMNS as CHARGE_COLUMNS
from ledger.database import read_statements
from ledger.operations import Balance, Book, Committed, Operation, Outcome, Settle, Work
from ledger.postgres_database import ALONE, INSTEAD_OF_NUL, translated, without_nul
from ledger.postgres_trips import Connection, Statement, array_of, trip
from ledger.rollups import DIMENSIONS, FIGURES, Added, Keys, dimensions_of
from ledger.rows import COLUMNS, Row

_HOLD_COLUMNS: Final = ("id", "instance", "amount", "accounts", "expires_ns", "draft")
_ACCOUNT_COLUMNS: Final = ("id", "budget", "scope", "budget_window", "cap", "resets_at", "spent", "held")
_HOUR_COLUMNS: Final = ("id", *FIGURES)
_MOST_REMEMBERED: Final = 50_000
_NUL: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
_NO_NUL: Final = rb"\1" + INSTEAD_OF_NUL.encode()
_encode_text: Final = msgspec.json.Encoder().encode


def _statements() -> dict[str, str]:
    names = {
        "alone": ALONE,
        "columns": ", ".join(COLUMNS),
        "charge_columns": ", ".join(CHARGE_COLUMNS),
        "dimensions": ", ".join(DIMENSIONS),
        "figures": ", ".join(FIGURES),
        "sums": ", ".join(f"sum({name})" for name in FIGURES),
        "added_hours": ", ".join(f"{name} = rollup_hours.{name} + excluded.{name}" for name in FIGURES),
        "added_days": ", ".join(f"{name} = rollup_days.{name} + excluded.{name}" for name in FIGURES),
    }
    texts = read_statements("postgres").items()
    return {name: translated(text.rstrip(";").format_map(names)) for name, text in texts}


STATEMENTS: Final = _statements()
_SHARE: Final = Statement("share", f"SELECT pg_advisory_xact_lock_shared({ALONE})")
_READ, _WRITE = (Statement(name, STATEMENTS[name]) for name in ("read", "write"))


class Retry(Exception):
    """Something that the batch was decided by is not so any more: nothing was done, decide it anew."""


class Uncertain(Exception):
    """The connection broke after the end of the transaction had been asked for: it was done, and these are the
    `outcomes`, or nothing was."""

    def __init__(self, outcomes: list[Outcome]) -> None:
        super().__init__("the connection broke while a transaction was ended")
        self.outcomes = outcomes


class Known:
    """What this process knows to be in the tables for good: accounts, and the ids of combinations of dimensions."""

    def __init__(self) -> None:
        self.accounts: set[str] = set()
        self.keys = Keys()

    def forget(self) -> None:
        """Something was not there: look again."""
        self.accounts.clear()
        self.keys.forget()


async def prepare(connection: Connection, operations: Sequence[Operation], known: Known) -> None:
    """See to it that the accounts and roll-up keys of a batch are there. Raises psycopg.Error."""
    accounts = {account.id: account for operation in operations for account in operation.accounts}
    new = [account for id_, account in accounts.items() if id_ not in known.accounts]
    if new:
        await connection.execute(STATEMENTS["add_accounts"], {"accounts": _text(_ACCOUNT_COLUMNS, map(_empty, new))})
        if len(known.accounts) > _MOST_REMEMBERED:
            known.accounts.clear()
        known.accounts.update(account.id for account in new)
    keys = {dimensions_of(operation.row) for operation in operations if isinstance(operation, Settle | Book)}
    unknown = [key for key in keys if known.keys.get(key) is None]
    if unknown:
        values = {"keys": _text(DIMENSIONS, unknown)}
        await connection.execute(STATEMENTS["add_groups"], values)
        await connection.execute(STATEMENTS["add_keys"], values)
        rows = await (await connection.execute(STATEMENTS["find_keys"], values)).fetchall()
        found = {tuple(names): (id_, group) for *names, id_, group in rows}
        for key in unknown:
            known.keys.put(key, *found[tuple(map(without_nul, key))])


async def commit(connection: Connection, operations: Sequence[Operation], known: Known) -> Committed:
    """Run the operations in their order as one transaction.

    Raises Retry, Uncertain; with nothing done psycopg.Error, for impossible values also ArithmeticError, TypeError,
    ValueError.
    """
    try:
        work = await _read(connection, operations)
        outcomes = [operation.apply(work) for operation in operations]
        values = _rows(work, known)
    except BaseException:
        await _roll_back(connection)
        raise
    await _write(connection, values, outcomes)
    return Committed(outcomes, work)


async def settle_doubts(connection: Connection, records: Sequence[str]) -> set[str]:
    """Those of the records that an uncertain transaction has written, once it has come to its end. Raises
    psycopg.Error."""
    async with connection.transaction():
        await connection.execute(STATEMENTS["barrier"])
        cursor = await connection.execute(STATEMENTS["done"], {"records": list(records)})
        return {row[0] for row in await cursor.fetchall()}


async def _read(connection: Connection, operations: Sequence[Operation]) -> Work:
    limits = {account.id: account.limit for operation in operations for account in operation.accounts}
    values = {
        "holds": array_of(operation.hold_id for operation in operations if operation.hold_id),
        "extends": array_of(operation.extends for operation in operations if operation.extends),
        "accounts": array_of(limits),
        "records": array_of(operation.record_id for operation in operations if operation.record_id),
    }
    *_, found = await trip(connection, (b"BEGIN", (_SHARE, {}), (_READ, values)))
    open_: dict[str, int] = {}
    taken: dict[str, int] = {}
    records: set[str] = set()
    balances: dict[str, Balance] = {}
    value = found.get_value
    for row in range(found.ntuples):
        kind, id_ = value(row, 0), value(row, 1).decode()  # type: ignore[union-attr]
        if kind == b"account":
            balances[id_] = Balance(*(int(value(row, column)) for column in (2, 3, 4)))  # type: ignore[arg-type]
        elif kind == b"record":
            records.add(id_)
        else:
            (taken if kind == b"taken" else open_)[id_] = int(value(row, 2))  # type: ignore[arg-type]
    if len(balances) < len(limits):
        raise Retry("accounts are gone")
    return Work(open_ | taken, records, balances)


def _rows(work: Work, known: Known) -> dict[str, bytes]:
    added = Added(work.records, _finder(known.keys))
    balances = [balance.row(id_) for id_, balance in work.balances.items() if balance.changed]
    return {
        "records": _objects(COLUMNS, work.records),
        "holds": _objects(_HOLD_COLUMNS, work.holds),
        "extended": _objects(("id", "amount"), work.extended.items()),
        "charges": _objects(CHARGE_COLUMNS, work.charges),
        "accounts": _objects(_ACCOUNT_COLUMNS, balances),
        "hours": _objects(_HOUR_COLUMNS, added.hour_rows()),
        "costs": _objects(("id", "requests"), added.cost_rows()),
    }


def _finder(keys: Keys) -> Callable[[tuple[str, ...]], Any]:
    def find(key: tuple[str, ...]) -> Any:
        found = keys.get(key)
        if found is None:  # forgotten since it was prepared
            raise Retry("a roll-up key is not known")
        return found

    return find


async def _write(connection: Connection, values: dict[str, bytes], outcomes: list[Outcome]) -> None:
    try:
        await trip(connection, ((_WRITE, values), b"COMMIT"))
    except psycopg.Error as error:
        if error.diag.severity_nonlocalized != "ERROR":  # which says that the server goes on, with nothing done
            raise Uncertain(outcomes) from error
        await _roll_back(connection)
        raise
    except BaseException as error:  # cancelled in the middle of it
        raise Uncertain(outcomes) from error


async def _roll_back(connection: Connection) -> None:
    if not connection.closed and connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        await connection.execute("ROLLBACK")


def _empty(account: Account) -> Row:
    return (account.id, account.budget, account.scope, account.window, account.limit, account.resets_at, 0, 0)


def _objects(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """The rows as JSON text. PostgreSQL's texts cannot hold U+0000, which a client may put into a name."""
    text = _encode_text([dict(zip(names, row, strict=True)) for row in rows])
    return text if rb"\u0000" not in text else _NUL.sub(_NO_NUL, text)


def _text(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The same for psycopg."""
    return _objects(names, rows).decode()
