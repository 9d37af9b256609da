"""Hours: what was used in each hour, by feature, task, environment and model, as columns that detectors read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from farthing.money import Nano
from finops.anomaly import Floats

DAY: Final = 24
WEEK: Final = 7 * DAY
KEPT: Final = 8 * WEEK
"""Hours that detectors look back at most."""


class Key(NamedTuple):
    """Whose hour it is."""

    feature: str
    task: str = ""
    environment: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HourRow:
    """What one key used in one hour (`hour` counts UTC hours since 1970).

    `hits` and `misses` are lookups of the answer caches, bypasses left out; `attempts` tries at a provider, `failed`
    requests that ended in an error of it; `inputs` texts of embedding calls that were sent to a provider.
    `input_tokens` include `cached_tokens`, those that the provider read from its cache.
    """

    hour: int
    key: Key
    requests: int
    cost: Nano
    hits: int = 0
    misses: int = 0
    attempts: int = 0
    failed: int = 0
    inputs: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


FIGURES: Final = tuple(name for name in HourRow.__slots__ if name not in ("hour", "key"))
_PLACES: Final = {name: place for place, name in enumerate(FIGURES)}


@dataclass(frozen=True, slots=True)
class Columns:
    """The figures of one group, an hour a place, the latest last."""

    table: Floats

    def __getitem__(self, name: str) -> Floats:
        return np.asarray(self.table[_PLACES[name]])

    @property
    def sent(self) -> Floats:
        """Requests that no answer cache answered."""
        return np.asarray(self["requests"] - self["hits"])

    def __len__(self) -> int:
        return int(self.table.shape[1])


@dataclass(frozen=True, slots=True)
class Hours:
    """Tables (figures, hours) by key; all end with the hour before `until`, which is whole."""

    until: int
    tables: Mapping[Key, Floats] = field(default_factory=dict)

    def by(self, *names: str) -> dict[tuple[str, ...], Columns]:
        """The figures summed up by some names of Key."""
        sums: dict[tuple[str, ...], Floats] = {}
        for key, table in self.tables.items():
            group = tuple(getattr(key, name) for name in names)
            sums[group] = sums[group] + table if group in sums else table
        return {group: Columns(table) for group, table in sums.items()}

    def before(self, until: int) -> "Hours":
        """What was known when the hour `until` began."""
        later = self.until - until
        return Hours(until, {key: table[:, : table.shape[1] - later] for key, table in self.tables.items()})


def collect(rows: Iterable[HourRow], *, until: int, count: int = KEPT) -> Hours:
    """The `count` hours before `until`; rows outside of them are left out, several of one hour and key summed up."""
    tables: dict[Key, Floats] = {}
    for row in rows:
        if 0 < until - row.hour <= count:
            table = tables.setdefault(row.key, np.zeros((len(FIGURES), count)))
            table[:, row.hour - until] += [getattr(row, name) for name in FIGURES]
    return Hours(until, tables)


def days(values: Floats) -> Floats:
    """Sums of whole days that end now, the latest last."""
    whole = len(values) // DAY
    return np.asarray(values[len(values) - whole * DAY :].reshape(whole, DAY).sum(axis=1))


def share(part: Floats, whole: Floats) -> Floats:
    """Part of whole, 0 where there is nothing of it."""
    return np.asarray(np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), 0.0))
