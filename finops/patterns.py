"""Patterns in time: suites that run too often, environments that never sleep, jobs that nobody remembers."""

from typing import Final

import numpy as np
import numpy.typing as npt

from farthing.money import NANO_PER_USD, Nano
from finops.anomaly import Floats
from finops.findings import Finding, What, budget, stop
from finops.hours import DAY, WEEK, Columns, Hours, days
from finops.watch import Watch

CI_SHARE: Final = 0.10
CI_RUNS: Final = 4
"""Hours of a day in which a suite may run."""
CI_DAYS: Final = 6
CI_EXCESS: Final = 8
"""Hours beyond CI_RUNS in these days that are a habit: a release or two are none."""
LEFT_HOURS: Final = 3 * DAY
LEFT_ACTIVE: Final = 0.9
LEFT_NIGHT: Final = 0.4
"""People who work there by day add to what runs by itself."""
NIGHT: Final = 8
LEAST_DAY: Final = 1.0 * NANO_PER_USD
"""Nano-dollars a day."""
PERIODS: Final = (6, 12, DAY, WEEK)
PERIODS_SEEN: Final = 8
LEAST_RUNS: Final = 4
REGULAR: Final = 0.7
JITTER: Final = 0.05
LONGEST_RUN: Final = 0.25
"""Share of the period: what is in use for longer is people at work."""


def evals_on_every_commit(hours: Hours, watch: Watch) -> list[Finding]:
    """Evals or CI ran in more than four hours a day, eight hours more within six days, and took a tenth of all that
    was spent on these days."""
    if not hours.tables:
        return []
    everything = days(hours.by()[()]["cost"])[-CI_DAYS:]
    found = []
    for (feature, environment), columns in hours.by("feature", "environment").items():
        if environment not in watch.ci and feature not in watch.evals:
            continue
        cost, runs = (
            days(columns["cost"])[-CI_DAYS:],
            days(np.asarray(columns["requests"] > 0, dtype=np.float64))[-CI_DAYS:],
        )
        often = runs > CI_RUNS
        if len(cost) < CI_DAYS or (runs[often] - CI_RUNS).sum() < CI_EXCESS:
            continue
        once, part = float((cost[often] / runs[often]).mean()), cost[often].sum() / everything[often].sum()
        if part < CI_SHARE or cost[often].mean() < LEAST_DAY:
            continue
        found.append(
            Finding(
                what=What.EVALS,
                feature=feature,
                environment=environment,
                since=hours.until - (CI_DAYS - int(np.argmax(often))) * DAY,
                per_day=Nano(round(float(cost[often].mean()) - once)),
                cause=f"ran in {runs[often].mean():.0f} hours a day, {part:.0%} of all spend",
                yaml=budget(once, feature=feature, environment=environment),
            )
        )
    return found


def left_on(hours: Hours, watch: Watch) -> list[Finding]:
    """An environment that is neither production nor CI has been in use for three days and nights."""
    found = []
    for (environment,), columns in hours.by("environment").items():
        requests = columns["requests"][-LEFT_HOURS:]
        if environment in watch.production | watch.ci or len(requests) < LEFT_HOURS:
            continue
        per_day = float(columns["cost"][-LEFT_HOURS:].sum()) * DAY / LEFT_HOURS
        if (requests > 0).mean() < LEFT_ACTIVE or night_share(requests) < LEFT_NIGHT or per_day < LEAST_DAY:
            continue
        features = {f: c for (f, e), c in hours.by("feature", "environment").items() if e == environment}
        found.append(
            Finding(
                what=What.LEFT_ON,
                feature=max(features, key=lambda name: float(features[name]["cost"][-LEFT_HOURS:].sum())),
                environment=environment,
                since=hours.until - LEFT_HOURS,
                per_day=Nano(round(per_day)),
                cause=f"{environment} is asked {requests.mean():.0f} times an hour, night and day",
                yaml=stop(environment=environment),
            )
        )
    return found


def night_share(requests: Floats) -> float:
    """Calls an hour in the eight quietest hours in a row of the day, over those of the other hours; whole days."""
    profile = requests.reshape(-1, DAY).sum(axis=0)
    round_the_clock = np.concatenate([profile, profile[: NIGHT - 1]])
    night = float(np.convolve(round_the_clock, np.ones(NIGHT), "valid").min())
    day = float(profile.sum()) - night
    return night / NIGHT / (day / (DAY - NIGHT)) if day > 0 else 0.0


def forgotten_schedules(hours: Hours, watch: Watch) -> list[Finding]:
    """A feature that nobody answers for is used as by a clock."""
    found = []
    for (feature, task, environment), columns in hours.by("feature", "task", "environment").items():
        if feature in watch.owned:
            continue
        scores = {period: regularity(_recent(columns, period), period) for period in PERIODS}
        period = max(scores, key=lambda each: scores[each])
        if scores[period] < REGULAR:
            continue
        recent = columns["cost"][-PERIODS_SEEN * period :]
        used = np.flatnonzero(columns["requests"])
        found.append(
            Finding(
                what=What.SCHEDULE,
                feature=feature,
                task=task,
                environment=environment,
                since=hours.until - len(columns) + int(used[0]),
                per_day=Nano(round(float(recent.sum()) * DAY / _span(recent))),
                cause=f"runs every {period} hours, and no owner is known",
                yaml=stop(feature=feature, task=task, environment=environment),
            )
        )
    return found


def regularity(requests: Floats, period: int) -> float:
    """How much calls by hour keep to a period, in [0, 1]: |mean exp(2 pi i t/period)| of the hours in use, times the
    share of periods since the first that have one. 0 for fewer than four runs, runs that last a quarter of the period
    or begin at times which scatter by 5 % of it, and half a period more than one without any."""
    busy = np.flatnonzero(requests > 0.2 * requests.max()) if requests.size else np.zeros(0, dtype=int)
    starts = busy[np.diff(busy, prepend=-2) > 1]
    if len(starts) < LEAST_RUNS or len(requests) - busy[-1] > 1.5 * period:
        return 0.0
    if _scatter(starts, period) >= JITTER or len(busy) > LONGEST_RUN * period * len(starts):
        return 0.0
    together = float(np.abs(np.exp(2j * np.pi * busy / period).mean()))
    turns = np.unique((starts - starts[0] + period // 2) // period)
    return together * min(len(turns) / (float(len(requests) - starts[0]) / period + 0.5), 1.0)


def _scatter(starts: npt.NDArray[np.int64], period: int) -> float:
    """The circular standard deviation, as a share of the period."""
    length = min(float(np.abs(np.exp(2j * np.pi * starts / period).mean())), 1.0)
    return float(np.sqrt(-2 * np.log(max(length, 1e-12))) / (2 * np.pi))


def _recent(columns: Columns, period: int) -> Floats:
    return columns["requests"][-PERIODS_SEEN * period :]


def _span(cost: Floats) -> int:
    """Hours since the first that cost something."""
    spent = np.flatnonzero(cost)
    return len(cost) - int(spent[0]) if len(spent) else 1
