"""The SQLite file of a cache: losing it costs only money, so speed comes first and a damaged file is begun anew."""

import sqlite3
import time
from importlib.resources import files
from pathlib import Path
from typing import Final

VERSION: Final = 1
"""Of the schemas beside this module; a file with another one is begun anew."""
_TRIES: Final = 1_000
_PAUSE_S: Final = 0.005


def open_file(path: Path, schema: str) -> None:
    """Make sure that `path` holds the tables of `schema` (a file name in this package).

    The file is readable by its owner only, since it holds answers. Raises OSError or sqlite3.OperationalError where
    the place cannot be written.
    """
    try:
        _prepare(path, schema)
    except sqlite3.OperationalError:
        raise
    except (sqlite3.DatabaseError, _AnotherVersion):
        for name in ("", "-wal", "-shm"):
            path.with_name(path.name + name).unlink(missing_ok=True)
        _prepare(path, schema)


class _AnotherVersion(Exception):
    """The file was written by another version of Farthing."""


def _prepare(path: Path, schema: str) -> None:
    path.touch(mode=0o600)
    connection = connect(path, busy_s=5.0)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise _AnotherVersion
        _keep_a_log(connection)
        statements = files("cache.stores").joinpath(schema).read_text("utf-8")
        connection.executescript(f"BEGIN IMMEDIATE;\n{statements}\nPRAGMA user_version = {VERSION};\nCOMMIT;")
    finally:
        connection.close()


def _keep_a_log(connection: sqlite3.Connection) -> None:
    """Turn the file to write-ahead logging. Who meets another process that writes is told at once, whatever its
    patience: two that waited for one another would wait for ever."""
    for _ in range(_TRIES):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(_PAUSE_S)
        else:
            return
    connection.execute("PRAGMA journal_mode = WAL")


def connect(path: Path, *, busy_s: float) -> sqlite3.Connection:
    """A connection in autocommit mode that waits `busy_s` seconds at most for another's lock.

    It may be used from any thread, by one at a time.
    """
    connection = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
    for pragma in ("synchronous = OFF", "secure_delete = FAST", "journal_size_limit = 67108864", "cache_size = -16384"):
        connection.execute(f"PRAGMA {pragma}")
    return connection
