"""Archive: old records become Parquet files and leave the ledger; what the roll-ups say of them stays."""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from farthing.errors import ConfigError
from ledger import leases
from ledger.reports import read_state
from ledger.rollups import DAY_NS
from ledger.rows import COLUMNS
from ledger.schema import connect_waiting, read_statements

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


def archive(path: Path, *, before_ns: int, folder: Path, sizes: Sizes = USUAL_SIZES) -> Iterator[Archived]:
    """Move the records received before the UTC day of `before_ns` to Parquet files in the folder, one file or more a
    day, and yield each when its records have left the ledger.

    A record is removed only after the file with it is on disk. A run that was killed is finished first, so that each
    record is in one file. Space in the ledger's file is used again, not given back. Raises ConfigError (the package
    arro3-io is missing, the ledger is older, the file of a killed run is gone), sqlite3.Error, OSError. Blocks.
    """
    _need_arro3()
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        yield from _archive(path, before_ns, folder, sizes)


def _archive(path: Path, before_ns: int, folder: Path, sizes: Sizes) -> Iterator[Archived]:
    connection = connect_waiting(path)
    connection.execute("PRAGMA wal_autocheckpoint = 1000")  # perhaps no gateway runs that would do it
    try:
        _check_state(connection, path)
        if (left := connection.execute(_STATEMENTS["under_way"]).fetchone()) is not None:
            yield _finish(connection, Path(left[0]), sizes)
        limit_ns = before_ns - before_ns % DAY_NS
        while (oldest := connection.execute(_STATEMENTS["oldest"], {"before_ns": limit_ns}).fetchone()[0]) is not None:
            yield _move_some(connection, oldest // DAY_NS, folder, sizes)
    finally:
        connection.close()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One archive run at a time: two would write the same records."""
    instances = path.with_name(path.name + ".instances")
    instances.mkdir(exist_ok=True)
    lease = leases.acquire(instances, "archive")
    if lease is None:
        raise ConfigError(f"Another archive run works on {path}: wait for its end.")
    try:
        yield
    finally:
        lease.release()


def _need_arro3() -> None:
    try:
        import arro3.io  # noqa: F401 - only to learn whether it is there
    except ImportError:
        raise ConfigError(
            "Archives are written with the package arro3-io, which is not installed: pip install 'farthing[archive]', "
            "or scripts/install archive in a checkout."
        ) from None


def _check_state(connection: sqlite3.Connection, path: Path) -> None:
    if not read_state(connection).rolled_up:
        raise ConfigError(f"{path} was written by an older Farthing: start the gateway once, which upgrades it.")


def _move_some(connection: sqlite3.Connection, day: int, folder: Path, sizes: Sizes) -> Archived:
    """Write the oldest records of a day to a new file, then remove them."""
    until_ns = (day + 1) * DAY_NS
    statement = _STATEMENTS["oldest_of_a_day"].format(columns=", ".join(COLUMNS))
    values = {"since_ns": day * DAY_NS, "until_ns": until_ns, "most": sizes.file}
    rows = connection.execute(statement, values).fetchall()
    target = _free_name(folder, day)
    types = {name: type_ for _, name, type_, *_ in connection.execute("PRAGMA table_info(records)")}
    _write(rows, types, target)
    with _transaction(connection):
        connection.execute(_STATEMENTS["begin"], (str(target.absolute()),))
        connection.execute(_STATEMENTS["archived_until"], {"until_ns": until_ns})
    _remove(connection, [row[0] for row in rows], sizes)
    return Archived(path=target, records=len(rows), finished=False)


def _finish(connection: sqlite3.Connection, target: Path, sizes: Sizes) -> Archived:
    """Remove what a killed run had written to a file but not yet removed."""
    from arro3.io import read_parquet

    if not target.is_file():
        raise ConfigError(
            f"An archive run was killed after it had written {target}, which is gone. Put it back, or, if its records "
            "are to be archived anew, run: sqlite3 ledger.db \"DELETE FROM meta WHERE name = 'archiving'\"."
        )
    ids = [str(id_) for id_ in read_parquet(target).read_all().column("id").to_pylist()]
    _remove(connection, ids, sizes)
    return Archived(path=target, records=len(ids), finished=True)


def _remove(connection: sqlite3.Connection, ids: Sequence[str], sizes: Sizes) -> None:
    for start in range(0, len(ids), sizes.batch):
        with _transaction(connection):
            connection.execute(_STATEMENTS["remove"], (_encode(ids[start : start + sizes.batch]).decode(),))
    with _transaction(connection):
        connection.execute(_STATEMENTS["end"])


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


# --- files -------------------------------------------------------------------------------------------


def _free_name(folder: Path, day: int) -> Path:
    date = datetime.fromtimestamp(day * 86_400, UTC).date()
    number = 1
    while (path := folder / f"records-{date}-{number:03}.parquet").exists():
        number += 1
    return path


def _write(rows: Sequence[Sequence[Any]], types: Mapping[str, str], target: Path) -> None:
    """The rows as a file that is whole and on disk, or not there; `types` are SQLite's, by column."""
    from arro3.io import write_parquet

    draft = target.with_suffix(".draft")
    write_parquet(_table(rows, types), draft, compression="zstd(3)")
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _table(rows: Sequence[Sequence[Any]], types: Mapping[str, str]) -> "Table":
    """Columns under the names of the ledger's; nothing in it is converted."""
    from arro3.core import Array, DataType, Field, Schema, Table

    of = {"TEXT": DataType.utf8(), "INTEGER": DataType.int64(), "REAL": DataType.float64()}
    columns = list(zip(*rows, strict=True))
    arrays = [Array(values, type=of[types[name]]) for name, values in zip(COLUMNS, columns, strict=True)]
    fields = [Field(name, of[types[name]], nullable=True) for name in COLUMNS]
    return Table.from_arrays(arrays, schema=Schema(fields))
