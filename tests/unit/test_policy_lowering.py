"""Where a full budget sends a call: down the ladder, never to a tier without a valid pass."""

import pytest

from farthing.catalog import Step
from router_policies.lowering import lower
from tests.unit.test_policy_cheapest_passing import SMALL, TINY, question


def test_downgrade_takes_the_next_cheaper_tier_that_passes() -> None:
    choice = lower(question(SMALL, TINY), "large", Step.DOWNGRADE)

    assert choice is not None
    assert choice.tier == "small"
    assert choice.reason == "small in place of large, scored 0.95 of bar 0.85 on sentiment (24 items)"


def test_cheapest_takes_the_cheapest_tier_that_passes() -> None:
    choice = lower(question(SMALL, TINY), "large", Step.CHEAPEST)

    assert choice is not None
    assert choice.tier == "tiny"


def test_a_tier_whose_pass_has_expired_is_passed_over() -> None:
    choice = lower(question(SMALL, TINY, now_ns=1_000), "large", Step.CHEAPEST)

    assert choice is None


@pytest.mark.parametrize("step", list(Step))
def test_without_a_cheaper_pass_or_a_task_nothing_changes(step: Step) -> None:
    assert lower(question(SMALL), "small", step) is None
    assert lower(question(), "large", step) is None
    assert lower(question(SMALL, TINY, task=None), "large", step) is None


def test_telling_lowers_nothing() -> None:
    assert lower(question(SMALL, TINY), "large", Step.NOTIFY) is None
