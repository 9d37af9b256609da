"""The policy `latency_bound`: the cheapest eligible tier whose answers have come in time lately."""

from math import inf

from farthing.catalog import Measure
from farthing.ports import Policy
from farthing.routing import Choice, Latency, RouteQuestion
from router_policies.eligible import eligible

LEAST_SAMPLES = 20
"""Fewer calls say nothing of a 95th percentile."""


class LatencyBound:
    """Keeps what `then` chooses where its 95th percentile lies within `p95_s`, or is not known: a tier that nobody
    calls has none, and is tried again. Else the cheapest eligible tier within it, and where none is, the fastest."""

    def __init__(self, then: Policy, p95_s: float, measure: Measure) -> None:
        self._then, self._p95_s, self._measure = then, p95_s, measure

    def choose(self, question: RouteQuestion) -> Choice:
        found, task = self._then.choose(question), question.task
        times = {one.tier: self._time(one) for one in question.latencies if one.samples >= LEAST_SAMPLES}
        if self._is_in_time(times, found.tier):
            return Choice(tier=found.tier, reason=f"{found.reason}; {self._said(times, found.tier)}")
        slow = self._said(times, found.tier)
        if task is None:
            return Choice(
                tier=found.tier, reason=f"{found.reason}; {slow}, and no other tier may answer without a task"
            )
        tiers = [tier.name for tier in eligible(question, task)]
        for tier in tiers:
            if self._is_in_time(times, tier):
                return Choice(tier=tier, reason=f"latency: {tier} in place of {found.tier}: {slow}")
        fastest = min(tiers, key=lambda tier: times[tier])
        return Choice(
            tier=fastest, reason=f"latency: {fastest} is the fastest of those that may answer; none is in time"
        )

    def _time(self, latency: Latency) -> float:
        return latency.first_byte_s if self._measure is Measure.FIRST_BYTE else latency.total_s

    def _is_in_time(self, times: dict[str, float], tier: str) -> bool:
        return times.get(tier, -inf) <= self._p95_s

    def _said(self, times: dict[str, float], tier: str) -> str:
        known = times.get(tier)
        return "latency not known" if known is None else f"{tier} takes {known:.3g} s of {self._p95_s:.3g} s (p95)"
