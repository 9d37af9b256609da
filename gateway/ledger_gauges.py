"""Ledger gauges: how the ledger's file and this worker's writing to it fare, read when Prometheus asks."""

from dataclasses import dataclass
from typing import Final

from farthing.errors import LedgerUnavailable
from gateway.exposition import Family, Kind, value_lines
from ledger import reports
from ledger.database import Database


def _gauge(part: str, text: str) -> Family:
    return Family(name=f"farthing_ledger_{part}", kind=Kind.GAUGE, help=text)


OPEN_HOLDS: Final = _gauge("open_holds", "Calls under way that have money set aside, of all workers.")
FILE_BYTES: Final = _gauge("file_bytes", "Size of the ledger's file, or of its PostgreSQL tables.")
LOG_BYTES: Final = _gauge("log_bytes", "Size of the ledger's write-ahead log; SQLite only.")
RECOVERED: Final = _gauge("recovered_holds", "Holds of dead workers and expired ones that this worker charged.")
OVERAGES: Final = _gauge("overages", "Calls of this worker that cost more than was held for them.")
LATE: Final = _gauge("late_settlements", "Settlements of this worker that came after their hold was charged.")
FAILURES: Final = _gauge("failed_batches", "Transactions of this worker that the disk or a long lock made fail.")
UNWRITTEN: Final = _gauge("unwritten_records", "Records of this worker that are not on the books.")
DROPPED: Final = _gauge("dropped_answers", "Records of free answers that this worker gave up, the ledger being away.")
LEDGER_GAUGES: Final = (OPEN_HOLDS, FILE_BYTES, LOG_BYTES, RECOVERED, OVERAGES, LATE, FAILURES, UNWRITTEN, DROPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCounts:
    """What one worker counted since it opened the ledger."""

    recovered: int
    overages: int
    late: int
    failures: int
    unwritten: int
    dropped: int


def ledger_lines(database: Database, counts: LedgerCounts) -> list[str]:
    """The gauges, for `Metrics.add_source`; those of the database only where it can be read. Blocks."""
    own = zip(
        (RECOVERED, OVERAGES, LATE, FAILURES, UNWRITTEN, DROPPED),
        (counts.recovered, counts.overages, counts.late, counts.failures, counts.unwritten, counts.dropped),
        strict=True,
    )
    samples = [*_of(database), *own]
    return [line for family, number in samples for line in value_lines(family, [((), number)])]


def _of(database: Database) -> list[tuple[Family, int]]:
    try:
        holds = reports.open_holds(database)
        tables, log = database.sizes()
    except LedgerUnavailable:
        return []
    return [(OPEN_HOLDS, holds), (FILE_BYTES, tables), *([] if log is None else [(LOG_BYTES, log)])]
