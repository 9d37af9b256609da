"""The policy budget_aware: the better tier while there is money for it."""

from dataclasses import replace

import pytest

from router_policies.budget_aware import BudgetAware
from router_policies.cheapest_passing import CheapestPassing
from tests.unit.test_policy_cheapest_passing import SMALL, TINY, question

POLICY = BudgetAware(CheapestPassing(), 0.2)


@pytest.mark.parametrize(
    ("pressure", "tier"),
    [(None, "large"), (-0.5, "large"), (0.0, "large"), (0.05, "small"), (0.1, "small"), (0.15, "tiny"), (0.9, "tiny")],
)
def test_the_more_spending_runs_ahead_the_cheaper_is_the_tier_that_answers(pressure: float | None, tier: str) -> None:
    choice = POLICY.choose(replace(question(SMALL, TINY), pressure=pressure))

    assert choice.tier == tier


def test_no_pressure_sends_a_call_below_a_tier_that_passes() -> None:
    choice = POLICY.choose(replace(question(SMALL), pressure=1.0))

    assert choice.tier == "small"
    assert choice.reason == (
        "budget aware: spending is 100% of the limit ahead; "
        "cheapest passing: small scored 0.95 of bar 0.85 on sentiment (24 items)"
    )


def test_without_a_pass_the_reference_answers_whatever_is_spent() -> None:
    assert POLICY.choose(replace(question(), pressure=1.0)).tier == "large"


def test_the_reason_says_whether_a_budget_has_a_pace() -> None:
    assert POLICY.choose(question(TINY)).reason == "budget aware: large, no budget has a pace"
    assert POLICY.choose(replace(question(TINY), pressure=0.0)).reason == "budget aware: large, spending keeps pace"


def test_without_a_task_the_default_tier_answers() -> None:
    assert POLICY.choose(replace(question(TINY, task=None), pressure=1.0)).tier == "large"
