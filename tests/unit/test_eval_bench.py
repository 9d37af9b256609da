"""Runs for commands: what is told before anything is asked."""

from dataclasses import replace
from decimal import Decimal

import pytest

from evals.projection import ExamCost, Projection
from evals.suite import Assertion, Item, Limits, Suite
from farthing.catalog import Task
from farthing.errors import ConfigError
from farthing.money import Nano
from gateway.evalbench import check_cap, in_vain

SUITE = Suite(
    name="s",
    task="faq",
    bar=0.8,
    margin=0.05,
    reference="large",
    candidates=("tiny", "small"),
    items=(
        Item(
            messages=({"role": "user", "content": "q"},),
            assertions=(Assertion(type="equals", value="a"),),
            max_tokens=8,
            temperature=0,
        ),
    ),
)
TASK = Task(name="faq", bar=Decimal("0.8"), margin=Decimal("0.05"), reference="large", candidates=("small",))
COSTS = Projection(least=Nano(10), most=Nano(2_000_000_000), tiers=())


@pytest.mark.parametrize(
    ("task", "why"),
    [
        (TASK, ""),
        (replace(TASK, margin=None, reference="huge"), ""),
        (None, "there is no task 'faq' in the configuration"),
        (replace(TASK, bar=Decimal("0.9")), "the task asks for a bar of 0.9, the suite for 0.8"),
        (replace(TASK, margin=Decimal("0.03")), "the task asks for a margin of 0.03 against large, the suite does not"),
        (replace(TASK, reference="huge"), "the reference of the task is huge, that of the suite large"),
        (replace(TASK, candidates=("mid",)), "no candidate of the suite is one of the task: mid"),
    ],
)
def test_a_pass_that_would_route_nothing_is_told_before_it_is_paid_for(task: Task | None, why: str) -> None:
    assert in_vain(SUITE, task) == why


@pytest.mark.parametrize(
    ("suite", "cap"),
    [
        (SUITE, None),
        (SUITE, Nano(2_000_000_000)),
        (replace(SUITE, limits=Limits(budget_usd=Decimal(2))), Nano(3_000_000_000)),
    ],
)
def test_what_fits_every_cap_may_run(suite: Suite, cap: Nano | None) -> None:
    check_cap(suite, COSTS, cap)


@pytest.mark.parametrize(
    ("suite", "cap"),
    [(SUITE, Nano(1_999_999_999)), (replace(SUITE, limits=Limits(budget_usd=Decimal("1.9"))), Nano(3_000_000_000))],
)
def test_what_might_pass_the_smallest_cap_is_refused(suite: Suite, cap: Nano | None) -> None:
    with pytest.raises(ConfigError, match=r"may cost up to 2\.000000000 USD, and 1\.9.* USD are allowed"):
        check_cap(suite, COSTS, cap)


def test_a_refusal_says_what_of_it_is_for_the_judges_exam() -> None:
    costs = replace(COSTS, exam=ExamCost(questions=70, least=Nano(5), most=Nano(1_500_000_000)))

    with pytest.raises(ConfigError, match=r"2\.000000000 USD \(1\.500000000 of them for its judge's exam\), and 1"):
        check_cap(SUITE, costs, Nano(1_000_000_000))
