"""The ledger's file: its connections, its named statements and its migrations."""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from farthing.errors import ConfigError

Connect = Callable[[Path], sqlite3.Connection]
"""Opens a connection to the file at a path; the hook by which tests bring failing disks."""

_HERE: Final = Path(__file__).parent
_SYNCHRONOUS: Final = ("normal", "full")


def read_statements(name: str) -> Mapping[str, str]:
    """The statements of `sql/NAME.sql` by the name in the comment `-- name: NAME` above each."""
    text = (_HERE / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    parts = (part.partition("\n") for part in text.split("-- name: ")[1:])
    return {head.strip(): body.strip() for head, _, body in parts}


STATEMENTS: Final = read_statements("statements")


def connector(synchronous: str) -> Connect:
    """How the hot path connects. `synchronous` is `normal` (a commit survives the death of the process) or `full`
    (and a power cut, for a disk flush at every commit). Raises ConfigError."""
    if synchronous not in _SYNCHRONOUS:
        raise ConfigError(f"ledger.synchronous must be one of {', '.join(_SYNCHRONOUS)}, not '{synchronous}'.")

    def connect(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(
            path, isolation_level=None, timeout=0, cached_statements=64, check_same_thread=False
        )
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA cache_size = -16000")  # KiB
        return connection

    return connect


def connect_waiting(path: Path, busy_ms: int = 5_000) -> sqlite3.Connection:
    """A connection that may wait for other writers: for threads, never for the event loop."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=busy_ms / 1000, check_same_thread=False)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def connect_reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Raises sqlite3.OperationalError where there is no such file."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)


def prepare(path: Path) -> None:
    """Create the file or bring it to the present schema; callers see to it that one process at a time does it.

    Raises ConfigError for a file written by a newer Farthing, sqlite3.Error where the disk does not allow it.
    """
    connection = connect_waiting(path)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        _migrate(connection, path)
    finally:
        connection.close()


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    migrations = sorted((_HERE / "migrations").glob("*.sql"))
    connection.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)")
    row = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    done = int(row[0]) if row else 0
    if done > len(migrations):
        raise ConfigError(
            f"{path} has ledger schema {done}, this Farthing knows {len(migrations)}: it was written by a newer "
            "version. Upgrade Farthing, or point `ledger.path` at another file."
        )
    for number, migration in enumerate(migrations[done:], start=done + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{migration.read_text(encoding='utf-8')}\n"
            f"INSERT OR REPLACE INTO meta VALUES ('schema', '{number}');\nCOMMIT;"
        )
