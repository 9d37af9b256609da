"""Database: where a ledger's tables are, and how everything but the hot path asks them.

Statements are written once, in the SQL that SQLite and PostgreSQL share; what an engine says otherwise is its Session's
business. All of it blocks: for threads and the command line, never for the event loop.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Protocol

Values = Sequence[Any] | Mapping[str, Any]
"""What is bound to a statement: in order for `?`, by name for `:name`."""

_SQL: Final = Path(__file__).parent / "sql"


class Cursor(Protocol):
    """The rows that a statement gave."""

    @property
    def rowcount(self) -> int:
        """Rows that were written."""

    def fetchone(self) -> Any:
        """The next row, None after the last."""

    def fetchall(self) -> list[Any]:
        """The rows that are left."""

    def __iter__(self) -> Iterator[Any]: ...


class Session(Protocol):
    """A connection with the ledger's tables in sight."""

    def execute(self, statement: str, values: Values = ()) -> Cursor:
        """Run one statement."""

    def executemany(self, statement: str, rows: Sequence[Values]) -> Cursor:
        """Run it for each row; `rowcount` is that of all."""

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing, and nobody else writes meanwhile, gateways included: so it has to be short."""


class Database(Protocol):
    """A ledger's tables."""

    @property
    def label(self) -> str:
        """What messages call it; never has a password."""

    def reading(self) -> AbstractContextManager[Session]:
        """One snapshot, in which nothing can be written. Raises LedgerUnavailable, also for what happens inside."""

    def working(self) -> AbstractContextManager[Session]:
        """A session in which each statement is a transaction, unless `transaction` holds some together. Waits for
        other writers. Raises LedgerUnavailable, also for what happens inside."""

    def exclusively(self, job: str) -> AbstractContextManager[None]:
        """One process at a time does this job. Raises ConfigError where another one is at it."""

    def sizes(self) -> tuple[int, int | None]:
        """Bytes of the tables, and of a log beside them if the engine has one of its own. Raises LedgerUnavailable."""

    def problem(self) -> str:
        """Why nothing can be written at present; empty where it can, as far as can be told without writing."""

    def is_there(self) -> bool:
        """Whether a gateway has made the tables; raises LedgerUnavailable where that cannot be told."""


def read_statements(name: str) -> Mapping[str, str]:
    """The statements of `sql/NAME.sql` by the name in the comment `-- name: NAME` above each."""
    text = (_SQL / f"{name}.sql").read_text(encoding="utf-8")
    parts = (part.partition("\n") for part in text.split("-- name: ")[1:])
    return {head.strip(): body.strip() for head, _, body in parts}
