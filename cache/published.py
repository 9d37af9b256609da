"""Published: what a semantic cache tells about itself: hits, how many were graded, how many were wrong, and at what
saving."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from farthing.money import Nano
from farthing.shares import wilson

"""Standard normal quantile of a two-sided interval of 95 %."""

SKIPPED: Final = ("lookup", "keeping")
"""What was not done with a question: looked up (or not waited for), and kept with its answer."""
SKIPS: Final = ("busy", "late", "away", "failed")
"""Why: too many texts at the embedder, the deadline, nobody to embed, any failure."""
Totals = Mapping[str, Mapping[str, float]]
"""Sums of each feature by name."""
Domains = Mapping[str, tuple[int, int, int]]
"""Of each feature: domains, those that are calibrated, those that the breaker has stopped."""


class State(StrEnum):
    """By what a domain serves."""

    CONSERVATIVE = "conservative"
    """A fixed high score: there is no evidence yet, or too little of it can be compared."""
    CALIBRATED = "calibrated"
    """What was graded."""
    STOPPED = "stopped"
    """Nothing: the breaker is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainState:
    """A tenant's feature in one environment. `compared` answers, the newest thousands, are what it has learned from."""

    tenant: str
    feature: str
    environment: str
    state: State
    compared: int


def domain_state(name: str, *, calibrated: bool, stopped: bool, compared: int) -> DomainState:
    """Of a domain as `cache.domains` names it."""
    tenant, feature, environment, *_ = (*name.split("\0"), "", "")
    state = State.STOPPED if stopped else State.CALIBRATED if calibrated else State.CONSERVATIVE
    return DomainState(tenant=tenant, feature=feature, environment=environment, state=state, compared=compared)


def latest_states(rows: Iterable[tuple[str, bool, bool, int]]) -> list[DomainState]:
    """Of rows (name, calibrated, stopped, compared) in the order in which they learned last: of several versions of
    embedder or verifier the latest."""
    found = [domain_state(name, calibrated=ready, stopped=off, compared=number) for name, ready, off, number in rows]
    return list({(one.tenant, one.feature, one.environment): one for one in found}.values())


@dataclass(frozen=True, slots=True)
class Interval:
    """A share with its Wilson interval of 95 %."""

    estimate: float
    low: float
    high: float

    def times(self, share: float) -> "Interval":
        """The same of a whole of which it was this share."""
        return Interval(self.estimate * share, self.low * share, self.high * share)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureReport:
    """One feature. `requests` were looked up; `hits` of them answered, `conservative_hits` of these by the rule for
    domains without evidence. `graded` hits were sent upstream as well, `wrong` of them answered differently, which
    makes `wrong_per_hit` an estimate of all; `graded_misses` taught where the border lies. Answers that could not be
    compared are `undecided`, `undecided_hits` of them served: the estimate knows nothing of these. `skipped`
    counts what could not be done, by `SKIPPED` and `SKIPS`. Money: nano-dollars."""

    feature: str
    requests: int
    hits: int
    conservative_hits: int
    graded: int
    wrong: int
    graded_misses: int
    undecided: int
    undecided_hits: int
    evicted: int
    admitted: int
    wrong_per_hit: Interval
    saved: Nano
    shadow_cost: Nano
    judge_cost: Nano
    embedding_cost: Nano
    skipped: Mapping[tuple[str, str], int]
    domains: int
    calibrated: int
    stopped: int

    @property
    def net_saved(self) -> Nano:
        """Nano-dollars saved after what the cache itself has cost: embeddings, and the proof."""
        return Nano(self.saved - self.shadow_cost - self.judge_cost - self.embedding_cost)

    @property
    def wrong_per_request(self) -> Interval:
        """The estimate for all requests that were looked up, hits or not: what `max_wrong` bounds."""
        return self.wrong_per_hit.times(self.hits / self.requests if self.requests else 0.0)


def semantic_report(totals: Totals, domains: Domains) -> list[FeatureReport]:
    """One report for each feature, in the order of their names."""
    return [
        _of_feature(name, totals.get(name, {}), domains.get(name, (0, 0, 0))) for name in sorted({*totals, *domains})
    ]


def _of_feature(feature: str, sums: Mapping[str, float], domains: tuple[int, int, int]) -> FeatureReport:
    def number(name: str) -> int:
        return round(sums.get(name, 0))

    return FeatureReport(
        feature=feature,
        requests=number("requests"),
        hits=number("hits"),
        conservative_hits=number("conservative_hits"),
        graded=number("graded"),
        wrong=number("wrong"),
        graded_misses=number("graded_misses"),
        undecided=number("undecided"),
        undecided_hits=number("undecided_hits"),
        evicted=number("evicted"),
        admitted=number("admitted"),
        wrong_per_hit=share_of_grades(sums.get("weight", 0.0), sums.get("squares", 0.0), sums.get("wrong_weight", 0.0)),
        saved=Nano(number("saved")),
        shadow_cost=Nano(number("shadow_cost")),
        judge_cost=Nano(number("judge_cost")),
        embedding_cost=Nano(number("embedding_cost")),
        skipped={(what, why): number(f"{what}_{why}") for what in SKIPPED for why in SKIPS},
        domains=domains[0],
        calibrated=domains[1],
        stopped=domains[2],
    )


def share_of_grades(weight: float, squares: float, wrong: float) -> Interval:
    """The share of wrong ones among hits, from sums over those that were graded: of their weights (one over the share
    of such hits that is graded), of the squares of these, and of the weights of wrong ones."""
    if weight <= 0:
        return Interval(0.0, 0.0, 1.0)
    share = min(1.0, wrong / weight)
    return Interval(share, *wilson(share, weight * weight / squares))
