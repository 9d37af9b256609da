"""Recovery: holds that nobody will settle become charges, estimated at the whole hold."""

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from farthing.money import Nano
from farthing.record import Record
from ledger import rollups
from ledger.leases import leases_of_the_dead
from ledger.rows import insertion, lost, row_of
from ledger.schema import STATEMENTS, connect_waiting

_decode_ids: Final = msgspec.json.Decoder(list[str]).decode
_INSERT_RECORD: Final = insertion(STATEMENTS["insert_record"])


def recover(path: Path, folder: Path, *, instance: str, now_ns: int) -> list[Record]:
    """Charge the holds of dead processes and those that expired; returns the records that were written.

    Waits for the disk and other writers: for threads, not for the event loop. Several processes may do it at
    once; each hold is charged once. Raises sqlite3.Error with nothing done.
    """
    connection = connect_waiting(path)
    try:
        holders = [row[0] for row in connection.execute(STATEMENTS["holding_instances"]) if row[0] != instance]
        with leases_of_the_dead(folder, holders) as dead:
            charged = _charge_orphans(connection, dead, now_ns)
        rollups.close_days(connection, now_ns)
        return charged
    finally:
        connection.close()


def _charge_orphans(connection: sqlite3.Connection, dead: list[str], now_ns: int) -> list[Record]:
    names = msgspec.json.encode(dead).decode()
    connection.execute("BEGIN IMMEDIATE")
    try:
        orphans = connection.execute(STATEMENTS["orphans"], (now_ns, names)).fetchall()
        charged = [_charge(connection, *orphan) for orphan in orphans]
        written = [row_of(record) for record in charged if record is not None]
        rollups.add(connection, written, rollups.Keys())
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return [record for record in charged if record is not None]


def _charge(connection: sqlite3.Connection, hold: str, amount: int, accounts: str, draft: str) -> Record | None:
    connection.execute(STATEMENTS["remove_hold"], (hold,))
    record = lost(draft, Nano(amount))
    written = connection.execute(_INSERT_RECORD, row_of(record)).rowcount
    # A record of that id on the books has been charged already: then the hold is only let go.
    cost = amount if written == 1 else 0
    connection.executemany(STATEMENTS["charge_account"], [(cost, amount, account) for account in _decode_ids(accounts)])
    return record if written == 1 else None
