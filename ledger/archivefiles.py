"""Archive files: records as Parquet, whole on disk or not there, marked with the ledger that they left."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from farthing.errors import ConfigError
from ledger.rows import COLUMNS, INTEGERS, REALS, Row, record_of, row_of

if TYPE_CHECKING:
    from arro3.core import Table

_MARK: Final = "farthing.ledger"
"""The key of a file's metadata under which it names the ledger that its records left."""
_MAGIC: Final = b"PAR1"
"""The first and the last bytes of a Parquet file."""
_OWNER_ONLY: Final = 0o600  # records name people's features and keys, as the ledger does


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds: the mark of its ledger (empty: none), and rows in the order of COLUMNS."""

    ledger: str
    rows: Sequence[Row]


def need_arro3() -> None:
    """Raises ConfigError where the package that reads and writes Parquet is missing."""
    try:
        import arro3.core
        import arro3.io  # noqa: F401 - only to learn whether they are there
    except ImportError:
        raise ConfigError(
            "Archives are written with the package arro3-io, which is not installed: pip install 'farthing[archive]', "
            "or scripts/install archive in a checkout."
        ) from None


def write_draft(rows: Sequence[Row], folder: Path, day: int, ledger: str) -> Path:
    """Write a file under the name of a draft; returns the name that `publish` will give it. Raises OSError."""
    content = _parquet(rows, ledger)
    target = _take_name(folder, day)
    draft = draft_of(target)
    try:
        draft.write_bytes(content)
        _flush(draft)
        _flush(folder)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return target


def draft_of(target: Path) -> Path:
    """The name of a file before it is published."""
    return target.with_suffix(".draft")


def publish(target: Path) -> None:
    """Give a draft its name, for good. Raises OSError."""
    draft_of(target).replace(target)
    _flush(target.parent)


def read_ids(path: Path) -> list[str]:
    """The ids of the records in a file. Raises ConfigError where it cannot be read."""
    return [str(id_) for id_ in _read(path).column("id").to_pylist()]


def read_contents(path: Path) -> Contents:
    """Everything in a file, be it one of an older Farthing with fewer columns. Raises ConfigError where it cannot be
    read, or holds something else."""
    table = _read(path)
    names = tuple(table.schema.names)
    if names != COLUMNS[: len(names)] or not names:
        raise ConfigError(f"{path} has other columns than the records of this Farthing.")
    mark = table.schema.metadata.get(_MARK.encode(), b"").decode()
    rows: list[Row] = list(zip(*(table.column(name).to_pylist() for name in names), strict=True))
    if len(names) < len(COLUMNS):
        rows = [row_of(record_of(row)) for row in rows]
    return Contents(ledger=mark, rows=rows)


# --- names and bytes ---------------------------------------------------------------------------------


def _take_name(folder: Path, day: int) -> Path:
    """A name that no file has. It is ours while its draft is there: other ledgers may archive to the same folder."""
    date = datetime.fromtimestamp(day * 86_400, UTC).date()
    names = (folder / f"records-{date}-{number:03}.parquet" for number in count(1))
    return next(name for name in names if not name.exists() and _is_taken(name))


def _is_taken(target: Path) -> bool:
    draft = draft_of(target)
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _OWNER_ONLY))
    except FileExistsError:
        return False
    if target.exists():  # whoever had the name published it after we had looked
        draft.unlink()
        return False
    return True


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# Bytes go through memory, a few MB, for the package panics where a disk fails, and that is no Exception.


def _read(path: Path) -> "Table":
    """A whole file. Raises ConfigError."""
    from arro3.io import read_parquet

    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    if not content.startswith(_MAGIC) or not content.endswith(_MAGIC):
        raise ConfigError(f"{path} is no whole Parquet file.")
    try:
        return read_parquet(BytesIO(content)).read_all()
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ConfigError(f"{path} is damaged: its end is that of a Parquet file, the rest is not.") from None
        raise


def _parquet(rows: Sequence[Row], ledger: str) -> bytes:
    from arro3.io import write_parquet

    buffer = BytesIO()
    write_parquet(_table(rows), buffer, compression="zstd(3)", key_value_metadata={_MARK: ledger})
    return buffer.getvalue()


def _table(rows: Sequence[Row]) -> "Table":
    """Columns under the names of the ledger's; nothing in it is converted."""
    from arro3.core import Array, DataType, Field, Schema, Table

    of = {**dict.fromkeys(INTEGERS, DataType.int64()), **dict.fromkeys(REALS, DataType.float64())}
    types = {name: of.get(name, DataType.utf8()) for name in COLUMNS}
    columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True))
    arrays = [Array(values, type=types[name]) for name, values in zip(COLUMNS, columns, strict=True)]
    fields = [Field(name, types[name], nullable=True) for name in COLUMNS]
    return Table.from_arrays(arrays, schema=Schema(fields))
