"""The policy canary: a share that grows with evidence, and is gone where it speaks against the tier."""

from dataclasses import replace

import pytest

from farthing.routing import Branch, LiveEvidence, RouteQuestion
from router_policies.canary import Canary
from router_policies.cheapest_passing import CheapestPassing
from tests.unit.test_policy_cheapest_passing import SMALL, TINY, question

POLICY = Canary(CheapestPassing(), 50)


def graded(asked: RouteQuestion, e_worse: float = 1.0, **items: int) -> RouteQuestion:
    evidence = tuple(
        LiveEvidence(task="sentiment", tier=tier, graded=count, e_worse=e_worse) for tier, count in items.items()
    )
    return replace(asked, evidence=evidence)


@pytest.mark.parametrize(("items", "share"), [(0, 0.05), (49, 0.05), (50, 0.25), (99, 0.25), (100, 1.0), (5000, 1.0)])
def test_the_share_takes_a_step_for_every_fifty_graded_answers(items: int, share: float) -> None:
    choice = POLICY.choose(graded(question(TINY), tiny=items))

    assert choice.tier == "tiny"
    assert (choice.split[0].share if choice.split else 1.0) == share


def test_what_is_not_the_canarys_share_goes_to_the_reference() -> None:
    choice = POLICY.choose(question(TINY))

    assert [(branch.tier, branch.share) for branch in choice.split] == [("tiny", 0.05), ("large", 0.95)]
    assert choice.split[0].reason.startswith("canary 5%, 0 graded: cheapest passing: tiny scored 0.92")
    assert choice.split[1].reason.startswith("not in the canary of tiny; reference: ")


def test_what_is_not_the_canarys_share_goes_to_the_tier_that_answered_before_it() -> None:
    choice = POLICY.choose(graded(question(TINY, SMALL), tiny=60, small=200))

    assert [(branch.tier, branch.share) for branch in choice.split] == [("tiny", 0.25), ("small", 0.75)]


def test_a_canary_does_not_lean_on_another_one() -> None:
    choice = POLICY.choose(question(TINY, SMALL))

    assert [branch.tier for branch in choice.split] == ["tiny", "large"]


def test_a_tier_that_graded_answers_show_to_be_worse_has_no_share() -> None:
    choice = POLICY.choose(graded(question(TINY), e_worse=10.0, tiny=500))

    assert (choice.tier, choice.split) == ("large", ())
    assert choice.reason.startswith("canary: tiny is worse in 500 graded answers; reference: ")


def test_evidence_against_one_tier_leaves_another_its_share() -> None:
    asked = graded(question(TINY, SMALL), e_worse=99.0, tiny=60)

    choice = POLICY.choose(asked)

    assert [(branch.tier, branch.share) for branch in choice.split] == [("small", 0.05), ("large", 0.95)]
    assert choice.split[0] == Branch(tier="small", share=0.05, reason=choice.reason)


def test_where_the_reference_answers_there_is_no_canary() -> None:
    assert POLICY.choose(question()).split == ()
    assert POLICY.choose(question(TINY, task=None)).split == ()
