"""What every routing policy promises, whatever the evidence."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.catalog import Catalog, Deployment, Feature, Provider, Task, Tier
from farthing.ports import Policy
from farthing.routing import RouteQuestion, Scorecard, Verdict
from router_policies import policies

NAMES = ("tiny", "small", "large")
PROVIDER = Provider(name="p", adapter="openai", base_url="http://127.0.0.1:1")
TIERS = tuple(
    Tier(name=name, rank=rank, deployments=(Deployment(name=name, provider=PROVIDER, model=name),))
    for rank, name in enumerate(NAMES)
)

tasks = st.builds(
    Task,
    name=st.just("t"),
    bar=st.decimals(min_value="0.01", max_value=1, places=2),
    reference=st.sampled_from(NAMES),
    candidates=st.lists(st.sampled_from(NAMES), unique=True).map(tuple),
)
cards = st.builds(
    Scorecard,
    task=st.sampled_from(["t", "other"]),
    tier=st.sampled_from(NAMES),
    verdict=st.sampled_from(Verdict),
    score=st.floats(0, 1),
    bar=st.floats(0, 1),
    items=st.integers(0, 1000),
    suite=st.just("s"),
    suite_hash=st.just("h"),
    models=st.sampled_from([("p/tiny",), ("p/small",), ("p/large",), ()]),
    run_id=st.just("r"),
    decided_ns=st.integers(0, 100),
    valid_until_ns=st.none() | st.integers(0, 100),
)
questions = st.builds(
    RouteQuestion,
    catalog=st.just(
        Catalog(tiers=TIERS, tasks={}, features={}, models={}, aliases={}, default_tier="large", fingerprint="f")
    ),
    feature=st.builds(Feature, name=st.just("f"), tier=st.sampled_from(["", *NAMES])),
    task=st.none() | tasks,
    scorecards=st.lists(cards, max_size=5).map(tuple),
    now_ns=st.integers(0, 100),
)


@pytest.fixture(params=sorted(policies()), scope="module")
def policy(request: pytest.FixtureRequest) -> Policy:
    return policies()[request.param]


@given(question=questions)
def test_the_chosen_tier_exists_and_the_reason_fits_a_header(policy: Policy, question: RouteQuestion) -> None:
    choice = policy.choose(question)

    assert choice.tier in NAMES
    assert choice.reason.isascii()
    assert choice.reason.isprintable()


@given(question=questions)
def test_the_same_question_has_the_same_answer(policy: Policy, question: RouteQuestion) -> None:
    assert policy.choose(question) == policy.choose(question)


@given(question=questions)
def test_no_policy_leaves_the_trusted_tier_without_a_pass(question: RouteQuestion) -> None:
    choice = policies()["cheapest_passing"].choose(question)

    trusted = question.task.reference if question.task else "large"
    passed = {
        card.tier
        for card in question.scorecards
        if question.task and card.task == "t" and card.verdict is Verdict.PASS
        if Decimal(card.bar) >= Decimal(float(question.task.bar))
    }
    assert choice.tier in {trusted, *passed}
