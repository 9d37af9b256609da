"""What a changed configuration would have done to calls, by hand-made rows."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from farthing.catalog import Catalog, Deployment, Feature, PolicyRule, VirtualKey
from farthing.money import Nano
from farthing.record import CacheOutcome, Outcome, Record
from farthing.routing import Scorecard, Verdict
from farthing.tags import Tags
from farthing.usage import Usage
from gateway.cachedesk import CacheRules
from gateway.destination import Destinations
from gateway.policydiff import Comparison, PolicyDiff, Risk
from gateway.pricing import Pricing
from gateway.runtime import Generation
from gateway.sides import REFUSED, Side
from ledger.budgets import BudgetBook
from ledger.prices import PriceBook
from ledger.testing import example_record
from tests.unit.test_mix import CARD, CATALOG, HOME, NOW_NS, PRICES, tier

RULES = CacheRules(exact=True, semantic=False, exact_ttl_s=1, semantic_ttl_s=1, threshold=0.5, max_entry_bytes=1_000)
KEY = VirtualKey(id="app", sha256=b"a" * 32, tenant="acme")
BY_NAME = {place.name: (place,) for one in CATALOG.tiers for place in one.deployments}
BASE = replace(CATALOG, models=BY_NAME)
PASSED = replace(CARD, low=0.85, high=0.95)
REFERENCE = replace(CARD, tier="large", models=("home/large",), score=0.93, low=0.9, high=0.96)


def generation(
    catalog: Catalog = BASE,
    cards: tuple[Scorecard, ...] = (),
    *,
    keys: Iterable[VirtualKey] = (KEY,),
    counts: bool = False,
) -> Generation:
    return Generation(
        keys={key.sha256: key for key in keys},
        catalog=catalog,
        count_unregistered=counts,
        destinations=Destinations(catalog, cards, NOW_NS),
        pricing=Pricing(PriceBook(PRICES), catalog),
        budgets=BudgetBook(()),
        cache_rules=RULES,
    )


def row(
    number: int = 0, *, feature: str = "search", task: str = "faq", source: str = "feature", **changes: Any
) -> Record:
    """A call with 1,000 tokens in and 200 out: 0.00014 USD on small, 0.0007 on middle, 0.0014 on large."""
    values: dict[str, Any] = {
        "tags": Tags(tenant="acme", key_id="app", feature=feature, task=task),
        "task_source": source,
        "model_requested": "auto",
        "tier": "large",
        "received_ns": NOW_NS - number,
        "cache": CacheOutcome.MISS,
        "usage": Usage(input_uncached=1_000, output=200),
        "cost": Nano(1_400_000),
    }
    return example_record(f"r{number}", **(values | changes))


def diff(rows: Iterable[Record], old: Generation, new: Generation) -> PolicyDiff:
    comparison = Comparison(old=Side(old), new=Side(new), now_ns=NOW_NS)
    for one in rows:
        comparison.see(one)
    return comparison.result(())


def with_features(catalog: Catalog, **features: Feature) -> Catalog:
    changed: Mapping[str, Feature] = {**catalog.features, **features}
    return replace(catalog, features=changed)


FIXED_SMALL = with_features(BASE, search=Feature(name="search", task="faq", policy="fixed", tier="small"))


def test_both_sides_cost_the_rows_own_tokens_on_the_tiers_that_they_choose() -> None:
    found = diff([row(), row(1)], generation(), generation(cards=(PASSED,)))

    assert (found.total.requests, found.total.old, found.total.new) == (2, 2_800_000, 280_000)
    [group] = found.moved
    assert (group.old.label, group.new.label, group.sums.delta) == ("large", "small", -2_520_000)
    assert group.new.why == "cheapest passing: small scored 0.90 of bar 0.80 on faq (100 items)"
    assert {label: (line.old_requests, line.new_requests) for label, line in found.mix.items()} == {
        "large": (2, 0),
        "small": (0, 2),
    }
    assert found.risks == ()


def test_a_tier_without_a_valid_pass_is_a_risk() -> None:
    found = diff([row()], generation(), generation(FIXED_SMALL))

    assert found.risks == (
        Risk(kind="unproven", what="search, task faq: to small, which has no valid pass for it", requests=1),
    )


def test_what_was_unproven_before_is_no_new_risk() -> None:
    found = diff([row()], generation(FIXED_SMALL), generation(FIXED_SMALL))

    assert found.risks == ()


def test_hits_cost_nothing_on_either_side_and_are_in_no_mix() -> None:
    found = diff([row(cache=CacheOutcome.EXACT, outcome=Outcome.HIT)], generation(), generation(cards=(PASSED,)))

    assert (found.total.requests, found.total.hits, found.total.old, found.total.new) == (1, 1, 0, 0)
    assert [(line.old_requests, line.new_requests) for line in found.mix.values()] == [(0, 0), (0, 0)]


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.REJECTED])
def test_what_was_never_sent_is_not_replayed(outcome: Outcome) -> None:
    assert diff([row(outcome=outcome, usage=Usage())], generation(), generation()).total.requests == 0


def test_calls_of_the_gateways_own_and_charges_from_outside_are_not_replayed() -> None:
    own = row(tags=Tags(tenant="acme", key_id="farthing-shadow", feature="farthing-shadow", task="judge:search"))

    assert diff([own, row(endpoint="external")], generation(), generation()).total.requests == 0


def test_a_key_a_feature_a_model_and_a_task_that_are_gone_refuse_their_calls() -> None:
    new = replace(BASE, features={"chat": BASE.features["chat"]}, models={}, tasks={})
    other = replace(KEY, id="other", sha256=b"b" * 32)
    rows = [
        row(0),
        row(1, feature="chat", tags=Tags(tenant="acme", key_id="other", feature="chat")),
        row(2, feature="chat", task="", source="default", model_requested="small"),
        row(3, feature="chat", source="header"),
    ]

    found = diff(rows, generation(keys=(KEY, other)), generation(new))

    assert {(risk.kind, risk.what) for risk in found.risks} == {
        ("refused", "the feature search is not registered, or not for the key app"),
        ("refused", "there is no key other"),
        ("refused", "nothing serves the model small"),
        ("refused", "the task faq is not declared"),
    }
    assert {group.new.label for group in found.groups} == {REFUSED}
    assert found.total.new == 0


def test_what_neither_admits_is_no_risk_and_is_counted() -> None:
    found = diff([row(feature="gone")], generation(), generation())

    assert (found.refused_by_both, found.risks) == (1, ())


def test_where_unregistered_features_are_counted_theirs_is_routed_as_one() -> None:
    found = diff([row(feature="gone", task="", source="default")], generation(counts=True), generation(counts=True))

    assert [group.new.label for group in found.groups] == ["large"]


def test_the_task_is_that_of_the_new_keys_and_features() -> None:
    """Search loses its task: its calls go to the default tier, as none had been given."""
    new = with_features(BASE, search=Feature(name="search"))

    found = diff([row()], generation(cards=(PASSED,)), generation(new, cards=(PASSED,)))

    [group] = found.moved
    assert (group.old.task, group.new.task, group.new.label) == ("faq", "", "large")


@pytest.mark.parametrize("source", ["header", "metadata"])
def test_a_task_that_the_caller_named_stays(source: str) -> None:
    new = with_features(BASE, search=Feature(name="search"))

    found = diff([row(source=source)], generation(cards=(PASSED,)), generation(new, cards=(PASSED,)))

    assert found.moved == ()


def test_a_task_that_was_told_by_the_body_is_kept_and_counted() -> None:
    plain = with_features(BASE, search=Feature(name="search"))

    found = diff([row(source="rule")], generation(plain, (PASSED,)), generation(plain, (PASSED,)))

    assert found.told_by_body == 1
    assert found.groups[0].new.label == "small"


def test_a_tier_that_keeps_one_deployment_loses_failover() -> None:
    second = Deployment(name="large", provider=replace(HOME, name="away"), model="large")
    two = replace(BASE, tiers=(*BASE.tiers[:2], tier("large", 2, *BASE.tiers[2].deployments, second)))

    [risk] = diff([row()], generation(two), generation()).risks

    assert (risk.kind, risk.requests) == ("failover", 1)
    assert risk.what == "search, task faq: large has one deployment, large had 2"


def test_the_change_of_quality_is_that_of_the_scorecards_by_the_share_of_calls_that_move() -> None:
    """Of four calls one stays (its feature is fixed); three go from 0.93 to 0.90."""
    rows = [row(0), row(1), row(2), row(3, feature="chat")]

    found = diff(rows, generation(cards=(REFERENCE,)), generation(cards=(REFERENCE, PASSED))).quality

    assert (found.moved, found.unknown) == (3, 0)
    assert found.shift.change == pytest.approx(-0.03 * 3 / 4)
    assert found.shift.low == pytest.approx((0.85 - 0.96) * 3 / 4)
    assert found.shift.high == pytest.approx((0.95 - 0.90) * 3 / 4)


def test_the_paired_difference_goes_before_that_of_the_scores() -> None:
    paired = replace(PASSED, difference=-0.01, reference="large")

    found = diff([row()], generation(cards=(REFERENCE,)), generation(cards=(REFERENCE, paired))).quality

    assert found.shift.change == pytest.approx(-0.01)


def test_without_two_scorecards_of_one_suite_nobody_knows_the_change() -> None:
    other = replace(REFERENCE, suite_hash="another")

    found = diff([row()], generation(cards=(other,)), generation(cards=(other, PASSED))).quality

    assert (found.moved, found.unknown, found.shift.change) == (1, 1, 0)


def test_a_call_that_only_one_side_can_price_is_in_neither_cost() -> None:
    bare = replace(BASE, tiers=(tier("small", 0, Deployment(name="x", provider=HOME, model="x")), *BASE.tiers[1:]))
    fixed = replace(bare, features=FIXED_SMALL.features)

    found = diff([row()], generation(), generation(fixed))

    assert (found.total.unpriced, found.total.old, found.total.new) == (1, 0, 0)


def test_models_that_callers_name_stay_where_they_are() -> None:
    found = diff(
        [row(model_requested="large"), row(1, model_requested="tier/large")], generation(), generation(cards=(PASSED,))
    )

    assert found.moved == ()
    assert found.total.new == 2_800_000


def test_a_cascade_costs_its_first_answer_and_says_what_second_ones_would_add() -> None:
    rule = PolicyRule(kind="cascade", tier="small")
    cascade = with_features(BASE, search=Feature(name="search", task="faq", policy="cascade", rule=rule))

    undecided = replace(PASSED, verdict=Verdict.UNDECIDED)

    found = diff([row()], generation(cards=(REFERENCE,)), generation(cascade, (REFERENCE, undecided)))

    assert [group.new.label for group in found.groups] == ["small, then large"]
    assert (found.total.new, found.total.new_more) == (140_000, 1_400_000)
    assert found.quality.unknown == 1
    assert [risk.kind for risk in found.risks] == ["unproven"]
