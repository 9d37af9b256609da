"""The policy `canary`: a tier that has passed takes over by steps, each on the evidence of the calls before."""

from typing import Final

from farthing.catalog import Task
from farthing.ports import Policy
from farthing.routing import Branch, Choice, LiveEvidence, RouteQuestion
from router_policies.eligible import without

SHARES: Final = (0.05, 0.25, 1.0)
"""Of the task's calls, by steps."""
WORSE_FROM: Final = 10.0
"""The e-value from which a tier counts as worse: 1/alpha_f, alpha_f 0.10, as where the gate fails a candidate."""


class Canary:
    """Gives what `then` chooses its share of the calls, a step more for every `items` graded answers, as long as these
    do not show it to be worse; then none, and what `then` chooses without it answers. The calls that are not its share
    go to the next best tier that has all of its own, else to the reference."""

    def __init__(self, then: Policy, items: int) -> None:
        self._then, self._items = then, items

    def choose(self, question: RouteQuestion) -> Choice:
        found, task = self._then.choose(question), question.task
        if task is None or found.tier == task.reference:
            return found
        seen = _evidence(question, task, found.tier)
        if seen.e_worse >= WORSE_FROM:
            rest = self.choose(without(question, found.tier))
            return _retold(rest, f"canary: {found.tier} is worse in {seen.graded} graded answers; ")
        step = min(seen.graded // self._items, len(SHARES) - 1)
        share, figures = SHARES[step], f"canary {SHARES[step]:.0%}, {seen.graded} graded"
        if share == 1:
            return Choice(tier=found.tier, reason=f"{found.reason}; {figures}")
        rest = self._rest(question, task, found.tier)
        if rest.tier == found.tier:
            return found
        new = Branch(tier=found.tier, share=share, reason=f"{figures}: {found.reason}")
        old = Branch(tier=rest.tier, share=1 - share, reason=f"not in the canary of {found.tier}; {rest.reason}")
        return Choice(tier=found.tier, reason=new.reason, split=(new, old))

    def _rest(self, question: RouteQuestion, task: Task, tier: str) -> Choice:
        """Who answers the calls that are not that tier's share."""
        rest = self.choose(without(question, tier))
        if not rest.split:
            return rest
        return Choice(tier=task.reference, reason=f"reference: {rest.tier} is a canary itself")


def _evidence(question: RouteQuestion, task: Task, tier: str) -> LiveEvidence:
    found = (one for one in question.evidence if (one.task, one.tier) == (task.name, tier))
    return next(found, LiveEvidence(task=task.name, tier=tier, graded=0, e_worse=1.0))


def _retold(choice: Choice, before: str) -> Choice:
    split = tuple(
        Branch(tier=branch.tier, share=branch.share, reason=before + branch.reason) for branch in choice.split
    )
    return Choice(tier=choice.tier, reason=before + choice.reason, split=split)
