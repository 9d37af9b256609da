"""Registry: the policies by their kinds, and the policy of a feature, put together from what is declared."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from farthing.catalog import Feature, PolicyRule
from farthing.ports import Policy
from router_policies.budget_aware import BudgetAware
from router_policies.canary import Canary
from router_policies.cascade import Cascade
from router_policies.cheapest_passing import CheapestPassing
from router_policies.fixed import Fixed
from router_policies.latency_bound import LatencyBound
from router_policies.shadow import Shadow

DEFAULT: Final = PolicyRule(kind="cheapest_passing")
_KINDS: Final[Mapping[str, Callable[[PolicyRule], Policy]]] = MappingProxyType(
    {
        "budget_aware": lambda rule: BudgetAware(_then(rule), rule.full_at),
        "canary": lambda rule: Canary(_then(rule), rule.items),
        "cascade": lambda rule: Cascade(_then(rule), rule.tier),
        "cheapest_passing": lambda _rule: CheapestPassing(),
        "fixed": lambda _rule: Fixed(),
        "latency_bound": lambda rule: LatencyBound(_then(rule), rule.p95_s, rule.measure),
        "shadow": lambda rule: Shadow(rule.share, rule.tier),
    }
)
LATENCY: Final = "latency_bound"
MONEY: Final = "budget_aware"
MOVING: Final = frozenset({MONEY, "canary", LATENCY})
"""Kinds that look at what changes between two generations: latencies, live evidence, pressure."""
KINDS: Final = frozenset(_KINDS)
ASKED: Final = frozenset({"budget_aware", "cheapest_passing", "latency_bound"})
"""Kinds that `then` may name: they pick one tier that has passed, or the reference."""
ASKING: Final = frozenset({"budget_aware", "canary", "cascade", "latency_bound"})
"""Kinds that ask another policy, `cheapest_passing` where none is named."""


def policies() -> Mapping[str, Policy]:
    """Every kind by name, with its defaults."""
    return {kind: policy_by(PolicyRule(kind=kind)) for kind in _KINDS}


def policy_of(feature: Feature) -> Policy:
    """The policy that routes a feature's calls. Raises KeyError for a name that is neither a kind nor declared."""
    return policy_by(rule_of(feature))


def rule_of(feature: Feature) -> PolicyRule:
    """What the feature's policy is put together from."""
    return feature.rule or PolicyRule(kind=feature.policy)


@lru_cache(maxsize=256)
def policy_by(rule: PolicyRule) -> Policy:
    """The policy of a rule; they keep no state, so everybody shares them. Raises KeyError for an unknown kind."""
    return _KINDS[rule.kind](rule)


def kinds_in(rule: PolicyRule) -> frozenset[str]:
    """The kinds that a rule is put together from."""
    return frozenset({rule.kind}) | (kinds_in(rule.then) if rule.then is not None else frozenset())


def _then(rule: PolicyRule) -> Policy:
    return policy_by(rule.then or DEFAULT)
