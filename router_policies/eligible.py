"""Eligible tiers: those that may answer a task on their own, because they have a valid pass or are trusted."""

from dataclasses import replace

from farthing.catalog import Task, Tier
from farthing.routing import RouteQuestion
from router_policies.cheapest_passing import candidates
from router_policies.standing import standing


def eligible(question: RouteQuestion, task: Task) -> list[Tier]:
    """The candidates with a valid pass, cheapest first, then the reference."""
    passing = [tier for tier in candidates(question.catalog, task) if standing(question, task, tier).passes]
    return [*passing, question.catalog.tier(task.reference)]


def not_demoted(question: RouteQuestion, task: Task) -> list[Tier]:
    """The candidates that are not under a demotion now, whatever the evidence, cheapest first."""
    demoted = {
        demotion.tier
        for demotion in question.demotions
        if demotion.task == task.name and question.now_ns < demotion.until_ns
    }
    return [tier for tier in candidates(question.catalog, task) if tier.name not in demoted]


def without(question: RouteQuestion, tier: str) -> RouteQuestion:
    """The same question where that tier has no evidence."""
    return replace(question, scorecards=tuple(card for card in question.scorecards if card.tier != tier))
