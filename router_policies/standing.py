"""Standing: whether the evidence on record lets a tier take over a task now, and why."""

from dataclasses import dataclass

from farthing.catalog import Task, Tier
from farthing.routing import RouteQuestion, Scorecard, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """`passes` is True where the pass on record is valid now; `why` is a phrase that completes "TIER ..."."""

    passes: bool
    why: str


def standing(question: RouteQuestion, task: Task, tier: Tier) -> Standing:
    """How the tier stands for the task.

    A pass is valid only for the deployments that were tested, for a bar at least as high as today's, and until
    it expires: whatever moved since, the tier has to pass again.
    """
    card = _card(question.scorecards, task.name, tier.name)
    if card is None:
        return Standing(passes=False, why=f"has no eval on record for {task.name}")
    fault = _fault(card, task, tier, question.now_ns)
    if fault:
        return Standing(passes=False, why=fault)
    return Standing(passes=True, why=f"scored {_figures(card)}")


def _card(cards: tuple[Scorecard, ...], task: str, tier: str) -> Scorecard | None:
    """The newest card of that task and tier."""
    mine = [card for card in cards if card.task == task and card.tier == tier]
    return max(mine, key=lambda card: card.decided_ns, default=None)


def _fault(card: Scorecard, task: Task, tier: Tier, now_ns: int) -> str:
    """What is wrong with the card as a pass; empty if nothing."""
    bar = float(task.bar)
    if card.verdict is Verdict.UNDECIDED:
        return f"is undecided for {task.name}"
    if card.verdict is not Verdict.PASS:
        return f"failed: scored {_figures(card)}"
    if sorted(card.models) != sorted(deployment.id for deployment in tier.deployments):
        return f"passed {task.name} with other deployments than it has now"
    if card.bar < bar:
        return f"passed a bar of {card.bar:.2f}, and the bar of {task.name} is {bar:.2f} now"
    if card.valid_until_ns is not None and now_ns >= card.valid_until_ns:
        return f"passed {task.name}, but that pass has expired"
    return ""


def _figures(card: Scorecard) -> str:
    return f"{card.score:.2f} of bar {card.bar:.2f} on {card.task} ({card.items} items)"
