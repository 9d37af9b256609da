"""Check: whether roll-ups and accounts say what records and holds say, asked of the tables themselves."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from farthing.catalog import Window
from farthing.errors import ConfigError
from ledger import rollups
from ledger.database import Database, Session, read_statements
from ledger.reports import DIMENSIONS, State, read_state
from ledger.rollups import DAY_NS, FIGURES, HOUR_NS, INFERENCES, SUMMED, read_days_until
from ledger.spans import Spans, spans

_LONGEST_HOURS: Final[Mapping[str, int]] = {
    Window.HOUR.value: 1,
    Window.DAY.value: 25,
    Window.WEEK.value: 7 * 24 + 1,
    Window.MONTH.value: 31 * 24 + 1,
    Window.QUARTER.value: 92 * 24 + 1,
}
"""No turn of a window is longer; the hour more is that of a clock change."""


def _statements() -> dict[str, str]:
    names = {
        "dimensions": ", ".join(rollups.DIMENSIONS),
        "figures": ", ".join(FIGURES),
        "negative": ", ".join(f"-{name}" for name in FIGURES),
        "negative_sums": ", ".join(("-count(*)", *(f"-sum({name})" for name in SUMMED))),
        "sums": ", ".join(f"sum({name})" for name in FIGURES),
        "any": " OR ".join(f"sum({name}) <> 0" for name in FIGURES),
        "inferences": ", ".join(f"'{outcome}'" for outcome in INFERENCES),
        "table": "{table}",
        "unit": "{unit}",
        "conditions": "{conditions}",
    }
    return {name: text.format_map(names) for name, text in read_statements("check").items()}


_STATEMENTS: Final = _statements()
_ADJUSTED: Final = (("adjusted_hours", HOUR_NS), ("adjusted_days", DAY_NS))
_FIRST_DAY: Final = -100_000
"""Before any clock; what is damaged may say any time."""
_DAYS_AT_ONCE: Final = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One figure that is not what it follows from. `excess`: by how much it is too large (tokens, requests or
    nano-dollars); `place` names the table's row, `source` what it follows from."""

    place: str
    figure: str
    excess: int
    source: str

    def __str__(self) -> str:
        more = "more" if self.excess > 0 else "less"
        return f"{self.place}: {self.figure} is {abs(self.excess)} {more} than {self.source}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was looked at and found. `damaged` are the UTC days (since 1970) whose roll-ups are wrong; `unknowable`
    accounts of runs whose records are in an archive."""

    days: int
    accounts: int
    unknowable: int
    damaged: tuple[int, ...]
    differences: tuple[Difference, ...]


def check(database: Database) -> Checked:
    """Compare every roll-up with the records it sums (or, where those are archived, days with hours), what accounts
    hold with the open holds, and what they spent with all that can have been booked to them.

    Each day is seen in one snapshot, so a gateway may write meanwhile. Raises LedgerUnavailable; ConfigError for a
    ledger whose roll-ups are not built yet. Blocks: about 5 s for a million records.
    """
    with database.reading() as session:
        if not read_state(session).rolled_up:
            raise ConfigError(
                f"{database.label} was written by an older Farthing: start the gateway once, which upgrades it."
            )
    differences: list[Difference] = []
    damaged: list[int] = []
    days, first = 0, _FIRST_DAY
    while checked := _check_days(database, first):
        for day, found in checked:
            differences += found
            damaged += [day] if found else []
        days, first = days + len(checked), checked[-1][0] + 1
    accounts, unknowable, found = _check_accounts(database)
    return Checked(
        days=days,
        accounts=accounts,
        unknowable=unknowable,
        damaged=tuple(damaged),
        differences=(*differences, *found),
    )


def repair(database: Database, days: tuple[int, ...]) -> None:
    """Make the roll-ups of these days anew, each in one transaction, which a running gateway waits for. Accounts are
    never touched. Raises LedgerUnavailable."""
    with database.working() as session:
        for day in days:
            with session.transaction():
                if (day + 1) * DAY_NS <= read_state(session).archived_ns:
                    rollups.rebuild_day_from_hours(session, day)
                else:
                    rollups.rebuild_day(session, day)
                _rebuild_adjusted(session, day)


def _rebuild_adjusted(session: Session, day: int) -> None:
    values = {"since_ns": day * DAY_NS, "until_ns": (day + 1) * DAY_NS}
    for table, unit_ns in _ADJUSTED:
        for name in ("forget_adjusted", "rebuild_adjusted"):
            session.execute(_STATEMENTS[name].format(table=table, unit=unit_ns), values)


# --- roll-ups ----------------------------------------------------------------------------------------


def _check_days(database: Database, first: int) -> list[tuple[int, list[Difference]]]:
    """Some days from `first` on and what is wrong with each; none where there are no more. A session for some of them:
    one for each would cost a new connection, one for all would keep what was written meanwhile from being tidied up."""
    checked: list[tuple[int, list[Difference]]] = []
    with database.reading() as session:
        state = read_state(session)
        while len(checked) < _DAYS_AT_ONCE and (day := _next_day(session, first)) is not None:
            checked.append((day, _check_day(session, state, day)))
            first = day + 1
    return checked


def _next_day(session: Session, first: int) -> int | None:
    found = session.execute(_STATEMENTS["next_day"], {"day": first, "since_ns": first * DAY_NS}).fetchone()
    return None if found[0] is None else int(found[0])


def _check_day(session: Session, state: State, day: int) -> list[Difference]:
    values = {
        "day": day,
        "since_ns": day * DAY_NS,
        "until_ns": (day + 1) * DAY_NS,
        "days_until": state.days_until,
    }
    found: list[Difference] = []
    if values["until_ns"] > state.archived_ns:
        rows = session.execute(_STATEMENTS["hours"], values).fetchall()
        found += [difference for row in rows for difference in _of_sums(row, HOUR_NS, "the sum of its records")]
        rows = session.execute(_STATEMENTS["costs"], values).fetchall()
        found += [_of_histogram(*row) for row in rows]
    rows = session.execute(_STATEMENTS["days"], values).fetchall()
    found += [difference for row in rows for difference in _of_sums(row, DAY_NS, "the sum of its hours")]
    for table, unit_ns in _ADJUSTED:
        rows = session.execute(_STATEMENTS["adjusted"].format(table=table, unit=unit_ns), values).fetchall()
        found += [_of_adjustments(row, unit_ns) for row in rows]
    return found


def _of_sums(row: tuple[Any, ...], unit_ns: int, source: str) -> Iterator[Difference]:
    at, key, *excesses = row
    place = _place(at * unit_ns, key)
    for figure, excess in zip(FIGURES, excesses, strict=True):
        if excess:
            yield Difference(place=place, figure=figure, excess=excess, source=source)


def _of_adjustments(row: tuple[Any, ...], unit_ns: int) -> Difference:
    at, key, excess = row
    place, source = _place(at * unit_ns, key), "the sum of its adjustments"
    return Difference(place=place, figure="the correction", excess=excess, source=source)


def _place(at_ns: int, key: str) -> str:
    named = zip(rollups.DIMENSIONS, json.loads(key), strict=True)
    return f"{_moment(at_ns)} {', '.join(f'{name}={value}' for name, value in named if value)}"


def _of_histogram(day: int, group: str, excess: int) -> Difference:
    about = ", ".join(f"{name}={value}" for name, value in zip(rollups.GROUP, json.loads(group), strict=True) if value)
    place = f"{_moment(day * DAY_NS)} {about}"
    return Difference(place=place, figure="a count of the histogram", excess=excess, source="that of its records")


def _moment(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // 10**9, UTC).strftime("%Y-%m-%dT%HZ")


# --- accounts ----------------------------------------------------------------------------------------


def _check_accounts(database: Database) -> tuple[int, int, list[Difference]]:
    """Accounts seen, those of which nothing can be said, and what is wrong."""
    with database.reading() as session:
        found = [
            Difference(place=f"account {id_}", figure="held", excess=excess, source="its open holds")
            for id_, excess in session.execute(_STATEMENTS["held"]).fetchall()
        ]
        accounts = session.execute(_STATEMENTS["accounts"]).fetchall()
        unknowable = 0
        for id_, scope, window, resets_at, spent in accounts:
            bound = _most_booked(session, scope, window, resets_at)
            if bound is None:
                unknowable += 1
            elif spent > bound:
                place, source = f"account {id_}", "all records that it can have been charged for"
                found.append(Difference(place=place, figure="spent", excess=spent - bound, source=source))
    return len(accounts), unknowable, found


def _most_booked(session: Session, scope: str, window: str, resets_at: str | None) -> int | None:
    """The cost of all records of the account's scope that were received around its window. An upper bound: budgets
    may be younger than their window, whose turns are taken at their longest."""
    pairs = [pair.partition("=")[::2] for pair in scope.split(",")] if scope != "all" else []
    values: dict[str, Any] = {f"where_{name}": value for name, value in pairs}
    conditions = "".join(f" AND {DIMENSIONS[name]} = :where_{name}" for name, _ in pairs)
    if any(name == "run" for name, _ in pairs):
        if read_state(session).archived_ns:
            return None
        conditions += " AND run <> ''"  # else SQLite does not see that the index of runs will do
        statement = _STATEMENTS["spent_of_records"].format(conditions=conditions)
    else:
        cut = _around(window, resets_at, read_days_until(session))
        spent = 0
        for table, ranges in (("rollup_hours", cut.hours), ("rollup_days", cut.days)):
            statement = _STATEMENTS["spent_of_sums"].format(table=table, conditions=conditions)
            for first, last in ranges:
                spent += session.execute(statement, {**values, "first": first, "last": last}).fetchone()[0]
        return spent
    return int(session.execute(statement, values).fetchone()[0])


def _around(window: str, resets_at: str | None, days_until: int) -> Spans:
    """The whole hours and days that touch the window."""
    if resets_at is None:
        return spans(0, 2**30 * HOUR_NS, days_until)
    end_ns = int(datetime.fromisoformat(resets_at).timestamp()) * 10**9
    since_ns = end_ns - _LONGEST_HOURS[window] * HOUR_NS
    return spans(since_ns // HOUR_NS * HOUR_NS, -(-end_ns // HOUR_NS) * HOUR_NS, days_until)
