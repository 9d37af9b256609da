"""Runtime: the rooms of a running gateway, and the one generation of configuration that a request sees."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from farthing.call import Call
from farthing.catalog import Catalog, Feature, Step, Task, VirtualKey
from farthing.errors import MoneyError
from farthing.ports import Clock
from farthing.routing import Route
from farthing.tags import UNREGISTERED
from farthing.value import changed
from gateway.books import Books, Page
from gateway.cachedesk import CacheDesk, CacheRules
from gateway.destination import Destination, Destinations
from gateway.drains import Drains
from gateway.facts import NO_FACTS, Facts
from gateway.forward import Forwarder
from gateway.outputbounds import OutputBounds
from gateway.paces import Paces
from gateway.pricing import Pricing
from gateway.taskdesk import TaskDesk
from gateway.thresholds import Thresholds
from ledger.budgets import BudgetBook
from router_policies.registry import MONEY, kinds_in, rule_of
from router_policies.tasks import Resolver

if TYPE_CHECKING:
    from cache.finding import Near

_UNREGISTERED = Feature(name=UNREGISTERED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """All that a reload replaces, swapped as one value; a request reads it once."""

    keys: Mapping[bytes, VirtualKey]
    catalog: Catalog
    count_unregistered: bool
    destinations: Destinations
    pricing: Pricing
    budgets: BudgetBook
    cache_rules: CacheRules
    resolver: Resolver | None = None
    """Tells the task of calls that name none; None where nothing is declared by which to tell it."""
    refuses_tasks: bool = True
    """Whether a call whose header names an undeclared task is refused; else it has none."""
    counts_prompts: bool = False
    """Whether system prompts that no task claims are counted."""

    def feature(self, name: str) -> Feature:
        """The registered feature, or the one for unregistered calls."""
        return self.catalog.features.get(name, _UNREGISTERED)


class Shadows(Protocol):
    """Follows the hits of the semantic cache."""

    def follow(self, call: Call, near: "Near", destination: Destination, runtime: "Runtime") -> None:
        """A hit was served; returns at once."""


class NoShadows:
    """Port `Shadows` where nobody asks how right the hits were."""

    def follow(self, call: Call, near: "Near", destination: Destination, runtime: "Runtime") -> None:
        """See the port."""


Observer = Callable[[Mapping[str, Any]], None]
"""Is shown a whole fresh answer, parsed, once it is paid for; raises nothing and takes microseconds."""


class LiveWatch(Protocol):
    """Watches the answers of tiers that a policy chose."""

    def observer(self, page: Page, call: Call, task: Task, runtime: "Runtime") -> Observer | None:
        """Who wants to see the answer of this call, whose tier is on its page; None for nobody."""


class NoLiveWatch:
    """Port `LiveWatch` where nobody watches."""

    def observer(self, page: Page, call: Call, task: Task, runtime: "Runtime") -> Observer | None:
        """See the port."""


class Candidates(Protocol):
    """Asks tiers that a policy shadows."""

    def beside(
        self, other: Observer | None, call: Call, task: Task, destination: Destination, runtime: "Runtime"
    ) -> Observer | None:
        """Who wants to see the answer of this call, for `other` as well; `other` alone where it is not followed."""


class NoCandidates:
    """Port `Candidates` where nobody is asked besides."""

    def beside(
        self, other: Observer | None, call: Call, task: Task, destination: Destination, runtime: "Runtime"
    ) -> Observer | None:
        """See the port."""
        return other


@dataclass(slots=True, kw_only=True)
class Runtime:
    """What the pipeline works with. Only `generation` ever changes."""

    generation: Generation
    books: Books
    caches: CacheDesk
    forwarder: Forwarder
    clock: Clock
    drains: Drains = field(default_factory=Drains)
    outputs: OutputBounds = field(default_factory=OutputBounds)
    thresholds: Thresholds = field(default_factory=Thresholds)
    on_lowered: Callable[[str, Step], None] = lambda _feature, _step: None
    """Told of each call whose route a threshold has changed, by its feature."""
    on_escalated: Callable[[str, str, str], None] = lambda _task, _tier, _check: None
    """Told of each call of a cascade that goes on to the next tier: its task, the first tier, and what its answer
    failed (see `gateway.cascades.CHECKS`)."""
    shadows: Shadows = field(default_factory=NoShadows)
    live: LiveWatch = field(default_factory=NoLiveWatch)
    candidates: Candidates = field(default_factory=NoCandidates)
    tasks: TaskDesk = field(default_factory=TaskDesk)
    paces: Paces = field(default_factory=Paces)
    facts: Callable[[], Facts] = lambda: NO_FACTS

    async def move(
        self, generation: Generation, page: Page, call: Call, feature: Feature, task: Task | None
    ) -> Destination:
        """Where a call goes whose policy looks at more than evals."""
        pressure = await self._pressure(generation, page) if MONEY in kinds_in(rule_of(feature)) else None
        return generation.destinations.now(call, feature, task, self.facts(), pressure)

    async def _pressure(self, generation: Generation, page: Page) -> float | None:
        """That of the call's budgets; None where they cannot be told, for it is the reservation that refuses."""
        try:
            await page.know()
            accounts = generation.budgets.accounts(page.tags, page.request.received_ns)
        except MoneyError:
            return None
        return await self.paces.pressure(accounts, generation.budgets, page.request.received_ns)

    async def lower(
        self, destination: Destination, generation: Generation, page: Page, feature: Feature, task: Task | None
    ) -> Destination:
        """The destination under the thresholds that the call's budgets have reached. Raises RunClosed,
        LedgerUnavailable."""
        by_budget = generation.budgets.thresholds
        if not by_budget or not destination.is_routed:
            return destination
        await page.know()
        accounts = generation.budgets.accounts(page.tags, page.request.received_ns)
        reached = await self.thresholds.reached(accounts, by_budget)
        if reached is None:
            return destination
        lowered = generation.destinations.lower(destination, feature, task, reached)
        if lowered is not destination:
            self.on_lowered(feature.name, reached.do)
        return lowered

    def route(self, destination: Destination) -> Route:
        """Where a call for this destination goes; where it may be tried once only, at whom."""
        route = Route(
            tier=destination.tier,
            deployments=destination.deployments,
            policy=destination.policy,
            reason=destination.reason,
            reference_tier=destination.reference_tier,
            pools=destination.pools,
        )
        if destination.escalation is not None:
            route = changed(route, then=self.route(destination.escalation), check=destination.check)
        return route if destination.fails_over else self.forwarder.balancer.one_of(route)
