"""Which tiers have to pass again, and why."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from evals.cells import prompt_hash
from evals.due import Due, State, Why, due
from evals.graders import grader_key
from evals.scorecards import Asked
from evals.suite import Assertion, Item, Suite
from farthing.catalog import Task
from farthing.routing import Demotion, Scorecard, Verdict

DAY_NS = 86_400 * 10**9
NOW_NS = 100 * DAY_NS
TASK = Task(name="faq", bar=Decimal("0.8"), reference="large", candidates=("small", "tiny"))
MODELS = {"tiny": ("local/tiny",), "small": ("local/small",), "large": ("cloud/large",)}


def item(number: int, want: str = "") -> Item:
    return Item(
        messages=({"role": "user", "content": f"q{number}"},),
        assertions=(Assertion(type="equals", value=want or f"a{number}"),),
        max_tokens=8,
        temperature=0,
    )


SUITE = Suite(
    name="faq", task="faq", bar=0.8, reference="large", candidates=("tiny", "small"), items=tuple(map(item, range(40)))
)
PASS = Scorecard(
    task="faq",
    tier="tiny",
    verdict=Verdict.PASS,
    score=0.95,
    bar=0.8,
    items=40,
    suite="faq",
    suite_hash=SUITE.hash,
    models=("local/tiny",),
    run_id="r",
    decided_ns=NOW_NS - DAY_NS,
    valid_until_ns=NOW_NS + 13 * DAY_NS,
    prompt_hash=prompt_hash(SUITE),
    grader=grader_key(SUITE),
    rule="betting/2",
)
FAIL = replace(PASS, verdict=Verdict.FAIL)
SMALL = replace(PASS, tier="small", models=("local/small",))
LOST = Demotion(
    task="faq",
    tier="tiny",
    at_ns=NOW_NS - DAY_NS // 2,
    until_ns=NOW_NS + DAY_NS // 2,
    cause="drift",
    detail="it got worse",
    suite_hash=SUITE.hash,
    models=("local/tiny",),
)


def found(*cards: Scorecard, task: Task = TASK, **given: Any) -> tuple[Due, ...]:
    asked: dict[str, Any] = {
        "models": MODELS,
        "scorecards": cards,
        "demotions": (),
        "queue": (),
        "suites": (SUITE,),
        "now_ns": NOW_NS,
        "valid_for_s": 14 * 86_400,
    } | given
    return due([task], State(**asked))


def test_what_was_never_evaluated_is_due_the_cheapest_tier_first() -> None:
    assert [(one.tier, one.why, one.suite) for one in found()] == [
        ("tiny", Why.NEVER, "faq"),
        ("small", Why.NEVER, "faq"),
    ]


def test_beyond_a_good_pass_nothing_is_due() -> None:
    assert found(PASS) == ()


def test_a_fail_is_no_reason_to_run_again_and_the_next_tier_has_its_turn() -> None:
    assert [one.tier for one in found(FAIL)] == ["small"]
    assert found(FAIL, SMALL) == ()


def test_a_task_without_a_suite_says_so() -> None:
    first = found(suites=())[0]

    assert (first.suite, first.detail) == ("", "there is no suite for the task")


@pytest.mark.parametrize(
    ("card", "why"),
    [
        (replace(PASS, valid_until_ns=NOW_NS), Why.EXPIRED),
        (replace(PASS, valid_until_ns=NOW_NS + DAY_NS), Why.SOON),
        (replace(FAIL, valid_until_ns=NOW_NS), Why.EXPIRED),
        (replace(PASS, models=("local/older",)), Why.MODELS),
        (replace(PASS, bar=0.7), Why.BAR),
        (replace(PASS, suite_hash="x"), Why.SUITE),
        (replace(PASS, suite_hash="x", prompt_hash="y"), Why.PROMPT),
        (replace(PASS, grader="x"), Why.GRADER),
        (replace(PASS, rule="point-estimate/1"), Why.RULE),
        (replace(PASS, verdict=Verdict.UNDECIDED, reason="e 3 of 20, and the run stopped"), Why.UNFINISHED),
    ],
)
def test_a_change_or_age_makes_a_tier_due(card: Scorecard, why: Why) -> None:
    first = found(card)[0]

    assert (first.tier, first.why) == ("tiny", why)


def test_an_undecided_test_that_is_complete_is_not_due() -> None:
    assert found(replace(PASS, verdict=Verdict.UNDECIDED, reason="undecided: given up"), SMALL) == ()


def test_a_wider_margin_than_the_task_asks_for_is_no_pass() -> None:
    task = replace(TASK, margin=Decimal("0.03"))

    assert found(replace(PASS, margin=0.05), task=task)[0].why is Why.BAR
    assert found(replace(PASS, margin=0.03), task=task) == ()


def test_a_demoted_tier_is_due_and_tells_from_when_on_a_run_counts() -> None:
    first = found(PASS, demotions=(LOST,))[0]

    assert (first.why, first.detail, first.from_ns) == (Why.DEMOTED, "it got worse", LOST.until_ns)


def test_a_pass_after_the_demotion_with_other_deployments_is_good() -> None:
    moved = MODELS | {"tiny": ("local/tiny-2",)}
    card = replace(PASS, models=("local/tiny-2",), decided_ns=NOW_NS)

    assert found(card, demotions=(LOST,), models=moved) == ()


def test_what_somebody_asked_for_is_due_with_his_reason() -> None:
    queue = (Asked(task="faq", tier="tiny", reason="drift", asked_ns=1),)

    first = found(PASS, queue=queue)[0]

    assert (first.why, first.detail) == (Why.ASKED, "drift")
