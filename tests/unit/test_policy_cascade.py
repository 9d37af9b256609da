"""The policies cascade and shadow: who answers first, who answers after that, and who is only asked besides."""

from dataclasses import replace

import pytest

from farthing.routing import Demotion, RouteQuestion
from router_policies.cascade import Cascade
from router_policies.cheapest_passing import CheapestPassing
from router_policies.shadow import Shadow
from tests.unit.test_policy_cheapest_passing import SMALL, TASK, TINY, question

DEMOTED = Demotion(task="sentiment", tier="tiny", at_ns=400, until_ns=600, cause="drift", detail="it drifted")


def demoted(asked: RouteQuestion) -> RouteQuestion:
    return replace(asked, demotions=(DEMOTED,))


def test_the_cheapest_candidate_answers_first_though_it_has_not_passed() -> None:
    choice = Cascade(CheapestPassing()).choose(question())

    assert (choice.tier, choice.escalation) == ("tiny", "large")
    assert choice.reason == "cascade: tiny answers first, large where its answer fails the check"


def test_a_tier_that_has_passed_answers_where_the_check_fails() -> None:
    choice = Cascade(CheapestPassing()).choose(question(SMALL))

    assert (choice.tier, choice.escalation) == ("tiny", "small")


def test_the_tier_that_is_named_answers_first() -> None:
    choice = Cascade(CheapestPassing(), "small").choose(question())

    assert (choice.tier, choice.escalation) == ("small", "large")


@pytest.mark.parametrize("first", ["", "tiny", "small", "mid"])
def test_where_the_cheapest_candidate_has_passed_there_is_no_cascade(first: str) -> None:
    choice = Cascade(CheapestPassing(), first).choose(question(TINY))

    assert (choice.tier, choice.escalation) == ("tiny", "")


def test_a_tier_that_is_no_candidate_does_not_answer_first() -> None:
    choice = Cascade(CheapestPassing(), "mid").choose(question())

    assert (choice.tier, choice.escalation) == ("large", "")


def test_a_tier_that_was_demoted_does_not_answer_first_until_that_is_over() -> None:
    now = Cascade(CheapestPassing()).choose(demoted(question()))
    later = Cascade(CheapestPassing()).choose(demoted(question(now_ns=600)))

    assert (now.tier, later.tier) == ("small", "tiny")


def test_without_a_task_or_candidates_there_is_no_cascade() -> None:
    alone = Cascade(CheapestPassing()).choose(question(task=replace(TASK, candidates=())))
    no_task = Cascade(CheapestPassing()).choose(question(task=None))

    assert (alone.tier, alone.escalation, no_task.tier, no_task.escalation) == ("large", "", "large", "")


def test_a_shadow_leaves_the_call_to_the_reference_and_asks_the_candidate_besides() -> None:
    choice = Shadow(0.1).choose(question(SMALL, TINY))

    assert (choice.tier, choice.shadow, choice.shadow_share) == ("large", "tiny", 0.1)
    assert choice.reason == "reference: large, and tiny is asked besides for 0.1 of the calls"


def test_a_shadow_asks_the_tier_that_is_named_and_none_that_is_demoted() -> None:
    named = Shadow(0.1, "small").choose(question())
    gone = Shadow(0.1, "tiny").choose(demoted(question()))

    assert named.shadow == "small"
    assert (gone.tier, gone.shadow) == ("large", "")
    assert Shadow(0.1).choose(question(task=None)).shadow == ""
