"""The policy cheapest_passing: which evidence lets a tier take over."""

from dataclasses import replace
from decimal import Decimal

import pytest

from farthing.catalog import Catalog, Deployment, Feature, Provider, Task, Tier
from farthing.routing import Demotion, RouteQuestion, Scorecard, SuiteVersion, Verdict
from router_policies.cheapest_passing import CheapestPassing
from router_policies.explain import explain

PROVIDER = Provider(name="local", adapter="openai", base_url="http://127.0.0.1:1")


def tier(name: str, rank: int, *models: str) -> Tier:
    names = models or (name,)
    deployments = tuple(Deployment(name=model, provider=PROVIDER, model=model) for model in names)
    return Tier(name=name, rank=rank, deployments=deployments)


TASK = Task(name="sentiment", bar=Decimal("0.85"), reference="large", candidates=("small", "tiny", "huge"))
CATALOG = Catalog(
    tiers=(tier("tiny", 0, "a", "b"), tier("small", 1), tier("mid", 2), tier("large", 3), tier("huge", 4)),
    tasks={"sentiment": TASK},
    features={},
    models={},
    aliases={},
    default_tier="large",
    fingerprint="f",
)
TINY = Scorecard(
    task="sentiment",
    tier="tiny",
    verdict=Verdict.PASS,
    score=0.92,
    bar=0.85,
    items=24,
    suite="s",
    suite_hash="h",
    models=("local/b", "local/a"),
    run_id="r",
    decided_ns=100,
    valid_until_ns=1_000,
)
SMALL = replace(TINY, tier="small", models=("local/small",), score=0.95)


def question(*cards: Scorecard, task: Task | None = TASK, now_ns: int = 500) -> RouteQuestion:
    return RouteQuestion(catalog=CATALOG, feature=Feature(name="chat"), task=task, scorecards=cards, now_ns=now_ns)


def test_the_cheapest_tier_that_passed_is_taken_and_the_reason_shows_its_score() -> None:
    choice = CheapestPassing().choose(question(SMALL, TINY))

    assert choice.tier == "tiny"
    assert choice.reason == "cheapest passing: tiny scored 0.92 of bar 0.85 on sentiment (24 items)"


def test_without_a_task_the_default_tier_answers() -> None:
    choice = CheapestPassing().choose(question(TINY, task=None))

    assert (choice.tier, choice.reason) == ("large", "reference: no task given")


def test_without_evidence_the_reference_tier_answers() -> None:
    choice = CheapestPassing().choose(question())

    assert choice.tier == "large"
    assert choice.reason == "reference: no tier below large has a valid pass for sentiment"


@pytest.mark.parametrize(
    ("card", "why"),
    [
        (replace(TINY, verdict=Verdict.FAIL, score=0.5), "failed: scored 0.50 of bar 0.85 on sentiment (24 items)"),
        (replace(TINY, verdict=Verdict.UNDECIDED), "is undecided for sentiment"),
        (replace(TINY, models=("local/a",)), "passed sentiment with other deployments than it has now"),
        (replace(TINY, models=("local/a", "local/c")), "passed sentiment with other deployments than it has now"),
        (replace(TINY, bar=0.8), "passed a bar of 0.80, and the bar of sentiment is 0.85 now"),
        (replace(TINY, valid_until_ns=500), "passed sentiment, but that pass has expired"),
        (replace(TINY, task="other"), "has no eval on record for sentiment"),
    ],
)
def test_a_pass_that_does_not_hold_now_is_passed_over_and_explained(card: Scorecard, why: str) -> None:
    explanation = explain(question(card, SMALL), CheapestPassing())

    assert explanation.choice.tier == "small"
    assert explanation.steps[0].why == why


@pytest.mark.parametrize(
    ("version", "why"),
    [
        (SuiteVersion(hash="h2", grader="g"), "passed sentiment with another suite s than there is now"),
        (SuiteVersion(hash="h", grader="g2"), "passed sentiment with other graders than suite s has now"),
        (SuiteVersion(hash="h", grader="g"), "scored 0.92 of bar 0.85 on sentiment (24 items)"),
    ],
)
def test_a_pass_counts_for_the_suite_as_it_is_now(version: SuiteVersion, why: str) -> None:
    asked = replace(question(replace(TINY, grader="g")), suites={"s": version})

    assert explain(asked, CheapestPassing()).steps[0].why == why


def test_a_pass_counts_where_its_suite_is_not_at_hand_and_one_of_an_earlier_farthing_without_its_graders() -> None:
    elsewhere = replace(question(TINY), suites={"other": SuiteVersion(hash="x", grader="g")})
    earlier = replace(question(TINY), suites={"s": SuiteVersion(hash="h", grader="g")})

    assert CheapestPassing().choose(elsewhere).tier == "tiny"
    assert CheapestPassing().choose(earlier).tier == "tiny"


@pytest.mark.parametrize("card", [replace(TINY, valid_until_ns=501), replace(TINY, valid_until_ns=None)])
def test_a_pass_holds_until_its_last_nanosecond_or_without_end(card: Scorecard) -> None:
    assert CheapestPassing().choose(question(card)).tier == "tiny"


def test_a_pass_of_a_higher_bar_than_todays_holds() -> None:
    assert CheapestPassing().choose(question(replace(TINY, bar=0.9))).tier == "tiny"


def test_of_two_cards_of_a_tier_the_newer_one_counts() -> None:
    failed_later = replace(TINY, verdict=Verdict.FAIL, decided_ns=200)

    assert CheapestPassing().choose(question(TINY, failed_later)).tier == "large"


def test_a_tier_that_is_no_candidate_or_dearer_than_the_reference_is_never_taken() -> None:
    mid = replace(TINY, tier="mid", models=("local/mid",))
    huge = replace(TINY, tier="huge", models=("local/huge",))

    assert CheapestPassing().choose(question(mid, huge)).tier == "large"


def test_the_explanation_has_a_line_for_every_tier_and_the_reason() -> None:
    lines = explain(question(SMALL), CheapestPassing()).lines()

    assert lines == [
        "   tiny: has no eval on record for sentiment",
        "-> small: scored 0.95 of bar 0.85 on sentiment (24 items)",
        "   mid: not a candidate for sentiment",
        "   large: the reference tier of sentiment, not needed",
        "   huge: dearer than the reference tier large",
        "reason: cheapest passing: small scored 0.95 of bar 0.85 on sentiment (24 items)",
    ]


def test_the_explanation_says_that_a_cheaper_tier_was_taken_before_one_that_passes_too() -> None:
    steps = explain(question(TINY, SMALL), CheapestPassing()).steps

    assert steps[1].why == "scored 0.95 of bar 0.85 on sentiment (24 items); a cheaper tier was taken"


def test_the_explanation_without_a_task_marks_the_default_tier() -> None:
    steps = explain(question(TINY, task=None), CheapestPassing()).steps

    assert [step.tier for step in steps if step.taken] == ["large"]
    assert steps[0].why == "no task given, so no evidence"


def test_a_demoted_tier_is_not_taken_until_a_later_pass() -> None:
    demotion = Demotion(
        task="sentiment",
        tier="tiny",
        at_ns=200,
        until_ns=400,
        cause="drift",
        detail="its live answers fell below the bar",
        suite_hash="h",
        models=TINY.models,
    )

    def taken(card: Scorecard) -> str:
        return CheapestPassing().choose(replace(question(SMALL, card), demotions=(demotion,))).tier

    assert taken(TINY) == "small"
    assert taken(replace(TINY, decided_ns=300)) == "small"  # soon after, the same test once more
    assert taken(replace(TINY, decided_ns=300, suite_hash="another")) == "tiny"
    assert taken(replace(TINY, decided_ns=400)) == "tiny"


def test_a_task_with_a_margin_wants_a_pass_that_showed_one_as_small() -> None:
    task = replace(TASK, margin=Decimal("0.03"))

    def taken(margin: float | None) -> str:
        card = replace(TINY, margin=margin)
        return CheapestPassing().choose(question(card, task=task)).tier

    assert (taken(None), taken(0.05), taken(0.03), taken(0.02)) == ("large", "large", "tiny", "tiny")
