"""Roll-ups: sums by hour and day, and a histogram of costs, kept in the transaction that writes the records.

A day is summed up from its hours once it is over. Exact integers; periods are UTC. `run` is no dimension: it has as
many values as there are runs.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

from farthing.record import Outcome
from farthing.usage import TOKEN_CLASSES
from ledger.database import Session, read_statements
from ledger.rows import COLUMNS, Row

HOUR_NS: Final = 3_600 * 10**9
DAY_NS: Final = 24 * HOUR_NS
KEY_BITS: Final = 32
"""The id of a sum is its hour or day, then so many bits of `rollup_keys.id`."""
BUCKET_BITS: Final = 10
GROUP_BITS: Final = 32
"""The id of a histogram cell is its day, then so many bits of `cost_groups.id`, then those of the bucket."""

DIMENSIONS: Final = (
    "tenant",
    "key_id",
    "feature",
    "task",
    "environment",
    "team",
    "endpoint",
    "outcome",
    "model_served",
    "provider",
    "tier",
    "cache",
)
"""The columns of records by which sums are kept; with them any report can be told but those by `run`."""
GROUP: Final = ("feature", "tier", "model_served")
"""The columns of records by which the histogram is kept."""
SUMMED: Final = ("cost", "avoided_cache", "avoided_routing", *TOKEN_CLASSES)
FIGURES: Final = ("requests", *SUMMED)
INFERENCES: Final = (Outcome.SUCCESS.value, Outcome.ABORTED.value, Outcome.LOST.value)
"""An inference is a request that ended in one of these ways, or that cost something."""

dimensions_of: Final = itemgetter(*map(COLUMNS.index, DIMENSIONS))
"""The values of DIMENSIONS in a row of records."""
_summed_of: Final = itemgetter(*map(COLUMNS.index, SUMMED))
_group_of: Final = itemgetter(*map(DIMENSIONS.index, GROUP))
_RECEIVED: Final = COLUMNS.index("received_ns")
_OUTCOME: Final = DIMENSIONS.index("outcome")
_DAY_SHIFT: Final = GROUP_BITS + BUCKET_BITS
_MOST_REMEMBERED: Final = 20_000


def _statements() -> dict[str, str]:
    names = {
        "dimensions": ", ".join(DIMENSIONS),
        "of_record": ", ".join(f"records.{name}" for name in DIMENSIONS),
        "equal": " AND ".join(f"{name} = ?" for name in DIMENSIONS),
        "figures": ", ".join(FIGURES),
        "sums": ", ".join(f"sum({name})" for name in SUMMED),
        "added": ", ".join(f"{name} = {{table}}.{name} + excluded.{name}" for name in FIGURES),
        "inferences": ", ".join(f"'{outcome}'" for outcome in INFERENCES),
    }
    texts = read_statements("rollups")
    made = {name: text.format_map({**names, "places": "{places}", "table": "{table}"}) for name, text in texts.items()}
    made["add_key"] = made["add_key"].format(places=", ".join("?" * len(DIMENSIONS)))
    places = ", ".join("?" * len(FIGURES))
    for table in ("rollup_hours", "rollup_days"):
        made[f"add_{table}"] = made["add_sums"].format(places=places, table=table)
    return made


_STATEMENTS: Final = _statements()
_ADD_HOURS: Final = _STATEMENTS["add_rollup_hours"]
_ADD_DAYS: Final = _STATEMENTS["add_rollup_days"]
_ADD_COSTS: Final = _STATEMENTS["add_costs"]
_DAYS_UNTIL: Final = _STATEMENTS["days_until"]


def bucket_of(cost: int) -> int:
    """The bucket of a cost in nano-dollars: below 32 its own, above 16 for each doubling."""
    shift = max(cost.bit_length() - 5, 0)
    return shift * 16 + (cost >> shift)


def cost_of(bucket: int) -> int:
    """The middle of a bucket, nano-dollars: within 1/32 (3.2 %) of every cost in it."""
    if bucket < 32:
        return bucket
    shift, top = bucket // 16 - 1, bucket % 16 + 16
    return (top << shift) + ((1 << shift) >> 1)


Key = tuple[int, int, bool]
"""The id in rollup_keys, the bits of the cost group in a cell of the histogram, whether even free ones are counted."""


class Keys:
    """The ids of combinations of dimensions, as far as one ledger has met them."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Key] = {}

    def get(self, key: tuple[str, ...]) -> Key | None:
        """What is known of these values of DIMENSIONS."""
        return self._known.get(key)

    def put(self, key: tuple[str, ...], id_: int, group: int) -> Key:
        """Remember ids of `rollup_keys` and `cost_groups`."""
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        found = self._known[key] = id_, group << BUCKET_BITS, key[_OUTCOME] in INFERENCES
        return found

    def find(self, session: Session, key: tuple[str, ...]) -> Key:
        """What is known of values that may be new: then they get their ids in the open transaction."""
        return self._known.get(key) or self.put(key, *_ids_in(session, key))

    def forget(self) -> None:
        """A transaction was rolled back: ids that it made are given to others."""
        self._known.clear()


def _ids_in(session: Session, key: tuple[str, ...]) -> tuple[int, int]:
    found = session.execute(_STATEMENTS["find_key"], key).fetchone()
    if found is None:
        group = _group_of(key)
        session.execute(_STATEMENTS["add_group"], group)
        session.execute(_STATEMENTS["add_key"], (*key, *group))
        found = session.execute(_STATEMENTS["find_key"], key).fetchone()
    return int(found[0]), int(found[1])


class Added:
    """What some new rows of records add to the roll-ups: figures by the id in rollup_hours, inferences by that in
    cost_histogram."""

    __slots__ = ("costs", "hours")

    def __init__(self, rows: Iterable[Row], find: Callable[[tuple[str, ...]], Key]) -> None:
        found: dict[int, list[tuple[int, ...]]] = {}
        costs: list[int] = []
        for row in rows:
            hour, figures = row[_RECEIVED] // HOUR_NS, _summed_of(row)
            id_, group, counts_all = find(dimensions_of(row))
            cell = hour << KEY_BITS | id_
            found.setdefault(cell, []).append(figures)
            cost = figures[0]
            if cost > 0 or counts_all:
                costs.append((hour // 24 << _DAY_SHIFT) + group + bucket_of(cost))
        self.hours = {cell: (len(rows), *map(sum, zip(*rows, strict=True))) for cell, rows in found.items()}
        self.costs = Counter(costs)

    def hour_rows(self) -> list[Row]:
        """Rows of rollup_hours, in an order that is the same for everybody who locks some of them."""
        return [(cell, *figures) for cell, figures in sorted(self.hours.items())]

    def day_rows(self, days_until: int) -> list[Row]:
        """Rows of rollup_days, for days that have been summed up already: several of one day may be among them."""
        first_open = (days_until * 24) << KEY_BITS
        return [(_of_day(cell), *figures) for cell, figures in sorted(self.hours.items()) if cell < first_open]

    def cost_rows(self) -> list[Row]:
        """Rows of cost_histogram."""
        return sorted(self.costs.items())


def add(session: Session, rows: Sequence[Row], keys: Keys) -> None:
    """Count new rows of records in the open transaction; call `keys.forget` where it is rolled back."""
    added = Added(rows, lambda key: keys.find(session, key))
    session.executemany(_ADD_HOURS, added.hour_rows())
    if late := added.day_rows(read_days_until(session)):
        session.executemany(_ADD_DAYS, late)
    if costs := added.cost_rows():
        session.executemany(_ADD_COSTS, costs)


def _of_day(cell: int) -> int:
    """The id in rollup_days for one in rollup_hours."""
    return (cell >> KEY_BITS) // 24 << KEY_BITS | cell & ((1 << KEY_BITS) - 1)


def read_days_until(session: Session) -> int:
    """The UTC day (since 1970) before which days are summed up; what is written for them goes there too."""
    row = session.execute(_DAYS_UNTIL).fetchone()
    return int(row[0]) if row else 0


def close_days(session: Session, now_ns: int) -> None:
    """Sum up the days that are over: a transaction each, so that a gateway waits some milliseconds at midnight."""
    today = now_ns // DAY_NS
    while (day := read_days_until(session)) < today:
        with session.transaction():
            if day == read_days_until(session):  # no other process was faster
                _close_day(session, day, today)


def _close_day(session: Session, day: int, today: int) -> None:
    """Go on to the next day that has sums; if that is before today, sum it up."""
    (hour,) = session.execute(_STATEMENTS["next_hour"], (day * 24,)).fetchone()
    found = today if hour is None else min(hour // 24, today)
    session.execute(_STATEMENTS["set_days_until"], (str(min(found + 1, today)),))
    if found < today:
        rebuild_day_from_hours(session, found)


# --- from the records --------------------------------------------------------------------------------


def rebuild_day(session: Session, day: int) -> None:
    """Make the roll-ups of one UTC day (since 1970) anew from its records, in the open transaction."""
    values: dict[str, Any] = {"day": day, "since_ns": day * DAY_NS, "until_ns": (day + 1) * DAY_NS}
    for name in ("rebuild_groups", "rebuild_keys", "clear_hours", "rebuild_hours", "clear_costs", "rebuild_costs"):
        session.execute(_STATEMENTS[name], values)
    rebuild_day_from_hours(session, day)


def rebuild_day_from_hours(session: Session, day: int) -> None:
    """Make only the sums of the day anew: all that can be done where its records are in an archive."""
    for name in ("clear_days", "rebuild_days"):
        session.execute(_STATEMENTS[name], {"day": day})


def catch_up(session: Session) -> int:
    """Build the roll-ups of records that are older than these tables; returns the number of days it took.

    One transaction a day, so whoever is killed in the middle goes on where it was. Blocks: for threads, and before
    anybody else has the ledger open for writing.
    """
    days = 0
    while (row := session.execute(_STATEMENTS["pending_day"]).fetchone()) is not None:
        _build_next(session, int(row[0]))
        days += 1
    return days


def _build_next(session: Session, day: int) -> None:
    with session.transaction():
        rebuild_day(session, day)
        (next_ns,) = session.execute(_STATEMENTS["next_record"], ((day + 1) * DAY_NS,)).fetchone()
        if next_ns is None:
            session.execute(_STATEMENTS["nothing_pending"])
        else:
            session.execute(_STATEMENTS["set_pending_day"], (str(next_ns // DAY_NS),))
