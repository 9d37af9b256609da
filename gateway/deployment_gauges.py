"""Deployment gauges: how the deployments fare among which there is a choice, read when Prometheus asks."""

from collections.abc import Collection
from typing import Final

from gateway.balancing import Line
from gateway.exposition import Family, Kind, value_lines
from router_policies.breaker import State

STATE: Final = Family(
    name="farthing_deployment_state",
    kind=Kind.GAUGE,
    help="Breaker of a deployment in this worker: 0 closed, 1 half open, 2 open (left out).",
    labels=("deployment",),
)
OUTSTANDING: Final = Family(
    name="farthing_deployment_outstanding",
    kind=Kind.GAUGE,
    help="Calls of this worker that are under way at a deployment.",
    labels=("deployment",),
)
FAILOVERS: Final = Family(
    name="farthing_deployment_failovers_total",
    kind=Kind.COUNTER,
    help="Calls of this worker that failed at a deployment and were tried at another one.",
    labels=("deployment",),
)
DEPLOYMENT_GAUGES: Final = (STATE, OUTSTANDING, FAILOVERS)
_VALUES: Final = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


def deployment_lines(lines: Collection[Line], now: float) -> list[str]:
    """The gauges, for `Metrics.add_source`. `now` is monotonic seconds. The labels are deployments of the
    configuration, so their number is bounded."""
    return [
        *value_lines(STATE, [((line.id,), _VALUES[line.breaker.state(now)]) for line in lines]),
        *value_lines(OUTSTANDING, [((line.id,), line.outstanding) for line in lines]),
        *value_lines(FAILOVERS, [((line.id,), line.failovers) for line in lines]),
    ]
