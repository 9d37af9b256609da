"""Sides: where one configuration would have sent a call of which only the ledger's row is left."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from farthing.call import Call, Endpoint
from farthing.catalog import Catalog, Deployment, Feature, Task, VirtualKey
from farthing.errors import InvalidTag, ModelNotFound
from farthing.record import Outcome, Record
from farthing.tags import CACHE, SHADOW
from gateway.admission import known_task
from gateway.destination import Destination
from gateway.facts import NO_FACTS
from gateway.runtime import Generation
from router_policies.cheapest_passing import candidates
from router_policies.standing import Standing, standing
from router_policies.tasks import resolve_task

REFUSED: Final = "refused"
"""The label of calls that a configuration does not admit."""
NAMED: Final = ("header", "metadata", "key", "feature", "default")
"""Sources of a task that a row is enough to tell again; any other one looked at the body."""
_NEVER_SENT: Final = (Outcome.REFUSED, Outcome.REJECTED)
_ENDPOINTS: Final = frozenset(endpoint.value for endpoint in Endpoint)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Landing:
    """Where a call goes; a side gives the same object for the same answer.

    `label` names it for people: a tier, `model NAME` outside of all tiers, or REFUSED, with the reason in `why`.
    `places` are the tier's own deployments, `behind` those that are asked where the answer of a cascade fails its
    check, `reach` how many may be tried in all, those of fallbacks included.
    `is_unproven`: the tier is cheaper than the trusted one and has no valid pass for the task. `is_told_by_body`: the
    task is the one that the row has, since the body told it.
    """

    label: str
    task: str
    tier: str = ""
    why: str = ""
    places: tuple[Deployment, ...] = ()
    behind: tuple[Deployment, ...] = ()
    reach: int = 0
    is_unproven: bool = False
    is_told_by_body: bool = False

    @property
    def is_refused(self) -> bool:
        """True where the call is not admitted."""
        return self.label == REFUSED


class TaskAgain(NamedTuple):
    """The task of a call that was made, by another configuration, and the rule that tells it."""

    task: Task | None
    source: str


def task_again(record: Record, key_default: str, feature: Feature, catalog: Catalog) -> TaskAgain:
    """What a row is enough to tell; where the body told the task, and nothing else does now, it stays the row's. Raises
    InvalidTag where a header named a task that is not declared."""
    said, source = record.tags.task, record.task_source
    name, now = resolve_task(
        header=said if source == "header" else "",
        metadata=said if source == "metadata" else "",
        key_default=key_default,
        feature_default=feature.task,
    )
    if not name and source not in NAMED:
        return TaskAgain(catalog.tasks.get(said), source)
    return TaskAgain(known_task(name, now, catalog), now)


def is_replayed(record: Record) -> bool:
    """True for calls of clients that were sent somewhere, or answered by a cache. Not known of the others is what they
    would have cost; the gateway's own calls go where the gateway sends them."""
    own = record.tags.key_id == record.tags.feature and record.tags.feature in (SHADOW, CACHE)
    return record.endpoint in _ENDPOINTS and record.outcome not in _NEVER_SENT and not own


@dataclass(slots=True)
class Side:
    """One configuration. Answers are kept, so rows cost little and memory is bounded by the configuration's size."""

    generation: Generation
    _keys: Mapping[str, VirtualKey] = field(init=False)
    _landings: dict[tuple[str, str, str, bool], Landing] = field(default_factory=dict)
    _refusals: dict[tuple[str, str], Landing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._keys = {key.id: key for key in self.generation.keys.values()}

    def land(self, record: Record) -> Landing:
        """Where this configuration sends the call of the record."""
        try:
            feature = self._feature(record)
            again = task_again(record, self._keys[record.tags.key_id].task, feature, self.generation.catalog)
            return self._landing(record, feature, again.task, again.source not in NAMED)
        except ModelNotFound:
            return self._refused(record, f"nothing serves the model {record.model_requested}")
        except InvalidTag:
            return self._refused(record, f"the task {record.tags.task} is not declared")
        except _Gone as gone:
            return self._refused(record, gone.args[0])

    def _refused(self, record: Record, why: str) -> Landing:
        place = record.tags.task, why
        found = self._refusals.get(place)
        if found is None:
            found = self._refusals[place] = Landing(label=REFUSED, task=record.tags.task, why=why)
        return found

    def _feature(self, record: Record) -> Feature:
        """As at the door: the key has to be there, the feature has to be registered and the key's to name."""
        name, known = record.tags.feature, self.generation
        key = self._keys.get(record.tags.key_id)
        if key is None:
            raise _Gone(f"there is no key {record.tags.key_id}")
        if (key.features and name not in key.features) or not (
            known.count_unregistered or name in known.catalog.features
        ):
            raise _Gone(f"the feature {name} is not registered, or not for the key {key.id}")
        return known.feature(name)

    def _landing(self, record: Record, feature: Feature, task: Task | None, told_by_body: bool) -> Landing:
        call, destinations = call_of(record), self.generation.destinations
        destination = destinations.find(call, feature, task)
        if destination.moves:
            destination = destinations.now(call, feature, task, NO_FACTS, None)
        place = (feature.name, task.name if task else "", destination.partition + destination.policy, told_by_body)
        found = self._landings.get(place)
        if found is None:
            found = self._landings[place] = self._described(destination, feature, task, told_by_body)
        return found

    def _described(self, destination: Destination, feature: Feature, task: Task | None, told_by_body: bool) -> Landing:
        name = destination.tier or f"model {destination.deployments[0].name}"
        behind = destination.escalation
        return Landing(
            label=f"{name}, then {behind.tier}" if behind else name,
            task=task.name if task else "",
            tier=destination.tier,
            why=destination.reason,
            places=_own(destination),
            behind=_own(behind) if behind else (),
            reach=len(destination.deployments) + (len(behind.deployments) if behind else 0),
            is_unproven=destination.is_routed and self._is_unproven(destination.tier, feature, task),
            is_told_by_body=told_by_body,
        )

    def _is_unproven(self, name: str, feature: Feature, task: Task | None) -> bool:
        catalog = self.generation.catalog
        tier, trusted = catalog.tier(name), catalog.tier(task.reference if task else catalog.default_tier)
        if tier.rank >= trusted.rank:
            return False
        return task is None or tier not in candidates(catalog, task) or not self.stands(feature, task, name).passes

    def stands(self, feature: Feature, task: Task, tier: str) -> Standing:
        """How a tier stands for a task by this configuration."""
        question = self.generation.destinations.question(feature, task)
        return standing(question, task, self.generation.catalog.tier(tier))


class _Gone(Exception):
    """The configuration does not have it."""


def _own(destination: Destination) -> tuple[Deployment, ...]:
    """The deployments of its tier, without those of fallbacks."""
    return destination.pools[0].deployments if destination.pools else destination.deployments


def call_of(record: Record) -> Call:
    """The call that left the record, without its body, which nobody kept."""
    return Call(
        id=record.id,
        endpoint=Endpoint(record.endpoint),
        tags=record.tags,
        model=record.model_requested,
        stream=record.stream,
        wants_usage=False,
        raw=b"",
        body={},
        received_ns=record.received_ns,
        started=0.0,
        input_bound=record.usage.input_total,
    )
