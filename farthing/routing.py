"""Routing: the question put to a policy, its answer, and the evidence between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from farthing.catalog import Affinity, AnswerCheck, Balance, Catalog, Deployment, Feature, Task
from farthing.money import ZERO, Nano
from farthing.value import Value


class Verdict(StrEnum):
    """What an eval run found about one tier for one task."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """The standing of a tier for a task, and what it rests on. Shares in [0, 1], times in wall ns.

    `score` is the mean over `items`, `low` to `high` its interval, valid at 95% whenever one looked. `bar` is the floor
    that was tested (0: none), `margin` the loss against the tier `reference` that was accepted (None: not compared),
    `difference` the mean difference to it. `e_value` is the evidence for the tier, `e_needed` what promotes; `cost`
    what the run spent on it. Versions: `suite_hash`, `prompt_hash`, `grader`, and `models`, the deployment ids that
    were tested, with `fingerprints` of their providers: where one of these changes, a pass is no longer valid.
    """

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
    low: float = 0.0
    high: float = 1.0
    margin: float | None = None
    reference: str = ""
    difference: float | None = None
    e_value: float = 0.0
    e_needed: float = 0.0
    cost: Nano = ZERO
    prompt_hash: str = ""
    grader: str = ""
    fingerprints: tuple[str, ...] = ()
    rule: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demotion:
    """A tier that lost a task: no pass decided before `until_ns` counts any more, unless it was decided after `at_ns`
    for another suite or other deployments than `suite_hash` and `models`. `cause` is `drift`, `fingerprint` or
    `operator`, `detail` a phrase that completes "TIER was demoted: "."""

    task: str
    tier: str
    at_ns: int
    until_ns: int
    cause: str
    detail: str
    suite_hash: str = ""
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteVersion:
    """A suite as it is now: the hash of what it asks and shows, and that of its graders."""

    hash: str
    grader: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEvidence:
    """What graded answers of real calls have shown of a tier for a task since the pass on record (since it is watched,
    where it has none): `graded` items, and `e_worse`, the e-value for its being worse than it may be."""

    task: str
    tier: str
    graded: int
    e_worse: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long a tier's answers took lately: the 95th percentiles of `samples` calls, seconds."""

    tier: str
    samples: int
    first_byte_s: float
    total_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteQuestion:
    """All that a policy may look at; it looks at nothing else, so a route can be replayed from its row."""

    catalog: Catalog
    feature: Feature
    task: Task | None
    scorecards: tuple[Scorecard, ...]
    """Those of the task, latest for each tier."""
    now_ns: int
    demotions: tuple[Demotion, ...] = ()
    """Those of the task, latest for each tier."""
    suites: Mapping[str, SuiteVersion] = field(default_factory=dict)
    """Suites as they are on disk now, by name: a pass with another version does not count. None for one that is not
    there, so that cards serve where suites do not lie."""
    evidence: tuple[LiveEvidence, ...] = ()
    """That of the task, one for each tier."""
    latencies: tuple[Latency, ...] = ()
    """One for each tier that is known."""
    pressure: float | None = None
    """By how much of their limit the budgets that bind the call have run ahead of their window, the worst of them: the
    share spent or held less the share of the window that has passed. None where no budget tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A part of the calls, as a share of all in (0, 1], and where it goes."""

    tier: str
    share: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A policy's answer: the tier and one sentence why.

    `split`: where given, the calls are divided among these, whose shares add up to 1; the first is that of `tier`.
    `escalation` is the tier that answers where the answer of `tier` fails its check, empty for none. `shadow` is a tier
    that is asked besides, off the path, for `shadow_share` of the calls; empty for none.
    """

    tier: str
    reason: str
    split: tuple[Branch, ...] = ()
    escalation: str = ""
    shadow: str = ""
    shadow_share: float = 0.0


class Pool(Value, frozen=True, kw_only=True):
    """Deployments of a tier that stand in for one another, and how one of them is chosen. `ids`, `weights` and `seeds`
    (64-bit hashes of the ids) are theirs, in the same order."""

    tier: str
    deployments: tuple[Deployment, ...]
    ids: tuple[str, ...]
    weights: tuple[int, ...]
    seeds: tuple[int, ...]
    balance: Balance = Balance.WEIGHTED
    affinity: Affinity = Affinity.NONE


class Route(Value, frozen=True, kw_only=True):
    """Where a call goes: all deployments that may be tried, and why; in which order is decided when it is sent.

    `reason` is a short phrase for a header (ASCII, no line breaks). `reference_tier` is what it would have been
    without evidence. `pools` are the deployments again as the tiers have them, in the order in which these are tried;
    empty where there is one deployment only. `then` is where the call goes next where its answer here fails its
    `check`; both None where it is no cascade, or no more.
    """

    tier: str
    deployments: tuple[Deployment, ...]
    policy: str
    reason: str
    reference_tier: str = ""
    pools: tuple[Pool, ...] = ()
    then: "Route | None" = None
    check: AnswerCheck | None = None
