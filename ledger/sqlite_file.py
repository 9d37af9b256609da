"""SQLiteFile: the port Database on one SQLite file, its connections and its migrations."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from farthing.errors import ConfigError, LedgerUnavailable
from ledger import leases
from ledger.rollups import bucket_of

Connect = Callable[[Path], "FileSession"]
"""Opens a connection to the file at a path; the hook by which tests bring failing disks."""

_MIGRATIONS: Final = Path(__file__).parent / "migrations" / "sqlite"
_SYNCHRONOUS: Final = ("normal", "full")
_WAIT_S: Final = 5.0
"""How long a session waits for other writers before it fails."""
_LOG_PAGES: Final = 1_000
"""Of 4 KiB; a session that works alone copies the log when it has so many, as SQLite does by itself."""


class FileSession(sqlite3.Connection):
    """The port Session: a connection of sqlite3, with one name for transactions."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See the port."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self.in_transaction:  # SQLite has already rolled back after some disk errors
                self.execute("ROLLBACK")
            raise


@dataclass(frozen=True, slots=True)
class SQLiteFile:
    """The ledger at `path`."""

    path: Path

    @property
    def label(self) -> str:
        """See the port."""
        return str(self.path)

    @contextmanager
    def reading(self) -> Iterator[FileSession]:
        """See the port."""
        with self._told("read"), closing(connect_reading(self.path)) as session:
            session.execute("BEGIN")
            yield session

    @contextmanager
    def working(self) -> Iterator[FileSession]:
        """See the port."""
        with self._told("written"), closing(connect_waiting(self.path)) as session:
            session.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")  # perhaps no gateway runs that would do it
            yield session

    @contextmanager
    def exclusively(self, job: str) -> Iterator[None]:
        """See the port."""
        folder = instances(self.path)
        folder.mkdir(parents=True, exist_ok=True)
        lease = leases.acquire(folder, job)
        if lease is None:
            raise ConfigError(f"Another {job} run works on {self.path}: wait for its end.")
        try:
            yield
        finally:
            lease.release()

    def sizes(self) -> tuple[int, int | None]:
        """See the port."""
        return _size(self.path), _size(self.path.with_name(self.path.name + "-wal"))

    def problem(self) -> str:
        """See the port."""
        return "" if os.access(self.path, os.W_OK) else f"{self.path} cannot be written"

    def is_there(self) -> bool:
        """See the port."""
        return self.path.is_file()

    @contextmanager
    def _told(self, done: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerUnavailable(
                f"The ledger {self.path} cannot be {done} ({error}): check the disk, its "
                "permissions, and that this version of the gateway has run once."
            ) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def instances(path: Path) -> Path:
    """The folder of the leases of those who have the file open."""
    return path.with_name(path.name + ".instances")


def connector(synchronous: str) -> Connect:
    """How the hot path connects. `synchronous` is `normal` (a commit survives the death of the process) or `full`
    (and a power cut, for a disk flush at every commit). Raises ConfigError."""
    if synchronous not in _SYNCHRONOUS:
        raise ConfigError(f"ledger.synchronous must be one of {', '.join(_SYNCHRONOUS)}, not '{synchronous}'.")

    def connect(path: Path) -> FileSession:
        connection = _connect(str(path), timeout=0, cached_statements=64)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA cache_size = -16000")  # KiB
        return connection

    return connect


def connect_waiting(path: Path, wait_s: float = _WAIT_S) -> FileSession:
    """A session that may wait for other writers, and leaves the log to the Checkpointer."""
    session = _connect(str(path), timeout=wait_s)
    session.execute("PRAGMA wal_autocheckpoint = 0")
    return session


def connect_reading(path: Path) -> FileSession:
    """A session that cannot write. Raises sqlite3.OperationalError where there is no such file."""
    return _connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_WAIT_S)


def _connect(address: str, **how: Any) -> FileSession:
    session = sqlite3.connect(address, isolation_level=None, check_same_thread=False, factory=FileSession, **how)
    session.create_function("cost_bucket", 1, bucket_of, deterministic=True)
    return session


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
    migrations = sorted(_MIGRATIONS.glob("*.sql"))
    connection.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)")
    row = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    done = int(row[0]) if row else 0
    if done > len(migrations):
        raise ConfigError(
            f"{path} has ledger schema {done}, this Farthing knows {len(migrations)}: it was written by a newer "
            "version. Upgrade Farthing, or point `data_dir` elsewhere."
        )
    for number, migration in enumerate(migrations[done:], start=done + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{migration.read_text(encoding='utf-8')}\n"
            f"INSERT OR REPLACE INTO meta VALUES ('schema', '{number}');\nCOMMIT;"
        )
