"""AmendmentFile: what this process knows of the amendments in the ledger's file, and how they are written there."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from farthing.errors import LedgerUnavailable
from farthing.money import Nano
from farthing.ports import Clock
from ledger.amendments import Raise, Run
from ledger.schema import Connect, connect_reading, connect_waiting, read_statements

SQL: Final = read_statements("amendments")
_LEAST_VERSION: Final = -1


class Balance(NamedTuple):
    """An account as it stands, nano-dollars."""

    cap: int
    spent: int
    held: int


class AmendmentFile:
    """The Amendments of the ledger at `path`, which must exist. Belongs to the event loop: its look-ups are of a few
    rows and never wait, neither for the disk's other readers nor for writers."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self.version = _LEAST_VERSION
        self._raises: tuple[Raise, ...] = ()
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=0, isolation_level=None, check_same_thread=False
        )

    def refresh(self) -> bool:
        """Look for changes; True where there were any. Raises LedgerUnavailable."""
        version = int(self._ask("version")[0][0])
        if version == self.version:
            return False
        self._raises = tuple(raise_of(row) for row in self._ask("live_raises", self._clock.wall_ns()))
        self.version = version
        return True

    def raises(self) -> tuple[Raise, ...]:
        """See the port."""
        return self._raises

    def run(self, tenant: str, name: str) -> Run | None:
        """See the port."""
        rows = self._ask("run", tenant, name)
        return run_of(rows[0]) if rows else None

    def balances(self, accounts: Sequence[str]) -> Mapping[str, Balance]:
        """Those of the accounts on which something was drawn. Raises LedgerUnavailable."""
        rows = self._ask("balances", msgspec.json.encode(accounts).decode())
        return {row[0]: Balance(*row[1:]) for row in rows}

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()

    def _ask(self, name: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(SQL[name], values).fetchall()
        except sqlite3.Error as error:
            raise unreadable(self._path, error) from error


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for questions; may wait. Raises LedgerUnavailable."""
    with _connected(connect_reading, path) as connection:
        yield connection


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for single statements that change nothing which other processes keep in memory; may wait. Raises
    LedgerUnavailable."""
    with _connected(connect_waiting, path) as connection:
        yield connection


@contextmanager
def _connected(connect: Connect, path: Path) -> Iterator[sqlite3.Connection]:
    try:
        connection = connect(path)
        try:
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise unreadable(path, error) from error


@contextmanager
def changing(path: Path) -> Iterator[sqlite3.Connection]:
    """A transaction that counts as an amendment: other processes see it at their next look. May wait, so for threads.

    Raises LedgerUnavailable, with nothing done.
    """
    with writing(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute(SQL["count_change"])
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def raise_of(row: tuple[Any, ...]) -> Raise:
    """A row of `raises`."""
    id_, budget, scope, amount, made_ns, until_ns, ended_ns, author, reason = row
    return Raise(
        id=id_,
        budget=budget,
        scope=scope,
        amount=Nano(amount),
        made_ns=made_ns,
        until_ns=until_ns,
        ended_ns=ended_ns,
        author=author,
        reason=reason,
    )


def run_of(row: tuple[Any, ...]) -> Run:
    """A row of `runs`."""
    tenant, name, cap, feature, author, opened_ns, until_ns, closed_ns, refused = row
    return Run(
        tenant=tenant,
        name=name,
        cap=None if cap is None else Nano(cap),
        feature=feature,
        author=author,
        opened_ns=opened_ns,
        until_ns=until_ns,
        closed_ns=closed_ns,
        refused=None if refused is None else Nano(refused),
    )


def unreadable(path: Path, error: Exception) -> LedgerUnavailable:
    """The error of a file that does not answer."""
    return LedgerUnavailable(f"The ledger {path.name} does not answer ({error}): try again shortly.")
