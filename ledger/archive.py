"""Archive: old records become Parquet files and leave the ledger; what the roll-ups say of them stays."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from farthing.errors import ConfigError
from ledger.archivefiles import draft_of, need_arro3, publish, read_ids, write_draft
from ledger.database import Database, Session, read_statements
from ledger.reports import read_state
from ledger.rollups import DAY_NS
from ledger.rows import COLUMNS

SQL: Final = read_statements("archive")

T = TypeVar("T")
Pause = Callable[[], bool]
"""Called after each transaction; may take its time. True: leave off here, the next run goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Records in a file, so that memory stays below some 200 MB whatever a day holds, and records moved in one
    transaction, for which a running gateway waits some milliseconds."""

    file: int = 50_000
    batch: int = 500


USUAL_SIZES: Final = Sizes()
BESIDE_CALLS: Final = Sizes(file=5_000)
"""Inside a gateway: writing a file keeps its loop waiting for some 10 ms, ten times as many records for 70 ms."""


class _LeftOff(Exception):
    """The pause said so; what is written but not yet removed is left to the next run."""


class ArchiveBusy(ConfigError):
    """Another process works on the archive of this ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """A file that was written, the records in it, and whether an earlier run had written it and did not end."""

    path: Path
    records: int
    finished: bool


def _never() -> bool:
    return False


def archive(
    database: Database, *, before_ns: int, folder: Path, sizes: Sizes = USUAL_SIZES, pause: Pause = _never
) -> Iterator[Archived]:
    """Move the records received before the UTC day of `before_ns` to Parquet files in the folder, one file or more a
    day, and yield each when its records have left the ledger.

    A record is removed only after the file with it is on disk. A run that was killed is finished first, so that each
    record is in one file. Space in the ledger's file is used again, not given back. No transaction is open while a
    file is written. Raises ArchiveBusy, ConfigError (the package arro3-io is missing, the ledger is older, the file of
    a killed run is gone), LedgerUnavailable, OSError. Blocks.
    """
    need_arro3()
    folder.mkdir(parents=True, exist_ok=True)
    with alone(database), database.working() as session, suppress(_LeftOff):
        check_state(session, database)
        limit_ns = before_ns - before_ns % DAY_NS
        if (finished := finish(session, sizes, pause)) is not None:
            yield finished
        while (day := _oldest_day(session, limit_ns)) is not None and not pause():
            yield _move_some(session, day, folder.absolute(), sizes, pause)


def archived_until(database: Database) -> int:
    """The wall ns (the beginning of a UTC day) before which records are in an archive, 0 where none are. Raises
    LedgerUnavailable."""
    with database.reading() as session:
        return read_state(session).archived_ns


def oldest_record(database: Database) -> int | None:
    """The wall ns at which the oldest record was received, None where there is no record. Raises LedgerUnavailable."""
    with database.reading() as session:
        found: int | None = session.execute(SQL["oldest"]).fetchone()[0]
    return found


# --- one file ----------------------------------------------------------------------------------------


def _oldest_day(session: Session, limit_ns: int) -> int | None:
    """The UTC day (since 1970) of the oldest record, None where that is not before the limit."""
    oldest = session.execute(SQL["oldest"]).fetchone()[0]
    return None if oldest is None or oldest >= limit_ns else int(oldest) // DAY_NS


def _move_some(session: Session, day: int, folder: Path, sizes: Sizes, pause: Pause) -> Archived:
    """Write the oldest records of a day to a new file, then remove them."""
    until_ns = (day + 1) * DAY_NS
    statement = SQL["oldest_of_a_day"].format(columns=", ".join(COLUMNS))
    values = {"since_ns": day * DAY_NS, "until_ns": until_ns, "most": sizes.file}
    rows = list(session.execute(statement, values))  # row by row, so that other threads have their turns
    target = write_draft(rows, folder, day, mark_of(session))
    with session.transaction():
        session.execute(SQL["begin"], (str(target),))
        session.execute(SQL["archived_until"], {"until_ns": until_ns})
    publish(target)
    _remove(session, [row[0] for row in rows], sizes, pause)
    return Archived(path=target, records=len(rows), finished=False)


def finish(session: Session, sizes: Sizes = USUAL_SIZES, pause: Pause = _never) -> Archived | None:
    """Remove what a run that did not end had written to a file but not yet removed; None where there is no such run.
    Raises ConfigError where the file is gone."""
    if (left := session.execute(SQL["under_way"]).fetchone()) is None:
        return None
    target = Path(left[0])
    if not target.is_file():
        if not draft_of(target).is_file():
            raise ConfigError(
                f"An archive run was killed after it had written {target}, which is gone here. If another machine "
                "wrote it, the next run there finishes it. Else put it back, or, if its records are to be archived "
                "anew, delete the row named 'archiving' from the ledger's table meta (PostgreSQL: farthing.meta)."
            )
        publish(target)
    ids = read_ids(target)
    _remove(session, ids, sizes, pause)
    return Archived(path=target, records=len(ids), finished=True)


def _remove(session: Session, ids: Sequence[str], sizes: Sizes, pause: Pause) -> None:
    for some in batches(ids, sizes.batch):
        with session.transaction():
            session.execute(SQL["remove"], (as_json(some),))
        if pause():
            raise _LeftOff
    with session.transaction():
        session.execute(SQL["end"])


def batches(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The values in parts of a size."""
    return (values[start : start + size] for start in range(0, len(values), size))


def as_json(ids: Sequence[str]) -> str:
    """Ids as a statement takes them."""
    return msgspec.json.encode(ids).decode()


# --- one ledger --------------------------------------------------------------------------------------


@contextmanager
def alone(database: Database) -> Iterator[None]:
    """Nobody else moves records between this ledger and files. Raises ArchiveBusy where somebody does."""
    with ExitStack() as stack:
        try:
            stack.enter_context(database.exclusively("archive"))
        except ConfigError as error:
            raise ArchiveBusy(error.message) from None
        yield


def check_state(session: Session, database: Database) -> None:
    """Raises ConfigError where the roll-ups, which stay when records go, are not complete."""
    if not read_state(session).rolled_up:
        raise ConfigError(
            f"{database.label} was written by an older Farthing: start the gateway once, which upgrades it."
        )


def mark_of(session: Session) -> str:
    """What this ledger's files are marked with, made once: records of another ledger must not be put into it."""
    if (row := session.execute(SQL["mark"]).fetchone()) is None:
        with session.transaction():
            session.execute(SQL["add_mark"], (secrets.token_hex(16),))
        row = session.execute(SQL["mark"]).fetchone()
    return str(row[0])
