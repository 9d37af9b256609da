"""The rows of the semantic cache in SQLite: prompt, vector and answer, the truth that an index only finds."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cache.stores.file import connect, open_file

_BUSY_S: Final = 0.2

_INSERT: Final = "INSERT INTO entries (scope, prompt, vector, answer, expires_ns) VALUES (?, ?, ?, ?, ?)"
_NEWER: Final = """
    SELECT id, vector FROM entries WHERE scope = ? AND id > ? AND expires_ns > ? ORDER BY id LIMIT ?
"""
_ALIVE: Final = "SELECT id, prompt, answer FROM entries WHERE id = ? AND scope = ? AND expires_ns > ?"
_EXPIRED: Final = "SELECT id, scope FROM entries WHERE expires_ns <= ? ORDER BY expires_ns LIMIT ?"
_OLDEST: Final = """
    SELECT id FROM entries WHERE scope = ? ORDER BY id DESC LIMIT -1 OFFSET ?
"""


@dataclass(frozen=True, slots=True)
class SemanticRow:
    """One stored question; `answer` is a packed entry (`cache.entry`)."""

    id: int
    prompt: str
    answer: bytes


class SQLiteSemanticRows:
    """Blocking; for one thread at a time. Every method raises sqlite3.Error where the file cannot be used."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or make the file; begins anew where it is damaged. Raises OSError if it cannot be written."""
        open_file(path, "semantic.sql")
        return cls(connect(path, busy_s=_BUSY_S))

    def insert(self, scope: bytes, prompt: str, vector: bytes, answer: bytes, *, expires_ns: int) -> int:
        """The id of the new row, higher than any before it."""
        values = (scope, prompt, vector, answer, expires_ns)
        return int(self._connection.execute(_INSERT, values).lastrowid or 0)

    def newer(self, scope: bytes, than: int, now_ns: int, limit: int) -> list[tuple[int, bytes]]:
        """Ids and vectors of the live rows above an id, in order."""
        return self._connection.execute(_NEWER, (scope, than, now_ns, limit)).fetchall()

    def alive(self, scope: bytes, ids: Iterable[int], now_ns: int) -> dict[int, SemanticRow]:
        """Those of the rows that exist in this scope and have not expired."""
        found: dict[int, SemanticRow] = {}
        for wanted in ids:
            for row in self._connection.execute(_ALIVE, (wanted, scope, now_ns)).fetchall():
                found[wanted] = SemanticRow(*row)
        return found

    def expired(self, now_ns: int, limit: int) -> list[tuple[int, bytes]]:
        """Ids and scopes of rows whose time is over, of all scopes."""
        return self._connection.execute(_EXPIRED, (now_ns, limit)).fetchall()

    def beyond(self, scope: bytes, keep: int) -> list[int]:
        """Ids of all but the newest `keep` rows of a scope."""
        return [row_id for (row_id,) in self._connection.execute(_OLDEST, (scope, keep)).fetchall()]

    def delete(self, ids: Sequence[int]) -> None:
        """Forget rows; unknown ids are ignored."""
        if not ids:
            return
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:
            self._connection.executemany("DELETE FROM entries WHERE id = ?", [(row_id,) for row_id in ids])

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
