"""What every routing policy promises, whatever the evidence."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.catalog import Catalog, Deployment, Feature, Measure, PolicyRule, Provider, Task, Tier
from farthing.ports import Policy
from farthing.routing import Demotion, Latency, LiveEvidence, RouteQuestion, Scorecard, Verdict
from router_policies import policies, policy_of
from router_policies.registry import ASKED, ASKING, kinds_in
from router_policies.standing import standing

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
    demotions=st.lists(
        st.builds(
            Demotion,
            task=st.just("t"),
            tier=st.sampled_from(NAMES),
            at_ns=st.integers(0, 100),
            until_ns=st.integers(0, 200),
            cause=st.just("drift"),
            detail=st.just("it drifted"),
        ),
        max_size=2,
    ).map(tuple),
    evidence=st.lists(
        st.builds(
            LiveEvidence,
            task=st.just("t"),
            tier=st.sampled_from(NAMES),
            graded=st.integers(0, 200),
            e_worse=st.floats(0, 100),
        ),
        max_size=3,
    ).map(tuple),
    latencies=st.lists(
        st.builds(
            Latency,
            tier=st.sampled_from(NAMES),
            samples=st.integers(0, 100),
            first_byte_s=st.floats(0, 10),
            total_s=st.floats(0, 10),
        ),
        max_size=3,
        unique_by=lambda one: one.tier,
    ).map(tuple),
    pressure=st.none() | st.floats(-1, 1),
)
asked_rules = st.recursive(
    st.just(PolicyRule(kind="cheapest_passing")),
    lambda inner: st.builds(
        PolicyRule,
        kind=st.sampled_from(sorted(ASKED & ASKING)),
        p95_s=st.floats(0.1, 10),
        measure=st.sampled_from(Measure),
        full_at=st.floats(0.01, 1),
        then=inner,
    ),
    max_leaves=3,
)
rules = asked_rules | st.builds(
    PolicyRule,
    kind=st.sampled_from(["canary", "cascade", "shadow"]),
    tier=st.sampled_from(["", *NAMES]),
    then=asked_rules,
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
def test_the_cheapest_that_passes_is_never_a_tier_without_a_pass(question: RouteQuestion) -> None:
    choice = policies()["cheapest_passing"].choose(question)

    trusted = question.task.reference if question.task else "large"
    passed = {
        card.tier
        for card in question.scorecards
        if question.task and card.task == "t" and card.verdict is Verdict.PASS
        if Decimal(card.bar) >= Decimal(float(question.task.bar))
    }
    assert choice.tier in {trusted, *passed}


@given(question=questions, rule=rules)
def test_no_policy_sends_a_call_below_a_tier_that_passes(question: RouteQuestion, rule: PolicyRule) -> None:
    choice = policy_of(Feature(name="f", policy="declared", rule=rule)).choose(question)

    task = question.task
    trusted = {"large"} if task is None else {task.reference}
    if task is not None:
        trusted |= {tier.name for tier in TIERS if standing(question, task, tier).passes}
    # A cascade's first answer is protected by its check; the one that follows must have a pass.
    assert (choice.escalation or choice.tier) in trusted
    assert all(branch.tier in trusted for branch in choice.split)
    if choice.escalation or choice.shadow:
        assert task is not None
        assert (choice.tier if choice.escalation else choice.shadow) in task.candidates


@given(question=questions, rule=rules)
def test_the_shares_of_a_split_are_those_of_all_calls(question: RouteQuestion, rule: PolicyRule) -> None:
    choice = policy_of(Feature(name="f", policy="declared", rule=rule)).choose(question)

    assert choice.reason.isascii()
    if choice.split:
        assert choice.split[0].tier == choice.tier
        assert abs(sum(branch.share for branch in choice.split) - 1) < 1e-9
        assert len({branch.tier for branch in choice.split}) == len(choice.split)


@given(question=questions, rule=rules)
def test_a_cascade_escalates_upwards_and_never_to_itself(question: RouteQuestion, rule: PolicyRule) -> None:
    choice = policy_of(Feature(name="f", policy="declared", rule=rule)).choose(question)

    if choice.escalation:
        assert "cascade" in kinds_in(rule)
        assert NAMES.index(choice.tier) < NAMES.index(choice.escalation)
