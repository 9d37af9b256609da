"""The policy `cascade`: a cheap candidate answers first, and a better tier where that answer fails its check."""

from farthing.ports import Policy
from farthing.routing import Choice, RouteQuestion
from router_policies.eligible import not_demoted


class Cascade:
    """Lets `first`, else the task's cheapest candidate, answer first, whether it has passed or not: the check is what
    protects here. Where it fails, `then` says who answers. A tier that has been demoted does not answer first."""

    def __init__(self, then: Policy, first: str = "") -> None:
        self._then, self._first = then, first

    def choose(self, question: RouteQuestion) -> Choice:
        found, task = self._then.choose(question), question.task
        if task is None:
            return found
        rank = question.catalog.tier(found.tier).rank
        cheaper = [tier.name for tier in not_demoted(question, task) if tier.rank < rank]
        first = next((tier for tier in cheaper if self._first in ("", tier)), "")
        if not first:
            return found
        reason = f"cascade: {first} answers first, {found.tier} where its answer fails the check"
        return Choice(tier=first, reason=reason, escalation=found.tier)
