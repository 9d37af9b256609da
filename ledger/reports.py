"""Reports: questions to the ledger in sessions that cannot write; they block, so for threads and the CLI.

Spend is told from the roll-ups for the whole hours of a period and from the records for the rest, in one snapshot.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from farthing.errors import InvalidParameter
from farthing.hold import Account
from farthing.money import Nano
from farthing.record import CacheOutcome, Record
from farthing.usage import TOKEN_CLASSES, Usage, UsageSource
from ledger.database import Database, Session, read_statements
from ledger.rollups import HOUR_NS, KEY_BITS
from ledger.rows import COLUMNS, record_of
from ledger.spans import Range, Spans, spans

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
    "day": "received_ns",
    "endpoint": "endpoint",
}
"""What spend can be grouped and filtered by, and the column for it. `day` is the UTC date of its column."""

DAY: Final = "strftime('%Y-%m-%d', {seconds}, 'unixepoch')"
"""The UTC date of so many seconds since 1970."""

_STATEMENTS: Final = read_statements("reports")
_ROLLED_UP_SINCE_SCHEMA: Final = 2
_ADJUSTED_SINCE_SCHEMA: Final = 3
_HITS: Final = "({})".format(", ".join(f"'{outcome.value}'" for outcome in CacheOutcome if outcome.is_hit))
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
    database: Database,
    *,
    by: Sequence[str],
    since_ns: int,
    until_ns: int,
    where: Mapping[str, str] = _NOWHERE,
    limit: int = 1_000,
) -> list[SpendRow]:
    """Requests received in [since_ns, until_ns), grouped by dimensions, dearest first.

    At most `limit` rows: the last then folds the rest under `__other__`, so the rows always sum to the total.
    Raises InvalidParameter for an unknown dimension, LedgerUnavailable where it cannot be read.
    """
    with database.reading() as session:
        return spend_in(session, by=by, since_ns=since_ns, until_ns=until_ns, where=where, limit=limit)


def totals(database: Database, *, since_ns: int, until_ns: int, where: Mapping[str, str] = _NOWHERE) -> SpendRow:
    """All requests received in [since_ns, until_ns) as one row; zeros where there are none."""
    rows = spend(database, by=(), since_ns=since_ns, until_ns=until_ns, where=where)
    return rows[0] if rows else _spend_row(("[]", *[0] * (5 + len(TOKEN_CLASSES))), 0)


def spend_in(
    session: Session,
    *,
    by: Sequence[str],
    since_ns: int,
    until_ns: int,
    where: Mapping[str, str] = _NOWHERE,
    limit: int = 1_000,
) -> list[SpendRow]:
    """`spend` on a session that has a transaction open, so that other questions see the same moment."""
    for name in (*by, *where):
        _check_dimension(name)
    sources = _sources(read_state(session), by, since_ns, until_ns, where)
    if not sources:  # a period without an instant
        return []
    names = ["everything", *(f"key_{place}" for place in range(len(by)))]
    statement = _STATEMENTS["spend"].format(
        sources="\nUNION ALL\n".join(sources),
        keys=f"json_array({', '.join(names[1:])})",
        names=", ".join(names),
        classes=_CLASSES,
        sums=_SUMS,
    )
    values = {f"where_{name}": value for name, value in where.items()}
    rows = session.execute(statement, {**values, "row_limit": max(limit, 1)}).fetchall()
    return [_spend_row(row, len(by)) for row in rows]


@dataclass(frozen=True, slots=True)
class State:
    """What of a ledger decides how a report may be answered: whether its roll-ups are complete, whether it knows
    corrections, and the wall ns before which its records are in an archive (0: none are).
    `days_until` as in the roll-ups."""

    rolled_up: bool
    adjusted: bool
    archived_ns: int
    days_until: int


def read_state(session: Session) -> State:
    """The state of a ledger, be it one that an older Farthing wrote."""
    meta = dict(session.execute(_STATEMENTS["state"]).fetchall())
    schema = int(meta["schema"])
    rolled_up = schema >= _ROLLED_UP_SINCE_SCHEMA and "rollups_pending" not in meta
    adjusted = schema >= _ADJUSTED_SINCE_SCHEMA
    return State(
        rolled_up=rolled_up,
        adjusted=adjusted,
        archived_ns=int(meta.get("archived_ns", 0)),
        days_until=int(meta.get("days_until", 0)),
    )


def _sources(state: State, by: Sequence[str], since_ns: int, until_ns: int, where: Mapping[str, str]) -> list[str]:
    """The selects that together see each request of the period once."""
    if not state.rolled_up:
        names = ("spend_of_records", "spend_of_adjustments") if state.adjusted else ("spend_of_records",)
        return [_source(name, by, where, (since_ns, until_ns)) for name in names]
    if "run" in by or "run" in where:
        if since_ns < state.archived_ns:
            raise _archived(state)
        cut = Spans((), (), ((since_ns, until_ns),))
    else:
        # Of what is archived only whole hours are known: an hour belongs to the period in which it begins.
        since, until = (at - at % HOUR_NS if at < state.archived_ns else at for at in (since_ns, until_ns))
        cut = spans(since, until, state.days_until)
    return [
        *(_source("spend_of_adjustments", by, where, span) for span in cut.rest),
        *(_source("spend_of_adjusted", by, where, span, _ADJUSTED_HOURS) for span in cut.hours),
        *(_source("spend_of_adjusted", by, where, span, _ADJUSTED_DAYS) for span in cut.days),
        *(_source("spend_of_records", by, where, span) for span in cut.rest),
        *(_source("spend_of_sums", by, where, span, _HOURS) for span in cut.hours),
        *(_source("spend_of_sums", by, where, span, _DAYS) for span in cut.days),
    ]


_NANOSECONDS: Final = ("records", "received_ns / 1000000000", 0)
_HOURS: Final = ("rollup_hours", "(sums.id >> 32) * 3600", KEY_BITS)
_DAYS: Final = ("rollup_days", "(sums.id >> 32) * 86400", KEY_BITS)
_ADJUSTED_HOURS: Final = ("adjusted_hours", *_HOURS[1:])
_ADJUSTED_DAYS: Final = ("adjusted_days", *_DAYS[1:])


def _source(
    name: str, by: Sequence[str], where: Mapping[str, str], span: Range, table: tuple[str, str, int] = _NANOSECONDS
) -> str:
    """One select: `table` is the one it reads, its time in seconds, and the bits below the time in what is compared."""
    shift = table[2]
    columns = {**DIMENSIONS, "day": DAY.format(seconds=table[1])}
    keys = ["''", *(columns[dimension] for dimension in by)]
    return _STATEMENTS[name].format(
        columns=", ".join(keys),
        conditions="".join(f" AND {columns[dimension]} = :where_{dimension}" for dimension in where),
        table=table[0],
        since=span[0] << shift,
        until=span[1] << shift,
        hit=_HITS,
        classes=_CLASSES,
        zeros=", ".join("0" * len(TOKEN_CLASSES)),
    )


def _archived(state: State) -> InvalidParameter:
    day = datetime.fromtimestamp(state.archived_ns // 10**9, UTC).date()
    return InvalidParameter(
        f"Records of before {day} are in an archive, and sums by run are not kept: ask since {day}, or read the "
        "archive's files.",
        param="since",
    )


def record(database: Database, request_id: str) -> Record | None:
    """The record of one request."""
    with database.reading() as session:
        statement = _STATEMENTS["record"].format(columns=", ".join(COLUMNS))
        row = session.execute(statement, {"id": request_id}).fetchone()
    return record_of(row) if row else None


def recent(database: Database, limit: int = 50) -> list[Record]:
    """The latest records, newest first; at most 1,000."""
    with database.reading() as session:
        statement = _STATEMENTS["recent"].format(columns=", ".join(COLUMNS))
        rows = session.execute(statement, {"row_limit": max(0, min(limit, 1_000))}).fetchall()
    return [record_of(row) for row in rows]


def open_holds(database: Database) -> int:
    """How many calls have money set aside."""
    with database.reading() as session:
        return int(session.execute(_STATEMENTS["open_holds"]).fetchone()[0])


def budget_states(database: Database, *, now_ns: int, budget: str = "", limit: int = 1_000) -> list[BudgetState]:
    """The accounts whose window has not ended at `now_ns`, fullest first; of one budget where one is named."""
    now = datetime.fromtimestamp(now_ns // 10**9, UTC).isoformat()
    with database.reading() as session:
        rows = session.execute(
            _STATEMENTS["budget_states"], {"budget": budget, "now": now, "row_limit": max(limit, 1)}
        ).fetchall()
    return [_budget_state(*row) for row in rows]


def _check_dimension(name: str) -> None:
    if name not in DIMENSIONS:
        known = ", ".join(DIMENSIONS)
        raise InvalidParameter(f"Spend cannot be grouped by '{name}', only by {known}.", param="by")


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
