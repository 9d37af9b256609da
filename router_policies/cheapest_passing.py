"""The policy `cheapest_passing`: the cheapest tier with a valid pass on record, else the trusted one."""

from farthing.catalog import Catalog, Task, Tier
from farthing.routing import Choice, RouteQuestion
from router_policies.standing import standing


class CheapestPassing:
    """Walks the task's candidates below its reference tier, cheapest first, and takes the first that passes.

    Without a task, or without a pass, the answer is the trusted tier: a wrong cheap route costs quality silently,
    a missed one only money.
    """

    def choose(self, question: RouteQuestion) -> Choice:
        task = question.task
        if task is None:
            return Choice(tier=question.catalog.default_tier, reason="reference: no task given")
        for tier in candidates(question.catalog, task):
            found = standing(question, task, tier)
            if found.passes:
                return Choice(tier=tier.name, reason=f"cheapest passing: {tier.name} {found.why}")
        return Choice(
            tier=task.reference,
            reason=f"reference: no tier below {task.reference} has a valid pass for {task.name}",
        )


def candidates(catalog: Catalog, task: Task) -> list[Tier]:
    """The task's candidate tiers below its reference, cheapest first."""
    ceiling = catalog.tier(task.reference).rank
    eligible = [tier for tier in catalog.tiers if tier.name in task.candidates and tier.rank < ceiling]
    return sorted(eligible, key=lambda tier: tier.rank)
