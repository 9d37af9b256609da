"""Routing: the question put to a policy, its answer, and the evidence between them."""

from dataclasses import dataclass
from enum import StrEnum

from farthing.catalog import Catalog, Deployment, Feature, Task
from farthing.value import Value


class Verdict(StrEnum):
    """What an eval run found about one tier for one task."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """The standing of a tier for a task. `score` and `bar` are shares in [0, 1]; `models` the deployment ids that
    were tested: a tier whose deployments changed since has no valid pass. Times in wall ns."""

    task: str
    tier: str
    verdict: Verdict
    score: float
    bar: float
    items: int
    suite: str
    suite_hash: str
    models: tuple[str, ...]
    run_id: str
    decided_ns: int
    valid_until_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteQuestion:
    """All that a policy may look at; it looks at nothing else, so a route can be replayed from its row."""

    catalog: Catalog
    feature: Feature
    task: Task | None
    scorecards: tuple[Scorecard, ...]
    """Those of the task, latest for each tier."""
    now_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A policy's answer: the tier and one sentence why."""

    tier: str
    reason: str


class Route(Value, frozen=True, kw_only=True):
    """Where a call goes: deployments in the order in which they are tried, and why.

    `reason` is a short phrase for a header (ASCII, no line breaks). `reference_tier` is what it would have been
    without evidence. `task_source` names the rule that decided the task: header, metadata, key, feature, default.
    """

    tier: str
    deployments: tuple[Deployment, ...]
    policy: str
    reason: str
    reference_tier: str = ""
