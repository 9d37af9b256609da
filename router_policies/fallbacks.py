"""Fallbacks: the tiers that answer in place of one none of whose deployments does; never one that nobody trusts."""

from collections.abc import Iterator

from farthing.catalog import Catalog, Tier
from farthing.routing import RouteQuestion
from router_policies.standing import standing


def fallbacks(question: RouteQuestion, tier: str) -> tuple[Tier, ...]:
    """The tiers to which a call for `tier` falls, in order: along the chain of `fallback`, those that have passed for
    its task, or are its reference, or dearer than that.

    Where no evidence was looked at, because a feature has the policy fixed, dearer than the tier it names will do.
    """
    catalog = question.catalog
    task = question.task
    trusted = catalog.tier(task.reference if task else catalog.default_tier).rank
    if question.feature.policy == "fixed":
        trusted = min(trusted, catalog.tier(tier).rank)
    return tuple(
        found
        for found in _chain(catalog, catalog.tier(tier))
        if found.rank >= trusted or (task is not None and standing(question, task, found).passes)
    )


def _chain(catalog: Catalog, tier: Tier) -> Iterator[Tier]:
    """Those behind a tier. The configuration has no circles; this ends all the same."""
    seen = {tier.name}
    while tier.fallback and tier.fallback not in seen:
        tier = catalog.tier(tier.fallback)
        seen.add(tier.name)
        yield tier
