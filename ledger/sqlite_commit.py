"""One transaction of the ledger on SQLite: a batch of operations, decided against the account rows."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from ledger import rollups
from ledger.database import read_statements
from ledger.operations import Balance, Committed, Operation, Work
from ledger.rows import insertion
from ledger.sqlite_file import FileSession

_STATEMENTS: Final = read_statements("statements")
_encode: Final = msgspec.json.Encoder().encode
_INSERT_RECORD: Final = insertion(_STATEMENTS["insert_record"])
_INSERT_HOLD: Final = _STATEMENTS["insert_hold"]
_INSERT_CHARGE: Final = _STATEMENTS["insert_charge"]
_EXTEND_HOLD: Final = _STATEMENTS["extend_hold"]
_WRITE_ACCOUNT: Final = _STATEMENTS["write_account"]
_FEW: Final = 8
"""So many ids are bound one by one; json_each costs 8 us to set up, which only a larger batch earns back."""


def _by_number_of_ids(name: str) -> list[str]:
    """The statement for 0 to _FEW ids bound one by one, then for a JSON array of any length."""
    ids = [", ".join("?" * number) for number in range(_FEW + 1)]
    return [_STATEMENTS[name].format(ids=text) for text in (*ids, "SELECT value FROM json_each(?)")]


_TAKE_HOLDS: Final = _by_number_of_ids("take_holds")
_READ_HOLDS: Final = _by_number_of_ids("read_holds")
_KNOWN_RECORDS: Final = _by_number_of_ids("known_records")
_READ_ACCOUNTS: Final = _by_number_of_ids("read_accounts")


def commit(connection: FileSession, operations: Sequence[Operation], keys: rollups.Keys) -> Committed:
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


def _read(connection: FileSession, operations: Sequence[Operation]) -> Work:
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


def _select(connection: FileSession, statements: list[str], ids: list[str]) -> Iterable[tuple[Any, ...]]:
    if not ids:
        return ()
    if len(ids) <= _FEW:
        return connection.execute(statements[len(ids)], ids).fetchall()
    return connection.execute(statements[-1], (_encode(ids).decode(),)).fetchall()


def _write(connection: FileSession, work: Work, keys: rollups.Keys) -> None:
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
