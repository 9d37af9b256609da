"""Explanation: what became of every tier when a policy chose, for `farthing explain`."""

from dataclasses import dataclass

from farthing.catalog import Task, Tier
from farthing.ports import Policy
from farthing.routing import Choice, RouteQuestion
from router_policies.standing import standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One tier: whether it was taken, and a phrase that completes "TIER ..."."""

    tier: str
    taken: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A choice and one step for every tier of the ladder, cheapest first."""

    choice: Choice
    steps: tuple[Step, ...]

    def lines(self) -> list[str]:
        """One line for each tier, the one that was taken marked with `->`, then the reason."""
        marks = [f"{'->' if step.taken else '  '} {step.tier}: {step.why}" for step in self.steps]
        return [*marks, f"reason: {self.choice.reason}"]


def explain(question: RouteQuestion, policy: Policy) -> Explanation:
    """What the policy chooses, and why each tier was or was not taken."""
    choice = policy.choose(question)
    steps = tuple(_step(question, choice, tier) for tier in question.catalog.tiers)
    return Explanation(choice=choice, steps=steps)


def _step(question: RouteQuestion, choice: Choice, tier: Tier) -> Step:
    taken = tier.name == choice.tier
    if part := _part(choice, tier.name):
        return Step(tier=tier.name, taken=taken, why=part)
    if question.feature.policy == "fixed":
        return Step(tier=tier.name, taken=taken, why="named by the feature" if taken else "not named by the feature")
    if question.task is None:
        return Step(tier=tier.name, taken=taken, why="the default tier" if taken else "no task given, so no evidence")
    return Step(tier=tier.name, taken=taken, why=_why(question, question.task, choice, tier))


def _part(choice: Choice, tier: str) -> str:
    """What a tier has to do with a choice that names more than one; empty for any other."""
    for branch in choice.split:
        if branch.tier == tier:
            return f"answers {branch.share:.0%} of the calls: {branch.reason}"
    if choice.escalation and tier == choice.tier:
        return "answers first, whatever its evidence: its answers are checked"
    if choice.escalation == tier:
        return "answers where the first answer fails its check"
    if choice.shadow == tier:
        return f"is asked besides for {choice.shadow_share:.3g} of the calls, and its answers reach nobody"
    return ""


def _why(question: RouteQuestion, task: Task, choice: Choice, tier: Tier) -> str:
    """The tier's place in the walk of `cheapest_passing`."""
    reached = question.catalog.tier(choice.tier)
    if tier.name == task.reference:
        return f"the reference tier of {task.name}" + ("" if tier is reached else ", not needed")
    if tier.rank > question.catalog.tier(task.reference).rank:
        return f"dearer than the reference tier {task.reference}"
    if tier.name not in task.candidates:
        return f"not a candidate for {task.name}"
    why = standing(question, task, tier).why
    return f"{why}; a cheaper tier was taken" if tier.rank > reached.rank else why
