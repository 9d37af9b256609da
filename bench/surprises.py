"""How well the detectors of surprises do on made-up hours: found how often, how soon, and what else they told."""

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any, Final

import numpy as np

from bench.anomaly_days import SEED
from bench.proportions import share_interval
from bench.surprise_hours import DAYS, QUIET, UNTIL, WATCH, world
from finops.findings import What
from finops.hours import DAY, Hours
from finops.surprises import DETECTORS

WORLDS: Final = 30
UNREST: Final = (1.0, 2.0)
WATCHED: Final = 14 * DAY
SLOW: Final = frozenset({What.EVALS, What.LEFT_ON, What.SCHEDULE, What.PROMPT_GROWTH})
"""Asked once a day, at its end; the others each hour for two days after the beginning, and every six hours else."""
NOTE: Final = f"""{WORLDS} made-up companies with each surprise and {3 * WORLDS} with none, nine weeks of hours each,
the last three watched; `bench/surprise_hours.py` says what is ordinary there, and `unrest` multiplies it. `found`
within 14 days; `hours` from the beginning until it is told, median and 95 % of those found. `precision` is the share of
right ones among all findings of the detector in all of these companies, those with other surprises included; a finding
that lasts, or returns for the same scope, counts once a company. `false` are those in companies without any surprise, a
month. Thresholds were chosen on other seeds than the table's."""
Row = Mapping[str, Any]
Told = dict[tuple[What, str, str, str, str], int]
"""The hour in which each was told first."""


def surprise_figures(worlds: int = WORLDS) -> list[Row]:
    """A row for each surprise, among ordinary unrest and twice of it."""
    return [row for unrest in UNREST for row in _figures(worlds, unrest)]


def _figures(worlds: int, unrest: float) -> list[Row]:
    with_none = [_told(*world((SEED, 0, number), None, unrest)) for number in range(3 * worlds)]
    with_one = {
        what: [_found(what, (SEED, place, number), unrest) for number in range(worlds)]
        for place, what in enumerate(DETECTORS, start=1)
    }
    return [{"unrest": unrest} | _row(what, with_one, with_none) for what in DETECTORS]


def _found(what: What, seed: tuple[int, ...], unrest: float) -> tuple[int | None, Told]:
    """How many hours it took to tell the surprise, None where it was not, and everything else that was told."""
    hours, begin = world(seed, what, unrest)
    told = _told(hours, begin)
    right = {scope: at for scope, at in told.items() if scope[0] is what and begin < at <= begin + WATCHED}
    other = {scope: at for scope, at in told.items() if scope not in right}
    return min(right.values()) - begin if right else None, other


def _row(what: What, with_one: Mapping[What, list[tuple[int | None, Told]]], with_none: list[Told]) -> dict[str, Any]:
    delays = [delay for delay, _ in with_one[what] if delay is not None]
    false = sum(_count(what, told) for told in with_none)
    elsewhere = sum(_count(what, other) for cases in with_one.values() for _, other in cases)
    return {
        "surprise": what.value,
        "found, %": share_interval(len(delays), len(with_one[what])),
        "hours, median": median(delays) if delays else None,
        "hours, 95 %": round(float(np.quantile(delays, 0.95))) if delays else None,
        "precision, %": share_interval(len(delays), len(delays) + false + elsewhere),
        "false a company-month": round(false / len(with_none) / (DAYS - QUIET) * 30, 3),
    }


def _count(what: What, told: Told) -> int:
    return sum(scope[0] is what for scope in told)


def _told(hours: Hours, begin: int) -> Told:
    told: Told = {}
    for what, detector in DETECTORS.items():
        for at in _moments(what, begin):
            for finding in detector(hours.before(at), WATCH):
                told.setdefault(finding.scope, at)
    return told


def _moments(what: What, begin: int) -> Iterator[int]:
    """The hours in which a detector is asked."""
    first = UNTIL - (DAYS - QUIET) * DAY
    if what in SLOW:
        return iter(range(first, UNTIL + 1, DAY))
    near = range(begin, begin + 2 * DAY + 1)
    return iter(sorted({*range(first, UNTIL + 1, 6), *near}))
