"""What is told of each tier where a policy names more than one."""

from farthing.routing import RouteQuestion
from router_policies.canary import Canary
from router_policies.cascade import Cascade
from router_policies.cheapest_passing import CheapestPassing
from router_policies.explain import explain
from router_policies.shadow import Shadow
from tests.unit.test_policy_cheapest_passing import TINY, question


def told(asked: RouteQuestion, policy: Canary | Cascade | Shadow) -> dict[str, tuple[bool, str]]:
    return {step.tier: (step.taken, step.why) for step in explain(asked, policy).steps}


def test_both_steps_of_a_cascade_are_told() -> None:
    found = told(question(), Cascade(CheapestPassing()))

    assert found["tiny"] == (True, "answers first, whatever its evidence: its answers are checked")
    assert found["large"] == (False, "answers where the first answer fails its check")
    assert found["small"] == (False, "has no eval on record for sentiment; a cheaper tier was taken")


def test_the_shares_of_a_canary_are_told() -> None:
    found = told(question(TINY), Canary(CheapestPassing(), 50))

    assert found["tiny"][0]
    assert found["tiny"][1].startswith("answers 5% of the calls: canary 5%, 0 graded")
    assert found["large"][1].startswith("answers 95% of the calls: not in the canary of tiny")


def test_a_tier_that_is_only_asked_is_told_as_such() -> None:
    found = told(question(), Shadow(0.1))

    assert found["tiny"] == (False, "is asked besides for 0.1 of the calls, and its answers reach nobody")
    assert found["large"][0]
