"""Costs: what one inference costs at the median and at the 99th percentile."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Final

from farthing.errors import InvalidParameter
from farthing.money import Nano
from ledger.database import Database, Session, read_statements
from ledger.reports import read_state
from ledger.rollups import DAY_NS, INFERENCES, cost_of
from ledger.spans import days_around

DIMENSIONS: Final[Mapping[str, str]] = {"feature": "feature", "tier": "tier", "model": "model_served"}
"""What the costs of inferences can be grouped by, and the column of each."""
FEW: Final = 20_000
"""Of so many records the percentiles are taken exactly."""

_STATEMENTS: Final = read_statements("costs")
_INFERENCES: Final = ", ".join(f"'{outcome}'" for outcome in INFERENCES)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow:
    """One group of inferences: requests that a model answered or that cost something. Nano-dollars."""

    keys: tuple[str, ...]
    inferences: int
    median: Nano
    p99: Nano


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    """`rows` by number of inferences, most first. If not `exact`, amounts are within 1/32 (3.2 %) of the true ones and
    the period [since_ns, until_ns) is the whole UTC days that the one asked for touches."""

    exact: bool
    since_ns: int
    until_ns: int
    rows: tuple[CostRow, ...]


def costs(database: Database, *, by: Sequence[str], since_ns: int, until_ns: int, few: int = FEW) -> CostReport:
    """Costs of the inferences received in [since_ns, until_ns), as they were booked: later adjustments are not in.

    Exact where there are at most `few` records, else from the histogram. Raises InvalidParameter for a dimension that
    the histogram does not know, LedgerUnavailable where it cannot be read.
    """
    keys = ", ".join(_column(name) for name in by)
    with database.reading() as session:
        exact = _is_told_exactly(session, since_ns, until_ns, few)
        if exact:
            found = _of_records(session, keys, since_ns, until_ns)
        else:
            first, last = days_around(since_ns, until_ns)
            since_ns, until_ns = first * DAY_NS, last * DAY_NS
            found = _of_histogram(session, keys, first, last)
    rows = [_row(key, [(cost, number) for _, cost, number in group]) for key, group in groupby(found, itemgetter(0))]
    rows.sort(key=lambda row: (-row.inferences, row.keys))
    return CostReport(exact=exact, since_ns=since_ns, until_ns=until_ns, rows=tuple(rows))


def _column(name: str) -> str:
    try:
        return DIMENSIONS[name]
    except KeyError:
        known = ", ".join(DIMENSIONS)
        message = f"Costs of inferences cannot be grouped by '{name}', only by {known}."
        raise InvalidParameter(message, param="by") from None


_Found = Iterable[tuple[str, int, int]]
"""Keys as JSON text, a cost in nano-dollars, how many cost it; in the order of both."""


def _is_told_exactly(session: Session, since_ns: int, until_ns: int, few: int) -> bool:
    state = read_state(session)
    if not state.rolled_up:
        return True
    if since_ns < state.archived_ns:
        return False
    values = {"since_ns": since_ns, "until_ns": until_ns, "most": few}
    return bool(session.execute(_STATEMENTS["few"], values).fetchone()[0] <= few)


def _of_records(session: Session, keys: str, since_ns: int, until_ns: int) -> _Found:
    statement = _STATEMENTS["of_records"].format(keys=keys, inferences=_INFERENCES)
    return session.execute(statement, {"since_ns": since_ns, "until_ns": until_ns}).fetchall()


def _of_histogram(session: Session, keys: str, first: int, last: int) -> _Found:
    statement = _STATEMENTS["of_histogram"].format(keys=keys)
    rows = session.execute(statement, {"first_day": first, "last_day": last}).fetchall()
    return [(key, cost_of(bucket), number) for key, bucket, number in rows]


def _row(keys: str, costs_: Sequence[tuple[int, int]]) -> CostRow:
    inferences = sum(number for _, number in costs_)
    return CostRow(
        keys=tuple(json.loads(keys)),
        inferences=inferences,
        median=_at_rank(costs_, -(-inferences // 2)),
        p99=_at_rank(costs_, -(-inferences * 99 // 100)),
    )


def _at_rank(costs_: Sequence[tuple[int, int]], rank: int) -> Nano:
    """The cost of that rank from the cheapest, 1 being the first."""
    for cost, number in costs_:
        rank -= number
        if rank <= 0:
            return Nano(cost)
    raise AssertionError("the rank is above the number of inferences")
