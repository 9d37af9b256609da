"""Recovery: holds that nobody will settle become charges, estimated at the whole hold."""

from collections.abc import Collection
from typing import Final

import msgspec

from farthing.money import Nano
from farthing.record import Record
from ledger import rollups
from ledger.database import Session, read_statements
from ledger.rows import insertion, lost, row_of

_STATEMENTS: Final = read_statements("statements")
_INSERT_RECORD: Final = insertion(_STATEMENTS["insert_record"])
_encode: Final = msgspec.json.Encoder().encode
_decode_ids: Final = msgspec.json.Decoder(list[str]).decode


def holders(session: Session) -> set[str]:
    """The instances that have set money aside."""
    return {row[0] for row in session.execute(_STATEMENTS["holding_instances"])}


def charge_orphans(session: Session, dead: Collection[str], now_ns: int, *, expired_of: str = "") -> list[Record]:
    """Charge the holds of dead instances and those that expired before wall ns `now_ns`, only those of one instance
    where it is named (another machine may have another time); returns the records that were written. Several processes
    may do it at once: each hold is charged once."""
    names = _encode(sorted(dead)).decode()
    with session.transaction():
        orphans = session.execute(_STATEMENTS["orphans"], (now_ns, expired_of, names)).fetchall()
        charged = [_charge(session, *orphan) for orphan in orphans]
        written = [record for record in charged if record is not None]
        if written:
            rollups.add(session, [row_of(record) for record in written], rollups.Keys())
    return written


def _charge(session: Session, hold: str, amount: int, accounts: str, draft: str) -> Record | None:
    session.execute(_STATEMENTS["remove_hold"], (hold,))
    record = lost(draft, Nano(amount))
    written = session.execute(_INSERT_RECORD, row_of(record)).rowcount
    # A record of that id on the books has been charged already: then the hold is only let go.
    cost = amount if written == 1 else 0
    changes = [{"cost": cost, "held": amount, "id": account} for account in _decode_ids(accounts)]
    session.executemany(_STATEMENTS["charge_account"], changes)
    return record if written == 1 else None
