"""Mix: what the traffic of a period would cost on each tier, and what it would take to find out which could answer."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Final

from evals.gate import Rule
from evals.sizes import least_items
from farthing.call import Endpoint
from farthing.catalog import Catalog, Feature, Task, Tier
from farthing.money import Nano
from farthing.record import CacheOutcome
from farthing.routing import RouteQuestion, Verdict
from farthing.tags import CACHE, SHADOW
from farthing.usage import TOKEN_CLASSES, Usage, UsageSource
from gateway.alternatives import PriceOf, mean_cost, price_at
from router_policies.cheapest_passing import CheapestPassing, candidates
from router_policies.registry import kinds_in, rule_of
from router_policies.standing import card_of, standing

if TYPE_CHECKING:
    from ledger.reports import SpendRow

BY: Final = ("feature", "task", "tier", "endpoint", "outcome", "cache")
"""The dimensions of the rows that a mix is made of."""
DAY_NS: Final = 86_400 * 10**9
MONTH_DAYS: Final = 30
MAX_AGE_S: Final = 14 * 86_400
"""After so many seconds a pass is to be tried again where nothing else is said: names of models move."""
FindingOut = Callable[[str, str], str]
"""By feature and task the name of that by which it is found out which tier is good enough (evals, live grading, shadow
calls); empty for any other traffic."""
_ANSWERING: Final = (Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES)
_HITS: Final = tuple(outcome.value for outcome in CacheOutcome if outcome.is_hit)
_NO_TOKENS: Final = Usage(source=UsageSource.COMPUTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The traffic of one feature and task. Nano-dollars.

    `actual` is what the ledger has, all endpoints; `outside` the part of it that no tier could have served:
    embeddings, charges from outside, what the gateway itself asked. `answered` requests went to a model that answers
    in text, with the tokens `usage`; the other `requests` are hits, refusals, and those that `outside` is for.
    `at_today` is what the `answered` ones cost at today's prices where they were served, `tiers` what they would cost
    on each tier (None: not known, for want of a price).
    """

    feature: str
    task: str
    requests: int
    answered: int
    usage: Usage
    actual: Nano
    outside: Nano
    at_today: Nano
    tiers: Mapping[str, Nano | None]

    def saving(self, tier: str) -> Nano | None:
        """What everything on that tier would save, at today's prices; negative where it would cost more."""
        cost = self.tiers[tier]
        return None if cost is None else Nano(self.at_today - cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What an eval takes: `least` items where the candidate makes no fault (None: no suite can show what is asked),
    `most` as many as the suite has (`suite` is its name, empty where there is none: then as many as `least`).
    `candidate` and `reference` are nano-dollars of `least` items at the mean tokens of the task's requests."""

    suite: str
    least: int | None
    most: int
    candidate: Nano
    reference: Nano

    @property
    def cost(self) -> Nano:
        """Both together."""
        return Nano(self.candidate + self.reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A tier that may be good enough for a task, and what it would be worth to know. Nano-dollars.

    `why` completes "TIER ..." and says why it does not answer yet. `saving` is that of 30 days of such traffic as was
    seen, `requests` as many as there are in 30 days, if it passes: whether it does is not known. `is_worth_it` by the
    rule: the most that the candidate's answers can cost is less than what they save until the pass has to be renewed.
    """

    task: str
    tier: str
    instead_of: str
    why: str
    requests: int
    saving: Nano
    trial: Trial
    is_worth_it: bool

    @property
    def payback_days(self) -> Fraction | None:
        """Days of traffic after which the eval has paid for itself; None where it cannot."""
        return Fraction(self.trial.cost * MONTH_DAYS, self.saving) if self.saving > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """What routing has saved so far, nano-dollars: `avoided` is what the reference tiers would have cost more for the
    same tokens, `spent` what finding out has cost, by what it was for."""

    avoided: Nano
    spent: Mapping[str, Nano]

    @property
    def saved(self) -> Nano:
        """What is left."""
        return Nano(self.avoided - sum(self.spent.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """The review of so many days. `lines` dearest first; `proposals` by what they could save, those that are worth it
    first: of one task they are alternatives, whose savings do not add up."""

    days: Fraction
    lines: tuple[Line, ...]
    proposals: tuple[Proposal, ...]
    net: Net

    @property
    def actual(self) -> Nano:
        """What the ledger has in all."""
        return Nano(sum(line.actual for line in self.lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSuite:
    """A suite that could be run: its name, what it holds candidates to, and the seconds after which a pass of it has to
    be renewed (None: it does not say)."""

    name: str
    rule: Rule
    valid_for_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of tiers and tasks: `question` is all that a policy gets to see for a feature and task, `suites`
    are those that could be run, by the task and the tier that they try, `valid_for_s` the seconds after which a pass
    has to be renewed whose suite does not say it."""

    question: Callable[[Feature, Task | None], RouteQuestion]
    suites: Mapping[tuple[str, str], KnownSuite]
    valid_for_s: int = MAX_AGE_S


def review(
    rows: Iterable["SpendRow"],
    catalog: Catalog,
    price_of: PriceOf,
    evidence: Evidence,
    *,
    span_ns: int,
    finding: FindingOut,
) -> Mix:
    """The review of rows by BY, received in `span_ns`. What finding out costs is nobody's traffic."""
    rows = list(rows)
    fold = _Fold(catalog, price_of, finding)
    for row in rows:
        fold.add(row)
    days = Fraction(max(span_ns, 1), DAY_NS)
    return Mix(
        days=days,
        lines=tuple(sorted(fold.lines(), key=lambda line: (-line.actual, line.feature, line.task))),
        proposals=tuple(_proposals(fold, catalog, evidence, days)),
        net=Net(
            avoided=Nano(sum(row.avoided_routing for row in rows)),
            spent=_spent(rows, finding),
        ),
    )


def _spent(rows: Iterable["SpendRow"], finding: FindingOut) -> dict[str, Nano]:
    spent: dict[str, Nano] = {}
    for row in rows:
        if name := finding(row.keys[0], row.keys[1]):
            spent[name] = Nano(spent.get(name, 0) + row.cost)
    return spent


@dataclass(slots=True)
class _Served:
    """The requests of one feature and task that one tier answered."""

    feature: str
    task: str
    tier: str
    requests: int = 0
    cost: int = 0
    usage: Usage = _NO_TOKENS


@dataclass(slots=True)
class _Rest:
    """What of a feature and task was not answered by a tier."""

    requests: int = 0
    cost: int = 0
    """Of what no tier could have served."""
    tokenless: int = 0
    """Of hits, refusals and lost calls, which have no tokens: mostly nothing."""


@dataclass(slots=True)
class _Fold:
    """Rows, summed up by feature and task, and by the tier that served them."""

    catalog: Catalog
    price_of: PriceOf
    finding: FindingOut
    served: dict[tuple[str, str, str], _Served] = field(default_factory=dict)
    rest: dict[tuple[str, str], _Rest] = field(default_factory=lambda: defaultdict(_Rest))

    def add(self, row: "SpendRow") -> None:
        """Count one row."""
        feature, task, tier, endpoint, _, cache = row.keys
        own = feature in (SHADOW, CACHE) or self.finding(feature, task)
        if endpoint not in _ANSWERING or own:
            rest = self.rest[feature, task]
            rest.requests, rest.cost = rest.requests + row.requests, rest.cost + row.cost
        elif cache in _HITS or not _has_tokens(row.usage):
            rest = self.rest[feature, task]
            rest.requests, rest.tokenless = rest.requests + row.requests, rest.tokenless + row.cost
        else:
            one = self.served.setdefault((feature, task, tier), _Served(feature, task, tier))
            one.requests, one.cost = one.requests + row.requests, one.cost + row.cost
            one.usage = _sum(one.usage, row.usage)

    def cost(self, one: _Served, tier: Tier) -> Nano | None:
        """What these would cost on a tier, at today's prices."""
        return mean_cost(tier.deployments, self.price_of, partial(price_at, usage=one.usage, requests=one.requests))

    def at_today(self, one: _Served) -> Nano:
        """What these cost today where they were served; what they did cost where that tier is not there any more."""
        tier = next((tier for tier in self.catalog.tiers if tier.name == one.tier), None)
        cost = None if tier is None else self.cost(one, tier)
        return Nano(one.cost) if cost is None else cost

    def lines(self) -> Iterable[Line]:
        """A line for each feature and task."""
        for place in dict.fromkeys([*(key[:2] for key in self.served), *self.rest]):
            served = [one for key, one in self.served.items() if key[:2] == place]
            rest = self.rest.get(place, _Rest())
            answered, usage = sum(one.requests for one in served), _NO_TOKENS
            for one in served:
                usage = _sum(usage, one.usage)
            yield Line(
                feature=place[0],
                task=place[1],
                requests=answered + rest.requests,
                answered=answered,
                usage=usage,
                actual=Nano(sum(one.cost for one in served) + rest.cost + rest.tokenless),
                outside=Nano(rest.cost),
                at_today=Nano(sum(self.at_today(one) for one in served)),
                tiers={tier.name: self._on(served, tier) for tier in self.catalog.tiers},
            )

    def _on(self, served: Sequence[_Served], tier: Tier) -> Nano | None:
        costs = [self.cost(one, tier) for one in served]
        known = [cost for cost in costs if cost is not None]
        return Nano(sum(known)) if len(known) == len(costs) else None


def _has_tokens(usage: Usage) -> bool:
    return any(getattr(usage, name) for name in TOKEN_CLASSES)


def _sum(one: Usage, other: Usage) -> Usage:
    sums = {name: getattr(one, name) + getattr(other, name) for name in TOKEN_CLASSES}
    return Usage(**sums, source=UsageSource.COMPUTED)


# --- what is worth trying ------------------------------------------------------------------------


def _proposals(fold: _Fold, catalog: Catalog, evidence: Evidence, days: Fraction) -> list[Proposal]:
    found: list[Proposal] = []
    for task in catalog.tasks.values():
        served = [one for one in fold.served.values() if one.task == task.name and _may_move(one, catalog)]
        if served:
            found += _of_task(task, served, fold, evidence, days)
    return sorted(found, key=lambda one: (not one.is_worth_it, -one.saving, one.task, one.tier))


def _may_move(one: _Served, catalog: Catalog) -> bool:
    """True where evidence decides: not for a feature that names its tier."""
    feature = catalog.features.get(one.feature)
    return feature is not None and "fixed" not in kinds_in(rule_of(feature))


def _of_task(
    task: Task, served: Sequence[_Served], fold: _Fold, evidence: Evidence, days: Fraction
) -> Iterable[Proposal]:
    """The untested tiers that would be cheaper than the one which evidence chooses now."""
    question = evidence.question(Feature(name=served[0].feature), task)
    chosen = fold.catalog.tier(CheapestPassing().choose(question).tier)
    for tier in candidates(fold.catalog, task):
        if tier.rank < chosen.rank and (why := _is_open(question, task, tier)):
            proposal = _proposal(task, tier, chosen.name, why, _Traffic.of(served, tier, fold), evidence, days)
            if proposal is not None:
                yield proposal


def _is_open(question: RouteQuestion, task: Task, tier: Tier) -> str:
    """Why the tier has no valid pass, where a run could give it one; empty where it failed as it is, or was
    demoted: trying the same again until it passes by luck is no evidence."""
    card = card_of(question.scorecards, task.name, tier.name)
    unchanged = card is not None and sorted(card.models) == sorted(place.id for place in tier.deployments)
    failed = unchanged and card is not None and card.verdict is Verdict.FAIL
    demoted = any(one.tier == tier.name and question.now_ns < one.until_ns for one in question.demotions)
    return "" if failed or demoted else standing(question, task, tier).why


@dataclass(frozen=True, slots=True)
class _Traffic:
    """Requests that a candidate would take over: what they cost on dearer tiers now, on it, and on the reference."""

    requests: int
    now: int
    on_it: int
    on_reference: Nano | None

    @classmethod
    def of(cls, served: Sequence[_Served], tier: Tier, fold: _Fold) -> "_Traffic | None":
        """None where nothing is served by a dearer tier, or a price is not known."""
        ranks = {one.name: one.rank for one in fold.catalog.tiers}
        dearer = [one for one in served if ranks.get(one.tier, -1) > tier.rank]
        costs = [fold.cost(one, tier) for one in dearer]
        if not dearer or None in costs:
            return None
        reference = fold.catalog.tier(fold.catalog.tasks[dearer[0].task].reference)
        on_reference = [fold.cost(one, reference) for one in dearer]
        return cls(
            requests=sum(one.requests for one in dearer),
            now=sum(fold.at_today(one) for one in dearer),
            on_it=sum(cost for cost in costs if cost is not None),
            on_reference=None if None in on_reference else Nano(sum(cost or 0 for cost in on_reference)),
        )


def _proposal(
    task: Task,
    tier: Tier,
    instead_of: str,
    why: str,
    traffic: "_Traffic | None",
    evidence: Evidence,
    days: Fraction,
) -> Proposal | None:
    if traffic is None or traffic.now <= traffic.on_it:
        return None
    suite = evidence.suites.get((task.name, tier.name)) or KnownSuite(name="", rule=needed_for(task))
    least = least_items(suite.rule)
    items = least or 0
    per_item = Fraction(traffic.on_it, traffic.requests)
    reference = Fraction(traffic.on_reference or 0, traffic.requests)
    most = suite.rule.items if suite.name else items
    saving, requests = Fraction(traffic.now - traffic.on_it), Fraction(traffic.requests)
    until_renewal = Fraction(suite.valid_for_s or evidence.valid_for_s, 86_400) / days
    can_pass = least is not None and least <= most
    return Proposal(
        task=task.name,
        tier=tier.name,
        instead_of=instead_of,
        why=why,
        requests=round(requests * MONTH_DAYS / days),
        saving=Nano(round(saving * MONTH_DAYS / days)),
        trial=Trial(
            suite=suite.name,
            least=least,
            most=most,
            candidate=Nano(round(per_item * items)),
            reference=Nano(round(reference * items)),
        ),
        is_worth_it=can_pass and most * per_item <= saving * until_renewal,
    )


def needed_for(task: Task) -> Rule:
    """What a suite would have to show for the task, had it as many items as it needs; `items` is nothing yet."""
    return Rule(
        items=0,
        bar=float(task.bar) or None,
        margin=None if task.margin is None else float(task.margin),
        candidates=max(len(task.candidates), 1),
    )
