"""Policy references: every policy that is named exists, asks one that can be asked, and has whom to choose from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from farthing.tags import SHADOW
from gateway.settings.findings import Path
from router_policies.registry import ASKED, KINDS, LATENCY

DEFAULT: Final = "cheapest_passing"
PLAIN: Final = KINDS - {LATENCY}
"""Kinds that a feature can name without declaring them."""

FOLLOWING: Final = "shadow"
_GRADED: Final = frozenset({"canary", FOLLOWING})
_OF_CANDIDATES: Final = _GRADED | {"cascade"}

Say = Callable[[Path, str], None]
Known = Callable[[Path, Any, Any, str, str], None]


class PolicyCheck:
    """Checks the sections `policies` and `features` of a plain tree. `known` adds a finding for a name that is not one
    of some, `say` any other."""

    def __init__(
        self,
        tiers: Sequence[str],
        policies: Mapping[str, Any],
        features: Mapping[str, Any],
        tasks: Mapping[str, Any],
        *,
        known: Known,
        say: Say,
    ) -> None:
        self._tiers = tiers
        self._policies = {name: one for name, one in policies.items() if isinstance(one, dict)}
        self._features = {name: one for name, one in features.items() if isinstance(one, dict)}
        self._tasks = {name: one for name, one in tasks.items() if isinstance(one, dict)}
        self._known, self._say = known, say

    def __call__(self) -> None:
        """Every finding."""
        for name, policy in self._policies.items():
            self._policy(name, policy)
        for name, feature in self._features.items():
            path: Path = ("features", name, "policy")
            self._known(path, feature.get("policy"), [*PLAIN, *self._policies], "policy", "policies")
            self._candidates(path, feature)

    def _policy(self, name: str, policy: Mapping[str, Any]) -> None:
        path: Path = ("policies", name)
        if name in KINDS:
            self._say(path, "is the name of a kind of policy; choose another")
        self._known((*path, "tier"), policy.get("tier"), self._tiers, "tier", "tiers")
        then = policy.get("then")
        self._known((*path, "then"), then, [*PLAIN, *self._policies], "policy", "policies")
        asked = self._kind(then)
        if asked in KINDS - ASKED:
            self._say((*path, "then"), f"a policy of kind {asked} cannot be asked; {', '.join(sorted(ASKED))} can")
        elif name in (round_trip := list(self._asked(name))):
            way = " -> ".join((name, *round_trip[: round_trip.index(name) + 1]))
            self._say((*path, "then"), f"it asks itself: {way}; let the last one ask {DEFAULT}")

    def _kind(self, name: Any) -> str:
        """The kind of a declared policy, or the name itself."""
        declared = self._policies.get(name) if isinstance(name, str) else None
        return str((declared or {}).get("kind", name))

    def _asked(self, name: str) -> Iterator[str]:
        """The declared policies that one asks, one after another; a circle is gone round once."""
        seen = set[str]()
        then = self._policies[name].get("then")
        while isinstance(then, str) and then in self._policies and then not in seen:
            seen.add(then)
            yield then
            then = self._policies[then].get("then")

    def _candidates(self, path: Path, feature: Mapping[str, Any]) -> None:
        """A policy that gives calls to candidates needs a task that has some, and the one that it names."""
        policy, task = feature.get("policy"), feature.get("task")
        kind = self._kind(policy)
        if kind not in _OF_CANDIDATES or (task is not None and task not in self._tasks):
            return
        if kind == FOLLOWING and SHADOW not in self._features:
            self._say(path, f"what a shadow asks is paid by the feature {SHADOW}; declare it under `features:`")
        tasks = self._tasks if task is None else {task: self._tasks[task]}
        if not any(one.get("candidates") for one in tasks.values()):
            whose = f"the task {task} has none" if task is not None else "no task has any"
            self._say(path, f"a {kind} needs candidates, and {whose}; list them under `tasks:`")
        elif kind in _GRADED and not any(_is_live(one) for one in tasks.values()):
            self._say(path, f"a {kind} needs graded answers, and nobody grades; write live: {{enabled: true}}")
        elif task is not None and isinstance(policy, str):
            self._named_tier(path, kind, self._policies.get(policy, {}).get("tier"), task)

    def _named_tier(self, path: Path, kind: str, tier: Any, task: str) -> None:
        candidates = self._tasks[task].get("candidates")
        if not isinstance(tier, str) or not isinstance(candidates, list) or tier in candidates:
            return
        if tier == self._tasks[task].get("reference"):
            self._say(path, f"a {kind} from the reference {tier} to itself; name a candidate of {task}")
        else:
            self._say(path, f"the {kind} names the tier {tier}, which is no candidate of {task}; list it there")


def _is_live(task: Mapping[str, Any]) -> bool:
    """Its answers are graded."""
    live = task.get("live")
    return isinstance(live, dict) and live.get("enabled") in (True, "true") and live.get("grader") != "none"
