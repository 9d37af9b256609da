"""Roll-ups: sums by hour and day, and a histogram of costs, kept in the transaction that writes the records.

A day is summed up from its hours once it is over. Exact integers; periods are UTC. `run` is no dimension: it has as
many values as there are runs.
"""

import sqlite3
from collections.abc import Sequence
from operator import add as plus
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import msgspec

from farthing.record import Outcome
from farthing.usage import TOKEN_CLASSES
from ledger.rows import COLUMNS, Row
from ledger.schema import connect_waiting, read_statements

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

_encode: Final = msgspec.json.Encoder().encode
_dimensions_of: Final = itemgetter(*map(COLUMNS.index, DIMENSIONS))
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
        "added": ", ".join(f"{name} = {name} + excluded.{name}" for name in FIGURES),
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


_Key = tuple[int, int, bool]
"""The id in rollup_keys, the bits of the cost group in a cell of the histogram, whether even free ones are counted."""


class Keys:
    """The ids of combinations of dimensions, as far as one ledger has met them."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], _Key] = {}

    def find(self, connection: sqlite3.Connection, key: tuple[str, ...]) -> _Key:
        """What is known of these values of DIMENSIONS, which may be new."""
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            id_, group = _key_in(connection, key)
            found = self._known[key] = id_, group << BUCKET_BITS, key[_OUTCOME] in INFERENCES
        return found

    def forget(self) -> None:
        """A transaction was rolled back: ids that it made are given to others."""
        self._known.clear()


def _key_in(connection: sqlite3.Connection, key: tuple[str, ...]) -> tuple[int, int]:
    found = connection.execute(_STATEMENTS["find_key"], key).fetchone()
    if found is None:
        group = _group_of(key)
        connection.execute(_STATEMENTS["add_group"], group)
        connection.execute(_STATEMENTS["add_key"], (*key, *group))
        found = connection.execute(_STATEMENTS["find_key"], key).fetchone()
    return int(found[0]), int(found[1])


def add(connection: sqlite3.Connection, rows: Sequence[Row], keys: Keys) -> None:
    """Count new rows of records in the open transaction; call `keys.forget` where it is rolled back."""
    sums: dict[int, tuple[int, ...]] = {}
    costs: list[int] = []
    for row in rows:
        hour, figures = row[_RECEIVED] // HOUR_NS, _summed_of(row)
        id_, group, counts_all = keys.find(connection, _dimensions_of(row))
        cell = hour << KEY_BITS | id_
        before = sums.get(cell)
        sums[cell] = (1, *figures) if before is None else (before[0] + 1, *map(plus, before[1:], figures))
        cost = figures[0]
        if cost > 0 or counts_all:
            costs.append((hour // 24 << _DAY_SHIFT) + group + bucket_of(cost))
    connection.executemany(_ADD_HOURS, [(cell, *figures) for cell, figures in sums.items()])
    first_open = (read_days_until(connection) * 24) << KEY_BITS
    late = [(_of_day(cell), *figures) for cell, figures in sums.items() if cell < first_open]
    if late:
        connection.executemany(_ADD_DAYS, late)
    if costs:
        connection.execute(_ADD_COSTS, (_encode(costs).decode(),))


def _of_day(cell: int) -> int:
    """The id in rollup_days for one in rollup_hours."""
    return (cell >> KEY_BITS) // 24 << KEY_BITS | cell & ((1 << KEY_BITS) - 1)


def read_days_until(connection: sqlite3.Connection) -> int:
    """The UTC day (since 1970) before which days are summed up; what is written for them goes there too."""
    row = connection.execute(_DAYS_UNTIL).fetchone()
    return int(row[0]) if row else 0


def close_days(connection: sqlite3.Connection, now_ns: int) -> None:
    """Sum up the days that are over: a transaction each, so that a gateway waits some milliseconds at midnight."""
    today = now_ns // DAY_NS
    while (day := read_days_until(connection)) < today:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if day == read_days_until(connection):  # no other process was faster
                _close_day(connection, day, today)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _close_day(connection: sqlite3.Connection, day: int, today: int) -> None:
    """Go on to the next day that has sums; if that is before today, sum it up."""
    (hour,) = connection.execute(_STATEMENTS["next_hour"], (day * 24,)).fetchone()
    found = today if hour is None else min(hour // 24, today)
    connection.execute(_STATEMENTS["set_days_until"], (str(min(found + 1, today)),))
    if found < today:
        rebuild_day_from_hours(connection, found)


# --- from the records --------------------------------------------------------------------------------


def connect_rebuilding(path: Path) -> sqlite3.Connection:
    """A connection on which `rebuild_day` works."""
    connection = connect_waiting(path)
    connection.create_function("cost_bucket", 1, bucket_of, deterministic=True)
    return connection


def rebuild_day(connection: sqlite3.Connection, day: int) -> None:
    """Make the roll-ups of one UTC day (since 1970) anew from its records, in the open transaction."""
    values: dict[str, Any] = {"day": day, "since_ns": day * DAY_NS, "until_ns": (day + 1) * DAY_NS}
    for name in ("rebuild_groups", "rebuild_keys", "clear_hours", "rebuild_hours", "clear_costs", "rebuild_costs"):
        connection.execute(_STATEMENTS[name], values)
    rebuild_day_from_hours(connection, day)


def rebuild_day_from_hours(connection: sqlite3.Connection, day: int) -> None:
    """Make only the sums of the day anew: all that can be done where its records are in an archive."""
    for name in ("clear_days", "rebuild_days"):
        connection.execute(_STATEMENTS[name], {"day": day})


def catch_up(path: Path) -> int:
    """Build the roll-ups of records that are older than these tables; returns the number of days it took.

    One transaction a day, so whoever is killed in the middle goes on where it was. Blocks: for threads, and before
    anybody else has the file open for writing.
    """
    connection = connect_rebuilding(path)
    days = 0
    try:
        while (row := connection.execute(_STATEMENTS["pending_day"]).fetchone()) is not None:
            _build_next(connection, int(row[0]))
            days += 1
    finally:
        connection.close()
    return days


def _build_next(connection: sqlite3.Connection, day: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        rebuild_day(connection, day)
        (next_ns,) = connection.execute(_STATEMENTS["next_record"], ((day + 1) * DAY_NS,)).fetchone()
        if next_ns is None:
            connection.execute(_STATEMENTS["nothing_pending"])
        else:
            connection.execute(_STATEMENTS["set_pending_day"], (str(next_ns // DAY_NS),))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
