"""Standing: whether the evidence on record lets a tier take over a task now, and why."""

from collections.abc import Mapping
from dataclasses import dataclass

from farthing.catalog import Task, Tier
from farthing.routing import Demotion, RouteQuestion, Scorecard, SuiteVersion, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """`passes` is True where the pass on record is valid now; `why` is a phrase that completes "TIER ..."."""

    passes: bool
    why: str


def standing(question: RouteQuestion, task: Task, tier: Tier) -> Standing:
    """How the tier stands for the task.

    A pass is valid only for the deployments and the suite that were tested, for a bar at least as high as today's, and
    until it expires: whatever moved since, the tier has to pass again.
    """
    card = card_of(question.scorecards, task.name, tier.name)
    if card is None:
        return Standing(passes=False, why=f"has no eval on record for {task.name}")
    fault = (
        _verdict_fault(card)
        or _change_fault(card, task, tier)
        or _suite_fault(card, question.suites)
        or _age_fault(card, question.now_ns)
        or _demotion_fault(card, question.demotions)
    )
    if fault:
        return Standing(passes=False, why=fault)
    return Standing(passes=True, why=f"scored {_figures(card)}")


def card_of(cards: tuple[Scorecard, ...], task: str, tier: str) -> Scorecard | None:
    """The newest card of that task and tier; None where there is none."""
    mine = [card for card in cards if card.task == task and card.tier == tier]
    return max(mine, key=lambda card: card.decided_ns, default=None)


def _verdict_fault(card: Scorecard) -> str:
    """What is wrong with the card as a pass; empty if nothing."""
    if card.verdict is Verdict.UNDECIDED:
        return f"is undecided for {card.task}"
    return "" if card.verdict is Verdict.PASS else f"failed: scored {_figures(card)}"


def _change_fault(card: Scorecard, task: Task, tier: Tier) -> str:
    """What changed since the pass, such that another one is needed."""
    bar = float(task.bar)
    if sorted(card.models) != sorted(deployment.id for deployment in tier.deployments):
        return f"passed {task.name} with other deployments than it has now"
    if card.bar < bar:
        return f"passed a bar of {card.bar:.2f}, and the bar of {task.name} is {bar:.2f} now"
    if task.margin is not None and (card.margin is None or card.margin > float(task.margin)):
        return f"passed {task.name} without showing a margin of {task.margin:f} against {task.reference}"
    return ""


def _suite_fault(card: Scorecard, suites: Mapping[str, SuiteVersion]) -> str:
    version = suites.get(card.suite)
    if version is None:
        return ""
    if card.suite_hash != version.hash:
        return f"passed {card.task} with another suite {card.suite} than there is now"
    if card.grader and card.grader != version.grader:
        return f"passed {card.task} with other graders than suite {card.suite} has now"
    return ""


def _age_fault(card: Scorecard, now_ns: int) -> str:
    expired = card.valid_until_ns is not None and now_ns >= card.valid_until_ns
    return f"passed {card.task}, but that pass has expired" if expired else ""


def _demotion_fault(card: Scorecard, demotions: tuple[Demotion, ...]) -> str:
    """The demotion that outweighs the pass. A pass soon after it counts only for another suite or other deployments:
    trying the same again until it passes by luck is no evidence."""
    for demotion in demotions:
        if (demotion.task, demotion.tier) != (card.task, card.tier) or card.decided_ns >= demotion.until_ns:
            continue
        is_another = (card.suite_hash, sorted(card.models)) != (demotion.suite_hash, sorted(demotion.models))
        if card.decided_ns <= demotion.at_ns or not is_another:
            return f"passed {card.task}, but was demoted: {demotion.detail}"
    return ""


def _figures(card: Scorecard) -> str:
    return f"{card.score:.2f} of bar {card.bar:.2f} on {card.task} ({card.items} items)"
