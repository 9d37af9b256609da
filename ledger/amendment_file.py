"""AmendmentFile: what this process knows of the amendments in the ledger's SQLite file."""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from farthing.errors import LedgerUnavailable
from farthing.ports import Clock
from ledger.amendment_rows import SQL, raise_of, run_of
from ledger.amendments import Drawn, Raise, Run

_LEAST_VERSION: Final = -1


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

    async def refresh(self) -> bool:
        """See the port."""
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

    async def know(self, tenant: str, name: str) -> None:
        """See the port: here `run` asks the file."""

    async def balances(self, accounts: Sequence[str]) -> Mapping[str, Drawn]:
        """See the port."""
        rows = self._ask("balances", msgspec.json.encode(accounts).decode())
        return {row[0]: Drawn(*row[1:]) for row in rows}

    async def close(self) -> None:
        """See the port."""
        self._connection.close()

    def _ask(self, name: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(SQL[name], values).fetchall()
        except sqlite3.Error as error:
            raise unreadable(self._path, error) from error


def unreadable(path: Path, error: Exception) -> LedgerUnavailable:
    """The error of a file that does not answer."""
    return LedgerUnavailable(f"The ledger {path.name} does not answer ({error}): try again shortly.")
