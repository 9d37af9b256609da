"""Reports: questions to the ledger file, on connections that cannot write; sync, so for threads and the CLI."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from farthing.errors import InvalidParameter, LedgerUnavailable
from farthing.hold import Account
from farthing.money import Nano
from farthing.record import Record
from farthing.usage import TOKEN_CLASSES, Usage, UsageSource
from ledger.rows import COLUMNS, record_of
from ledger.schema import connect_reading, read_statements

OTHER: Final = "__other__"
"""The key under which groups beyond the row limit are folded."""

DIMENSIONS: Final[Mapping[str, str]] = {
    "feature": "feature",
    "task": "task",
    "run": "run",
    "key": "key_id",
    "tenant": "tenant",
    "team": "team",
    "environment": "environment",
    "model": "model_served",
    "tier": "tier",
    "provider": "provider",
    "cache": "cache",
    "outcome": "outcome",
    "day": "strftime('%Y-%m-%d', received_ns / 1000000000, 'unixepoch')",
    "endpoint": "endpoint",
}
"""What spend can be grouped and filtered by, and the SQL for it. `day` is a UTC date."""

_STATEMENTS: Final = read_statements("reports")
_CLASSES: Final = ", ".join(TOKEN_CLASSES)
_SUMS: Final = ", ".join(f"sum({name}) AS {name}" for name in TOKEN_CLASSES)
_NOWHERE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendRow:
    """One group of requests. `keys` are its values in the order of `by`; `hits` were answered by a cache; `usage`
    sums tokens of every request, those of hits included as they were recorded."""

    keys: tuple[str, ...]
    requests: int
    hits: int
    cost: Nano
    avoided_cache: Nano
    avoided_routing: Nano
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """One account as it stands. `limit` in the account is the cap last used by a hold."""

    account: Account
    spent: Nano
    held: Nano

    @property
    def left(self) -> Nano:
        """What may still be held; never negative."""
        return Nano(max(self.account.limit - self.spent - self.held, 0))


def spend(
    path: Path,
    *,
    by: Sequence[str],
    since_ns: int,
    until_ns: int,
    where: Mapping[str, str] = _NOWHERE,
    limit: int = 1_000,
) -> list[SpendRow]:
    """Requests received in [since_ns, until_ns), grouped by dimensions, dearest first.

    At most `limit` rows: the last then folds the rest under `__other__`, so the rows always sum to the total.
    Raises InvalidParameter for an unknown dimension, LedgerUnavailable where the file cannot be read.
    """
    keys = ", ".join(_column(name) for name in by)
    conditions = "".join(f" AND {_column(name)} = :where_{name}" for name in where)
    statement = _STATEMENTS["spend"].format(
        keys=f"json_array({keys})", classes=_CLASSES, sums=_SUMS, conditions=conditions
    )
    values = {f"where_{name}": value for name, value in where.items()}
    with _reading(path) as connection:
        rows = connection.execute(
            statement, {**values, "since_ns": since_ns, "until_ns": until_ns, "row_limit": max(limit, 1)}
        ).fetchall()
    return [_spend_row(row, len(by)) for row in rows]


def totals(path: Path, *, since_ns: int, until_ns: int, where: Mapping[str, str] = _NOWHERE) -> SpendRow:
    """All requests received in [since_ns, until_ns) as one row; zeros where there are none."""
    rows = spend(path, by=(), since_ns=since_ns, until_ns=until_ns, where=where)
    return rows[0] if rows else _spend_row(("[]", *[0] * (5 + len(TOKEN_CLASSES))), 0)


def record(path: Path, request_id: str) -> Record | None:
    """The record of one request."""
    with _reading(path) as connection:
        statement = _STATEMENTS["record"].format(columns=", ".join(COLUMNS))
        row = connection.execute(statement, {"id": request_id}).fetchone()
    return record_of(row) if row else None


def recent(path: Path, limit: int = 50) -> list[Record]:
    """The latest records, newest first; at most 1,000."""
    with _reading(path) as connection:
        statement = _STATEMENTS["recent"].format(columns=", ".join(COLUMNS))
        rows = connection.execute(statement, {"row_limit": max(0, min(limit, 1_000))}).fetchall()
    return [record_of(row) for row in rows]


def budget_states(path: Path, *, now_ns: int, budget: str = "", limit: int = 1_000) -> list[BudgetState]:
    """The accounts whose window has not ended at `now_ns`, fullest first; of one budget where one is named."""
    now = datetime.fromtimestamp(now_ns // 10**9, UTC).isoformat()
    with _reading(path) as connection:
        rows = connection.execute(
            _STATEMENTS["budget_states"], {"budget": budget, "now": now, "row_limit": max(limit, 1)}
        ).fetchall()
    return [_budget_state(*row) for row in rows]


def _column(dimension: str) -> str:
    try:
        return DIMENSIONS[dimension]
    except KeyError:
        known = ", ".join(DIMENSIONS)
        raise InvalidParameter(f"Spend cannot be grouped by '{dimension}', only by {known}.", param="by") from None


def _spend_row(row: Sequence[Any], width: int) -> SpendRow:
    shown, requests, hits, cost, avoided_cache, avoided_routing, *tokens = row
    return SpendRow(
        keys=(OTHER,) * width if shown is None else tuple(json.loads(shown)),
        requests=requests,
        hits=hits,
        cost=Nano(cost),
        avoided_cache=Nano(avoided_cache),
        avoided_routing=Nano(avoided_routing),
        usage=Usage(**dict(zip(TOKEN_CLASSES, tokens, strict=True)), source=UsageSource.COMPUTED),
    )


def _budget_state(
    id_: str, budget: str, scope: str, window: str, cap: int, resets_at: str | None, spent: int, held: int
) -> BudgetState:
    account = Account(id=id_, budget=budget, scope=scope, window=window, limit=Nano(cap), resets_at=resets_at)
    return BudgetState(account=account, spent=Nano(spent), held=Nano(held))


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        connection = connect_reading(path)
        try:
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise LedgerUnavailable(
            f"The ledger {path} cannot be read ({error}): check `ledger.path`, and that the gateway has run once."
        ) from error
