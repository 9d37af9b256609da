"""Replay: the records of a period one after the other, drawn evenly by their ids where there are too many."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from farthing.record import Record
from ledger.database import Database, read_statements
from ledger.reports import read_state
from ledger.rows import COLUMNS, record_of

CHUNK: Final = 1_000
"""Records that are in memory at one time."""
_ID: Final = 1 + COLUMNS.index("id")
_RECEIVED: Final = 1 + COLUMNS.index("received_ns")
_BITS: Final = 64
_STATEMENTS: Final = read_statements("replay")
_CHUNK: Final = _STATEMENTS["chunk"].format(columns=", ".join(COLUMNS))


@dataclass(frozen=True, slots=True)
class Drawn:
    """Of `records` in the period `taken` were shown. Those of before `archived_ns` (wall ns, 0: none) are in an
    archive, so the period may have had more."""

    records: int
    taken: int
    archived_ns: int


def replay(database: Database, *, since_ns: int, until_ns: int, most: int, visit: Callable[[Record], None]) -> Drawn:
    """Show the records received in [since_ns, until_ns) to `visit`, oldest first, all in one snapshot.

    Where there are more than `most`, some `most` of them: those whose id has a hash below a bound, so that every run
    takes the same ones, and each is as likely as any other. Blocks; raises LedgerUnavailable.
    """
    taken = 0
    asked = {"since_ns": since_ns, "until_ns": until_ns, "chunk": CHUNK}
    with database.reading() as session:
        (records,) = session.execute(_STATEMENTS["count"], {"since_ns": since_ns, "until_ns": until_ns}).fetchone()
        bound = (max(most, 0) << _BITS) // records if records > most else 1 << _BITS
        last = (-1, 0)
        while rows := session.execute(
            _CHUNK,
            # The index is entered where the last chunk ended, however far that is from the beginning.
            asked | {"since_ns": max(since_ns, last[0]), "last_ns": last[0], "last_row": last[1]},
        ).fetchall():
            for row in rows:
                if _place(row[_ID]) < bound:
                    taken += 1
                    visit(record_of(row[1:]))
            last = (rows[-1][_RECEIVED], rows[-1][0])
        return Drawn(records, taken, read_state(session).archived_ns)


def _place(record_id: str) -> int:
    """Where an id falls, as evenly as if by dice, below 2**64."""
    return int.from_bytes(blake2b(record_id.encode(), digest_size=_BITS // 8).digest(), "big")
