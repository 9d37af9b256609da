"""Drift gauges: what live answers have shown of the tiers, read when Prometheus asks."""

from collections.abc import Collection
from typing import Final

from evals.driftbook import Standing
from gateway.exposition import Family, Kind, value_lines

EVIDENCE: Final = Family(
    name="farthing_drift_evidence",
    kind=Kind.GAUGE,
    help="Evidence that live answers of a tier became worse than was promised; the alarm is at 1000.",
    labels=("task", "tier", "signal"),
)
ANSWERS: Final = Family(
    name="farthing_drift_answers",
    kind=Kind.GAUGE,
    help="Live answers of a tier that were graded (signal grades) or checked (checks) since its pass.",
    labels=("task", "tier", "signal"),
)
ALARMS: Final = Family(
    name="farthing_drift_alarms_total",
    kind=Kind.COUNTER,
    help="Alarms that live answers of a tier have raised.",
    labels=("task", "tier", "signal"),
)
DRIFT_GAUGES: Final = (EVIDENCE, ANSWERS, ALARMS)


def drift_lines(standings: Collection[Standing]) -> list[str]:
    """The gauges, for `Metrics.add_source`. They come from the rows that the workers share, so every one says the same,
    and their labels are tasks and tiers that were once configured."""
    places = [((one.task, one.tier, one.signal), one) for one in standings]
    return [
        *value_lines(EVIDENCE, [(place, round(one.watch.level)) for place, one in places]),
        *value_lines(ANSWERS, [(place, one.watch.graded) for place, one in places]),
        *value_lines(ALARMS, [(place, one.alarms) for place, one in places]),
    ]
