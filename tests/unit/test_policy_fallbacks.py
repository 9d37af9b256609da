"""To which tiers a call falls: along the chain, and never to one that nobody trusts with its task."""

from dataclasses import replace
from types import MappingProxyType

import pytest

from farthing.catalog import Feature
from farthing.routing import RouteQuestion, Scorecard
from router_policies.fallbacks import fallbacks
from tests.unit.test_policy_cheapest_passing import CATALOG, SMALL, TASK, TINY

CHAIN = {"tiny": "small", "small": "mid", "mid": "large", "large": "huge"}


def question(
    behind: dict[str, str], *cards: Scorecard, policy: str = "cheapest_passing", task: bool = True
) -> RouteQuestion:
    tiers = tuple(replace(tier, fallback=behind.get(tier.name, "")) for tier in CATALOG.tiers)
    return RouteQuestion(
        catalog=replace(CATALOG, tiers=tiers, features=MappingProxyType({})),
        feature=Feature(name="chat", policy=policy),
        task=TASK if task else None,
        scorecards=cards,
        now_ns=500,
    )


def names(found: RouteQuestion, tier: str) -> list[str]:
    return [one.name for one in fallbacks(found, tier)]


def test_without_a_fallback_there_is_none() -> None:
    assert names(question({}), "tiny") == []


def test_tiers_that_have_not_passed_are_passed_over_up_to_the_reference() -> None:
    assert names(question(CHAIN, TINY), "tiny") == ["large", "huge"]


def test_a_tier_that_has_passed_comes_in_its_place() -> None:
    assert names(question(CHAIN, TINY, SMALL), "tiny") == ["small", "large", "huge"]


def test_a_pass_that_has_expired_is_none() -> None:
    assert names(question(CHAIN, TINY, replace(SMALL, valid_until_ns=499)), "tiny") == ["large", "huge"]


@pytest.mark.parametrize(("cards", "found"), [((), []), ((SMALL,), ["small"])])
def test_the_reference_falls_to_a_cheaper_tier_only_where_that_has_passed(
    cards: tuple[Scorecard, ...], found: list[str]
) -> None:
    assert names(question({"large": "small"}, *cards), "large") == found


def test_without_a_task_the_default_tier_falls_to_dearer_ones_only() -> None:
    assert names(question({"large": "small"}, SMALL, task=False), "large") == []
    assert names(question({"large": "huge"}, task=False), "large") == ["huge"]


def test_a_fixed_tier_falls_to_dearer_ones_because_nobody_asked_for_evidence() -> None:
    assert names(question(CHAIN, policy="fixed", task=False), "small") == ["mid", "large", "huge"]
    assert names(question({"mid": "small"}, policy="fixed", task=False), "mid") == []


def test_a_circle_ends_where_it_began() -> None:
    circle = {"mid": "large", "large": "huge", "huge": "mid"}

    assert names(question(circle, policy="fixed"), "mid") == ["large", "huge"]
