"""Explained: which rule sent a call where, what the alternatives cost, and on what evidence; as values."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from farthing.catalog import Deployment, Feature, Task, Tier
from farthing.errors import UnpricedModel
from farthing.money import Nano
from farthing.record import Extra, Record
from farthing.routing import Branch, Choice, Demotion, LiveEvidence, RouteQuestion, Scorecard
from farthing.usage import TOKEN_CLASSES, Usage
from gateway.alternatives import is_metered_by_time, price_at
from gateway.facts import Facts
from gateway.pricing import Pricing
from gateway.runtime import Generation
from ledger.adjustments import Adjustment
from router_policies import policy_of
from router_policies.explain import Step, explain
from router_policies.standing import card_of

NAMED_IT: Final = "named by the caller"
NOT_ASKED: Final = "not asked: the caller named where to go"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a call is known by. `task_rule` says in words what told the task, empty where its source says all."""

    feature: str
    task: str
    task_source: str
    model: str
    endpoint: str
    key: str = ""
    task_rule: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The tokens that alternatives are priced for, and where they come from. `seconds` is what an upstream took, for
    prices by the second; None where nobody knows."""

    usage: Usage
    basis: str
    extras: tuple[tuple[str, int], ...] = ()
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceCost:
    """What the tokens cost at a deployment, nano-dollars: `now`, and `then`, when the call was made (None where it is
    the same, or there was no price). `problem` says why `now` is None."""

    deployment: str
    now: Nano | None
    then: Nano | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierView:
    """One tier of the ladder: `why` completes "TIER ...", `costs` are those of its deployments (none where no tokens
    are known), `card` is its newest evidence for the task, `demotion` the one in force, `live` what grades of real
    calls have shown since, `advice` what to do where a run could tell more."""

    tier: str
    is_taken: bool
    why: str
    costs: tuple[PlaceCost, ...]
    card: Scorecard | None = None
    demotion: Demotion | None = None
    live: LiveEvidence | None = None
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """The whole answer.

    `policy` is `pinned` or `model` where the caller named a tier or a model; `outside` are the costs at the deployments
    of a model that is in no tier. `split` are the parts of a divided traffic, `escalation` the tier behind a check,
    `shadow` one that is asked besides. Of a call that was made, `record` is the row with its later `corrections`, and
    `now` says where it would go now.
    """

    asked: Asked
    tier: str
    policy: str
    reason: str
    reference_tier: str
    deployments: tuple[str, ...]
    tiers: tuple[TierView, ...]
    tokens: Tokens | None
    outside: tuple[PlaceCost, ...] = ()
    split: tuple[Branch, ...] = ()
    escalation: str = ""
    shadow: str = ""
    record: Record | None = None
    corrections: tuple[Adjustment, ...] = ()
    now: "Explained | None" = None
    notes: tuple[str, ...] = ()


# --- tiers ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """The tiers of a generation as they stand for a feature and task, at `now_ns`."""

    generation: Generation
    feature: Feature
    task: Task | None
    facts: Facts
    now_ns: int

    @property
    def question(self) -> RouteQuestion:
        """What the policy gets to see, but for the pressure on budgets."""
        name = self.task.name if self.task else ""
        return replace(
            self.generation.destinations.question(self.feature, self.task),
            evidence=tuple(one for one in self.facts.evidence if one.task == name),
            latencies=self.facts.latencies,
        )

    def choose(self) -> tuple[Choice, tuple[Step, ...]]:
        """What the feature's policy chooses, and what became of each tier."""
        found = explain(self.question, policy_of(self.feature))
        return found.choice, found.steps

    def views(
        self, steps: Sequence[Step], tokens: Tokens | None, *, then_ns: int | None = None
    ) -> tuple[TierView, ...]:
        """Every tier with its costs and its evidence; with `then_ns` (wall ns) also at the prices of then."""
        question = self.question
        return tuple(
            self._view(question, step, self.generation.catalog.tier(step.tier), tokens, then_ns) for step in steps
        )

    def costs(
        self, places: Sequence[Deployment], tokens: Tokens | None, *, then_ns: int | None = None
    ) -> tuple[PlaceCost, ...]:
        """What tokens cost at each of these; nothing where none are known."""
        if tokens is None:
            return ()
        pricing = self.generation.pricing
        return tuple(_cost(place, pricing, tokens, self.now_ns, then_ns) for place in places)

    def _view(
        self, question: RouteQuestion, step: Step, tier: Tier, tokens: Tokens | None, then_ns: int | None
    ) -> TierView:
        task = self.task
        card = card_of(question.scorecards, task.name, tier.name) if task else None
        demoted = [one for one in question.demotions if one.tier == tier.name and self.now_ns < one.until_ns]
        return TierView(
            tier=tier.name,
            is_taken=step.taken,
            why=step.why,
            costs=self.costs(tier.deployments, tokens, then_ns=then_ns),
            card=card,
            demotion=demoted[0] if demoted else None,
            live=next((one for one in question.evidence if one.tier == tier.name), None),
            advice=_advice(task, tier, card),
        )


def named_steps(generation: Generation, tier: str) -> tuple[Step, ...]:
    """The steps where the caller named a tier, or a model that is in it, or in none of them."""
    return tuple(
        Step(tier=one.name, taken=one.name == tier, why=NAMED_IT if one.name == tier else NOT_ASKED)
        for one in generation.catalog.tiers
    )


def _advice(task: Task | None, tier: Tier, card: Scorecard | None) -> str:
    if task is None or card is not None or tier.name not in task.candidates or tier.name == task.reference:
        return ""
    return f"no eval on record: `farthing eval run SUITE`, with a suite of the task {task.name}"


def _cost(place: Deployment, pricing: Pricing, tokens: Tokens, now_ns: int, then_ns: int | None) -> PlaceCost:
    try:
        now = _at(place, pricing, tokens, now_ns)
    except UnpricedModel as error:
        return PlaceCost(deployment=place.id, now=None, problem=error.message)
    if now is None:
        return PlaceCost(deployment=place.id, now=None, problem="charged by the second, and nobody knows how many")
    try:
        then = None if then_ns is None else _at(place, pricing, tokens, then_ns)
    except UnpricedModel:
        then = None
    return PlaceCost(deployment=place.id, now=now, then=None if then == now else then)


def _at(place: Deployment, pricing: Pricing, tokens: Tokens, at_ns: int) -> Nano | None:
    price = pricing.price(place, at_ns)
    if tokens.seconds is None and is_metered_by_time(price):
        return None
    return price_at(price, tokens.usage, extras=tokens.extras, seconds=tokens.seconds or 0.0)


# --- tokens --------------------------------------------------------------------------------------


def tokens_of(record: Record, seconds: float) -> Tokens | None:
    """The tokens of a row; None where it has none."""
    if not any(getattr(record.usage, name) for name in TOKEN_CLASSES):
        return None
    basis = "those that the row has"
    if record.cache.is_hit:
        basis += ", of the stored answer: the hit itself cost nothing"
    return Tokens(usage=record.usage, basis=basis, extras=_beside(record.extras), seconds=seconds)


def _beside(extras: Sequence[Extra]) -> tuple[tuple[str, int], ...]:
    return tuple((extra.name, extra.quantity) for extra in extras if extra.name not in TOKEN_CLASSES)
