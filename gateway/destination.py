"""Destination: which tier or model a call is meant for, decided before the caches because their keys name it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from types import MappingProxyType
from typing import Final

from farthing.call import Call, Endpoint
from farthing.catalog import AnswerCheck, Catalog, Deployment, Feature, Step, Task, Tier
from farthing.errors import ModelNotFound
from farthing.routing import Branch, Choice, Demotion, Pool, RouteQuestion, Scorecard, SuiteVersion
from gateway.facts import NO_FACTS, Facts
from gateway.splits import place_of
from gateway.thresholds import Reached
from router_policies import policy_of
from router_policies.deployments import pool_of
from router_policies.fallbacks import fallbacks
from router_policies.lowering import lower
from router_policies.registry import MOVING, kinds_in, rule_of

NO_SUITES: Final[Mapping[str, SuiteVersion]] = MappingProxyType({})
AUTO: Final = "auto"
TIER_PREFIX: Final = "tier/"
HONOURED: Final = "model"
PINNED: Final = "pinned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """`deployments` that may answer, and why these. `tier` is empty for a concrete model outside all tiers.

    `partition` is the text that cache keys carry for it: the same deployments give the same answers. `fails_over` is
    False where one deployment only may be tried. `pools` are the deployments as the balancer
    wants them: those of the tier, then those of the tiers to which it falls. `moves`: its policy looks at more than
    evals, so `Destinations.now` is to be asked as well. `escalation` is where a call goes whose answer fails its
    `check`, in a cascade; `shadow` a tier that is asked besides for a `shadow_share` of the calls.
    """

    tier: str
    deployments: tuple[Deployment, ...]
    policy: str
    reason: str
    reference_tier: str
    partition: str
    fails_over: bool = True
    pools: tuple[Pool, ...] = ()
    moves: bool = False
    escalation: "Destination | None" = None
    shadow: str = ""
    shadow_share: float = 0.0
    check: AnswerCheck | None = None

    @property
    def is_routed(self) -> bool:
        """True where a policy chose the tier, and not the caller."""
        return self.policy not in (HONOURED, PINNED)


_Parts = tuple[tuple[float, Destination], ...]
"""Destinations by the place below which their part of the calls lies (see `gateway.splits`), ascending to 1."""


class Destinations:
    """Answers for one catalogue and one set of scorecards; policies are pure, so every answer is kept."""

    def __init__(
        self,
        catalog: Catalog,
        scorecards: tuple[Scorecard, ...],
        now_ns: int,
        *,
        demotions: tuple[Demotion, ...] = (),
        suites: Mapping[str, SuiteVersion] = NO_SUITES,
    ) -> None:
        self._catalog = catalog
        self._suites = suites
        self._scorecards = scorecards
        self._demotions = demotions
        self._now_ns = now_ns
        self._routed: dict[tuple[str, str], Destination] = {}
        self._named: dict[str, Destination] = {}
        self._lowered: dict[tuple[str, str, str, Reached], Destination] = {}
        self._moved: dict[tuple[str, str, float | None], _Parts] = {}
        self._facts = NO_FACTS

    def find(self, call: Call, feature: Feature, task: Task | None) -> Destination:
        """Where this call goes. Raises ModelNotFound."""
        name = self._catalog.aliases.get(call.model, call.model)
        concrete = call.endpoint is Endpoint.EMBEDDINGS or not feature.override_model
        if name == AUTO or (not concrete and name in self._catalog.models):
            return self._by_policy(feature, task)
        found = self._named.get(name)
        if found is None:
            found = self._named[name] = self._by_name(name)
        return found

    def now(self, call: Call, feature: Feature, task: Task | None, facts: Facts, pressure: float | None) -> Destination:
        """Where a call goes whose destination `moves`: by the facts of now, and by the pressure on its budgets."""
        if self._facts is not facts:
            self._facts = facts
            self._moved.clear()
            self._lowered.clear()
        name = task.name if task else ""
        place = (feature.name, name, pressure)
        parts = self._moved.get(place)
        if parts is None:
            parts = self._moved[place] = self._parts(feature, task, facts, pressure)
        if len(parts) == 1:
            return parts[0][1]
        found = place_of(call, name)
        return next((part for bound, part in parts if found < bound), parts[-1][1])

    def lower(self, destination: Destination, feature: Feature, task: Task | None, reached: Reached) -> Destination:
        """The destination under the step that a budget has reached. What the caller named stays."""
        if not destination.is_routed:
            return destination
        place = (feature.name, task.name if task else "", destination.reason if destination.moves else "", reached)
        found = self._lowered.get(place)
        if found is None:
            found = self._lowered[place] = self._under(destination, feature, task, reached)
        return found

    def _under(self, destination: Destination, feature: Feature, task: Task | None, reached: Reached) -> Destination:
        best = destination.escalation or destination
        choice = lower(self.question(feature, task), best.tier, reached.do)
        why = f"budget {reached.budget} at {reached.percent}: {reached.do.value}"
        fails_over = reached.do is not Step.CHEAPEST
        if choice is None:
            if fails_over:
                return destination
            reason = f"{why}, no cheaper tier has a valid pass; {destination.reason}"
            return replace(_alone(destination), reason=reason)
        tier = self._catalog.tier(choice.tier)
        lowered = _destination(
            tier,
            tier.deployments,
            policy=destination.policy,
            reason=f"{why}, {choice.reason}",
            reference=destination.reference_tier,
            behind=fallbacks(self.question(feature, task), tier.name),
        )
        return lowered if fails_over else _alone(lowered)

    def _by_policy(self, feature: Feature, task: Task | None) -> Destination:
        place = (feature.name, task.name if task else "")
        found = self._routed.get(place)
        if found is None:
            found = self._routed[place] = self._choose(feature, task)
        return found

    def _choose(self, feature: Feature, task: Task | None) -> Destination:
        found = self._chosen(policy_of(feature).choose(self.question(feature, task)), feature, task)
        return replace(found, moves=True) if MOVING & kinds_in(rule_of(feature)) else found

    def _parts(self, feature: Feature, task: Task | None, facts: Facts, pressure: float | None) -> _Parts:
        name = task.name if task else ""
        question = replace(
            self.question(feature, task),
            evidence=tuple(one for one in facts.evidence if one.task == name),
            latencies=facts.latencies,
            pressure=pressure,
        )
        choice = policy_of(feature).choose(question)
        split = choice.split or (Branch(tier=choice.tier, share=1.0, reason=choice.reason),)
        bounds = accumulate(branch.share for branch in split)
        parts = (self._chosen(replace(choice, tier=one.tier, reason=one.reason), feature, task) for one in split)
        return tuple((bound, replace(part, moves=True)) for bound, part in zip(bounds, parts, strict=True))

    def _chosen(self, choice: Choice, feature: Feature, task: Task | None) -> Destination:
        if choice.shadow:
            found = self._at(choice.tier, choice.reason, feature, task)
            return replace(found, shadow=choice.shadow, shadow_share=choice.shadow_share)
        if not choice.escalation:
            return self._at(choice.tier, choice.reason, feature, task)
        # What stands behind the first tier of a cascade is the next one, and no fallback.
        first = _in_tier(self._at(choice.tier, choice.reason, feature, task))
        then = self._at(choice.escalation, choice.reason, feature, task)
        check = task.check if task else AnswerCheck()
        partition = f"cascade {check}|{first.partition}|{then.partition}"
        return replace(first, escalation=then, check=check, partition=partition)

    def _at(self, name: str, reason: str, feature: Feature, task: Task | None) -> Destination:
        tier = self._catalog.tier(name)
        return _destination(
            tier,
            tier.deployments,
            policy=feature.policy,
            reason=reason,
            reference=task.reference if task else self._catalog.default_tier,
            behind=fallbacks(self.question(feature, task), tier.name),
        )

    def question(self, feature: Feature, task: Task | None) -> RouteQuestion:
        """All that the policy of a feature gets to see for a task, but for what changes between two generations."""
        name = task.name if task is not None else None
        return RouteQuestion(
            catalog=self._catalog,
            feature=feature,
            task=task,
            scorecards=tuple(card for card in self._scorecards if card.task == name),
            now_ns=self._now_ns,
            demotions=tuple(demotion for demotion in self._demotions if demotion.task == name),
            suites=self._suites,
        )

    def _by_name(self, name: str) -> Destination:
        if name.startswith(TIER_PREFIX):
            tier = name.removeprefix(TIER_PREFIX)
            for known in self._catalog.tiers:
                if known.name == tier:
                    return _destination(
                        known,
                        known.deployments,
                        policy=PINNED,
                        reason=f"pinned to tier {tier}",
                        reference=tier,
                    )
        deployments = self._catalog.models.get(name)
        if not deployments:
            raise ModelNotFound(
                f"No deployment serves the model '{name}': ask GET /v1/models for the list, or send `auto`.",
                param="model",
            )
        within = self._tier_of(deployments[0])
        reference = within.name if within else ""
        return _destination(within, deployments, policy=HONOURED, reason="the model asked for", reference=reference)

    def _tier_of(self, deployment: Deployment) -> Tier | None:
        for tier in self._catalog.tiers:
            if deployment in tier.deployments:
                return tier
        return None


def _destination(
    tier: Tier | None,
    deployments: tuple[Deployment, ...],
    *,
    policy: str,
    reason: str,
    reference: str,
    behind: tuple[Tier, ...] = (),
) -> Destination:
    """To deployments of a tier, or (None) of no tier; `behind` are the tiers to which it falls."""
    name = tier.name if tier else ""
    pools = [pool_of(name, deployments, tier.balance, tier.affinity) if tier else pool_of(name, deployments)]
    known = {place.id for place in deployments}
    for other in behind:
        if places := [place for place in other.deployments if place.id not in known]:
            pools.append(pool_of(other.name, places, other.balance, other.affinity))
            known |= {place.id for place in places}
    every = tuple(place for pool in pools for place in pool.deployments)
    return Destination(
        tier=name,
        deployments=every,
        policy=policy,
        reason=reason,
        reference_tier=reference,
        partition=">".join(map(_partition, pools)),
        pools=tuple(pools) if len(every) > 1 else (),
    )


def _partition(pool: Pool) -> str:
    places = ",".join(sorted(f"{place.id}@{place.provider.base_url}" for place in pool.deployments))
    return f"{pool.tier}|{places}"


def _alone(destination: Destination) -> Destination:
    """The same for one attempt in each tier, without its fallbacks."""
    escalation = _alone(destination.escalation) if destination.escalation is not None else None
    return replace(_in_tier(destination), fails_over=False, escalation=escalation, partition=destination.partition)


def _in_tier(destination: Destination) -> Destination:
    """The same without its fallbacks."""
    if len(destination.pools) < 2:
        return destination
    pools = destination.pools[:1]
    return replace(destination, deployments=pools[0].deployments, pools=pools, partition=_partition(pools[0]))
