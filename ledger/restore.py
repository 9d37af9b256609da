"""Restore: records of an archive's files go back into the ledger, whose roll-ups have counted them all along."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from farthing.errors import InvalidParameter
from ledger.archive import SQL, USUAL_SIZES, Sizes, alone, as_json, batches, check_state, finish, mark_of
from ledger.archivefiles import need_arro3, read_contents
from ledger.database import Database, Session, read_statements
from ledger.reports import read_state
from ledger.rollups import DAY_NS
from ledger.rows import COLUMNS, Row, insertion

_INSERT: Final = insertion(read_statements("statements")["insert_record"])
_RECEIVED: Final = COLUMNS.index("received_ns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A file, the records in it, and how many of them the ledger did not have."""

    path: Path
    records: int
    fresh: int


def restore(
    database: Database, files: Sequence[Path], *, keep_until_ns: int, sizes: Sizes = USUAL_SIZES
) -> Iterator[Restored]:
    """Put the records of the files back, and yield each file when that is done; those that are there already are left
    alone. Until `keep_until_ns` (wall ns) no gateway applies its retention, which would move them out again.

    Roll-ups, budgets and adjustments stay as they are. After the last file the days at the end of what is archived
    that are complete again count as not archived. Raises InvalidParameter for a file of another ledger, ArchiveBusy,
    ConfigError, LedgerUnavailable; what was put back until then stays. Blocks.
    """
    need_arro3()
    with alone(database), database.working() as session:
        check_state(session, database)
        finish(session)
        session.execute(SQL["keep"], {"until_ns": keep_until_ns})
        for path in files:
            yield _put_back(session, path, sizes)
        _open_days(session)


def kept_until(database: Database) -> int:
    """The wall ns until which restored records are kept whatever the retention, 0 where none were ever restored.
    Raises LedgerUnavailable."""
    with database.reading() as session:
        row = session.execute(SQL["kept_until"]).fetchone()
    return int(row[0]) if row else 0


def _put_back(session: Session, path: Path, sizes: Sizes) -> Restored:
    contents = read_contents(path)
    fresh = _unknown(session, contents.rows, sizes)
    if contents.ledger != mark_of(session) or not _have_room(session, fresh):
        raise InvalidParameter(
            f"{path} holds records that never were in this ledger: its roll-ups would not count them. A file goes back "
            "into the ledger that it came from, or into a copy of it."
        )
    for some in batches(fresh, sizes.batch):
        with session.transaction():
            session.executemany(_INSERT, some)
    return Restored(path=path, records=len(contents.rows), fresh=len(fresh))


def _unknown(session: Session, rows: Sequence[Row], sizes: Sizes) -> list[Row]:
    """The rows whose ids the ledger does not have."""
    known: set[str] = set()
    for some in batches([row[0] for row in rows], sizes.batch):
        known |= {id_ for (id_,) in session.execute(SQL["known"], (as_json(some),))}
    return [row for row in rows if row[0] not in known]


def _have_room(session: Session, rows: Sequence[Row]) -> bool:
    """Whether the roll-ups count at least so many more records than there are."""
    days = Counter(row[_RECEIVED] // DAY_NS for row in rows)
    return all(number <= _missing(session, day) for day, number in days.items())


def _missing(session: Session, day: int) -> int:
    values = {"day": day, "since_ns": day * DAY_NS, "until_ns": (day + 1) * DAY_NS}
    return int(session.execute(SQL["missing"], values).fetchone()[0])


def _open_days(session: Session) -> None:
    """Move the end of what is archived back over the days of which every record is there."""
    first = session.execute(SQL["first_day"]).fetchone()[0]
    archived = day = read_state(session).archived_ns // DAY_NS
    while first is not None and day > first and _missing(session, day - 1) == 0:
        day -= 1
    if day < archived:
        session.execute(SQL["archived_from"], {"since_ns": 0 if day == first else day * DAY_NS})
