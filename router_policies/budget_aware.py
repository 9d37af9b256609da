"""The policy `budget_aware`: the reference while there is money, a cheaper tier that passes while it goes too fast."""

from math import ceil

from farthing.ports import Policy
from farthing.routing import Choice, RouteQuestion
from router_policies.eligible import eligible


class BudgetAware:
    """Walks from the reference down to what `then` chooses, over the tiers between that have a valid pass: the first
    while spending keeps to the window's pace, the last one from `full_at` on, evenly in between. Never lower.

    `RouteQuestion.pressure` is held up by its maker, so that a spend that swings does not change the tier each time.
    """

    def __init__(self, then: Policy, full_at: float) -> None:
        self._then, self._full_at = then, full_at

    def choose(self, question: RouteQuestion) -> Choice:
        task, pressure = question.task, question.pressure
        if task is None:
            return self._then.choose(question)
        if pressure is None or pressure <= 0:
            pace = "no budget has a pace" if pressure is None else "spending keeps pace"
            return Choice(tier=task.reference, reason=f"budget aware: {task.reference}, {pace}")
        floor = self._then.choose(question)
        rank = question.catalog.tier(floor.tier).rank
        steps = [tier for tier in reversed(eligible(question, task)) if tier.rank >= rank]
        step = min(ceil(round(pressure / self._full_at * (len(steps) - 1), 6)), len(steps) - 1)
        pace = f"spending is {pressure:.0%} of the limit ahead"
        tier = steps[step].name
        if tier == floor.tier:
            return Choice(tier=tier, reason=f"budget aware: {pace}; {floor.reason}")
        return Choice(tier=tier, reason=f"budget aware: {tier}, {pace}")
