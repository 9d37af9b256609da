"""Eval file: the SQLite file under the eval results, its schema and its transactions."""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

BUSY_MS: Final = 5_000
HERE: Final = Path(__file__).parent
_TRIES: Final = 1_000
_PAUSE_S: Final = 0.005


def open_file(path: Path) -> sqlite3.Connection:
    """The file at that path, made if missing, at the newest schema. Whoever gets it closes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MS / 1000, check_same_thread=False)
    try:
        _keep_a_log(database)
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA foreign_keys = ON")
        migrate(database)
    except BaseException:
        database.close()
        raise
    return database


class EvalFile:
    """The file at that path, made if missing. Synchronous; one thread at a time; close it."""

    def __init__(self, path: Path) -> None:
        self._database = open_file(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def migrate(database: sqlite3.Connection) -> None:
    """Bring the file to the newest schema; migrations are numbered, and one that ran is never changed."""
    scripts = sorted((HERE / "migrations").glob("*.sql"))
    with Transaction(database):
        (done,) = database.execute("PRAGMA user_version").fetchone()
        if done > len(scripts):
            raise sqlite3.DatabaseError(
                f"the eval results are at schema {done}, this Farthing knows {len(scripts)}: update Farthing"
            )
        for script in scripts[done:]:
            for statement in _statements(script.read_text(encoding="utf-8")):
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {len(scripts)}")


def _statements(script: str) -> list[str]:
    """The statements of a script: executescript() would commit the transaction around them."""
    return [statement for statement in script.split(";\n") if statement.strip()]


class Transaction:
    """BEGIN IMMEDIATE, then COMMIT, or ROLLBACK on an error."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> sqlite3.Connection:
        self._database.execute("BEGIN IMMEDIATE")
        return self._database

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._database.execute("COMMIT" if kind is None else "ROLLBACK")


def insert(
    database: sqlite3.Connection, table: str, rows: Sequence[dict[str, Any]], *, or_ignore: bool = False
) -> None:
    """Insert rows, or (`or_ignore`) those that are not there yet; the table and its columns are named here in the
    code, never by a caller's data."""
    if rows:
        names = ", ".join(rows[0])
        marks = ", ".join(f":{name}" for name in rows[0])
        verb = "INSERT OR IGNORE" if or_ignore else "INSERT"
        with closing(database.executemany(f"{verb} INTO {table} ({names}) VALUES ({marks})", rows)):
            pass


def _keep_a_log(database: sqlite3.Connection) -> None:
    """Turn the file to write-ahead logging. Who meets another process that writes is told at once, whatever its
    patience: two that waited for one another would wait for ever."""
    for _ in range(_TRIES):
        try:
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(_PAUSE_S)
        else:
            return
    database.execute("PRAGMA journal_mode = WAL")
