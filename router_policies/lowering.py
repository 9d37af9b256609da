"""Lowering: where a full budget sends a call that a policy would send to a dearer tier; never to an unproven one."""

from farthing.catalog import Step
from farthing.routing import Choice, RouteQuestion
from router_policies.cheapest_passing import candidates
from router_policies.standing import standing


def lower(question: RouteQuestion, tier: str, step: Step) -> Choice | None:
    """The next cheaper tier than `tier` that has a valid pass for the task, or for CHEAPEST the cheapest of these;
    None where there is none. The reason is a phrase that completes "budget ...: "."""
    task = question.task
    if task is None or step is Step.NOTIFY:
        return None
    rank = question.catalog.tier(tier).rank
    below = [one for one in candidates(question.catalog, task) if one.rank < rank]
    for found in below if step is Step.CHEAPEST else reversed(below):
        stands = standing(question, task, found)
        if stands.passes:
            return Choice(tier=found.name, reason=f"{found.name} in place of {tier}, {stands.why}")
    return None
