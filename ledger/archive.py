"""Archive: old records become Parquet files and leave the ledger; what the roll-ups say of them stays."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from farthing.errors import ConfigError
from ledger.database import Database, Session, read_statements
from ledger.reports import read_state
from ledger.rollups import DAY_NS
from ledger.rows import COLUMNS, INTEGERS, REALS

if TYPE_CHECKING:
    from arro3.core import Table

_STATEMENTS: Final = read_statements("archive")
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Records in a file, so that memory stays below some 200 MB whatever a day holds, and records removed in one
    transaction, for which a running gateway waits some milliseconds."""

    file: int = 50_000
    batch: int = 500


USUAL_SIZES: Final = Sizes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """A file that was written, the records in it, and whether an earlier run had written it and was killed."""

    path: Path
    records: int
    finished: bool


def archive(database: Database, *, before_ns: int, folder: Path, sizes: Sizes = USUAL_SIZES) -> Iterator[Archived]:
    """Move the records received before the UTC day of `before_ns` to Parquet files in the folder, one file or more a
    day, and yield each when its records have left the ledger.

    A record is removed only after the file with it is on disk. A run that was killed is finished first, so that each
    record is in one file. Space in the ledger's file is used again, not given back. Raises ConfigError (the package
    arro3-io is missing, the ledger is older, the file of a killed run is gone), LedgerUnavailable, OSError. Blocks.
    """
    _need_arro3()
    folder.mkdir(parents=True, exist_ok=True)
    with database.exclusively("archive"):
        yield from _archive(database, before_ns, folder, sizes)


def _archive(database: Database, before_ns: int, folder: Path, sizes: Sizes) -> Iterator[Archived]:
    with database.working() as session:
        _check_state(session, database)
        if (left := session.execute(_STATEMENTS["under_way"]).fetchone()) is not None:
            yield _finish(session, Path(left[0]), sizes)
        limit_ns = before_ns - before_ns % DAY_NS
        while (oldest := session.execute(_STATEMENTS["oldest"], {"before_ns": limit_ns}).fetchone()[0]) is not None:
            yield _move_some(session, oldest // DAY_NS, folder, sizes)


def _need_arro3() -> None:
    try:
        import arro3.io  # noqa: F401 - only to learn whether it is there
    except ImportError:
        raise ConfigError(
            "Archives are written with the package arro3-io, which is not installed: pip install 'farthing[archive]', "
            "or scripts/install archive in a checkout."
        ) from None


def _check_state(session: Session, database: Database) -> None:
    if not read_state(session).rolled_up:
        raise ConfigError(
            f"{database.label} was written by an older Farthing: start the gateway once, which upgrades it."
        )


def _move_some(session: Session, day: int, folder: Path, sizes: Sizes) -> Archived:
    """Write the oldest records of a day to a new file, then remove them."""
    until_ns = (day + 1) * DAY_NS
    statement = _STATEMENTS["oldest_of_a_day"].format(columns=", ".join(COLUMNS))
    values = {"since_ns": day * DAY_NS, "until_ns": until_ns, "most": sizes.file}
    rows = session.execute(statement, values).fetchall()
    target = _free_name(folder, day)
    _write(rows, target)
    with session.transaction():
        session.execute(_STATEMENTS["begin"], (str(target.absolute()),))
        session.execute(_STATEMENTS["archived_until"], {"until_ns": until_ns})
    _remove(session, [row[0] for row in rows], sizes)
    return Archived(path=target, records=len(rows), finished=False)


def _finish(session: Session, target: Path, sizes: Sizes) -> Archived:
    """Remove what a killed run had written to a file but not yet removed."""
    from arro3.io import read_parquet

    if not target.is_file():
        raise ConfigError(
            f"An archive run was killed after it had written {target}, which is gone. Put it back, or, if its records "
            "are to be archived anew, run: sqlite3 ledger.db \"DELETE FROM meta WHERE name = 'archiving'\"."
        )
    ids = [str(id_) for id_ in read_parquet(target).read_all().column("id").to_pylist()]
    _remove(session, ids, sizes)
    return Archived(path=target, records=len(ids), finished=True)


def _remove(session: Session, ids: Sequence[str], sizes: Sizes) -> None:
    for start in range(0, len(ids), sizes.batch):
        with session.transaction():
            session.execute(_STATEMENTS["remove"], (_encode(ids[start : start + sizes.batch]).decode(),))
    with session.transaction():
        session.execute(_STATEMENTS["end"])


# --- files -------------------------------------------------------------------------------------------


def _free_name(folder: Path, day: int) -> Path:
    date = datetime.fromtimestamp(day * 86_400, UTC).date()
    number = 1
    while (path := folder / f"records-{date}-{number:03}.parquet").exists():
        number += 1
    return path


def _write(rows: Sequence[Sequence[Any]], target: Path) -> None:
    """The rows as a file that is whole and on disk, or not there."""
    from arro3.io import write_parquet

    draft = target.with_suffix(".draft")
    write_parquet(_table(rows), draft, compression="zstd(3)")
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _table(rows: Sequence[Sequence[Any]]) -> "Table":
    """Columns under the names of the ledger's; nothing in it is converted."""
    from arro3.core import Array, DataType, Field, Schema, Table

    of = {**dict.fromkeys(INTEGERS, DataType.int64()), **dict.fromkeys(REALS, DataType.float64())}
    types = {name: of.get(name, DataType.utf8()) for name in COLUMNS}
    columns = list(zip(*rows, strict=True))
    arrays = [Array(values, type=types[name]) for name, values in zip(COLUMNS, columns, strict=True)]
    fields = [Field(name, types[name], nullable=True) for name in COLUMNS]
    return Table.from_arrays(arrays, schema=Schema(fields))
