"""The model-mix review against figures worked out by hand."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from evals.gate import Rule
from evals.sizes import least_items
from farthing.catalog import Catalog, Deployment, Feature, PriceOverride, Provider, Task, Tier
from farthing.money import Nano, nano_from_usd
from farthing.routing import Demotion, Scorecard, Verdict
from farthing.usage import Usage
from gateway.commands.mix import finding_out
from gateway.destination import Destinations
from gateway.mix import MAX_AGE_S, Evidence, KnownSuite, Mix, Proposal, review
from gateway.pricing import Pricing
from ledger.prices import PriceBook
from ledger.reports import SpendRow

NOW_NS = 1_800_000_000 * 10**9
MONTH_NS = 30 * 86_400 * 10**9
HOME = Provider(name="home", adapter="openai", base_url="http://127.0.0.1:1")
FAQ = Task(name="faq", bar=Decimal("0.8"), reference="large", candidates=("small", "middle"))
CATALOG_FEATURES = {
    "search": Feature(name="search", task="faq"),
    "chat": Feature(name="chat", task="faq", policy="fixed", tier="large"),
}


NO_SUITES: Mapping[tuple[str, str], KnownSuite] = {}
ITEMS = least_items(Rule(items=0, bar=0.8, candidates=2)) or 0
"""What the gate needs at least for the bar and the two candidates of FAQ."""


def tier(name: str, rank: int, *places: Deployment) -> Tier:
    mine = places or (Deployment(name=name, provider=HOME, model=name),)
    return Tier(name=name, rank=rank, deployments=mine)


CATALOG = Catalog(
    tiers=(tier("small", 0), tier("middle", 1), tier("large", 2)),
    tasks={"faq": FAQ},
    features=CATALOG_FEATURES,
    models={},
    aliases={},
    default_tier="large",
    fingerprint="f",
)
PRICES = (
    PriceOverride(provider="home", model="small", input_per_mtok=Decimal("0.1"), output_per_mtok=Decimal("0.2")),
    PriceOverride(provider="home", model="middle", input_per_mtok=Decimal("0.5"), output_per_mtok=Decimal(1)),
    PriceOverride(provider="home", model="large", input_per_mtok=Decimal(1), output_per_mtok=Decimal(2)),
)
CARD = Scorecard(
    task="faq",
    tier="small",
    verdict=Verdict.PASS,
    score=0.9,
    bar=0.8,
    items=100,
    suite="faq",
    suite_hash="h",
    models=("home/small",),
    run_id="r",
    decided_ns=NOW_NS - 1,
)


def row(*, tier: str = "large", **changes: Any) -> SpendRow:
    """A thousand requests of search with a million tokens in and 200,000 out: 1.40 USD on large."""
    values: dict[str, Any] = {
        "keys": ("search", "faq", tier, "chat/completions", "success", "miss"),
        "requests": 1_000,
        "hits": 0,
        "cost": nano_from_usd("1.40"),
        "avoided_cache": Nano(0),
        "avoided_routing": Nano(0),
        "usage": Usage(input_uncached=1_000_000, output=200_000),
    }
    return SpendRow(**(values | changes))


def mix(
    rows: Iterable[SpendRow],
    *cards: Scorecard,
    catalog: Catalog = CATALOG,
    span_ns: int = MONTH_NS,
    demotions: tuple[Demotion, ...] = (),
    suites: Mapping[tuple[str, str], KnownSuite] = NO_SUITES,
    valid_for_s: int = MAX_AGE_S,
) -> Mix:
    pricing = Pricing(PriceBook(PRICES), catalog)
    destinations = Destinations(catalog, cards, NOW_NS, demotions=demotions)
    known = Evidence(question=destinations.question, suites=suites, valid_for_s=valid_for_s)
    return review(
        rows, catalog, lambda place: pricing.price(place, NOW_NS), known, span_ns=span_ns, finding=finding_out("evals")
    )


def proposals(found: Mix) -> dict[str, Proposal]:
    return {one.tier: one for one in found.proposals}


def test_each_tier_costs_its_own_rates_for_the_same_tokens() -> None:
    [line] = mix([row()]).lines

    assert (line.requests, line.answered, line.actual, line.at_today) == (1_000, 1_000, 1_400_000_000, 1_400_000_000)
    assert line.tiers == {
        "small": 140_000_000,  # 1 Mtok at 0.1 + 0.2 Mtok at 0.2
        "middle": 700_000_000,  # 1 Mtok at 0.5 + 0.2 Mtok at 1
        "large": 1_400_000_000,
    }
    assert line.saving("small") == 1_260_000_000


def test_an_untested_tier_is_proposed_with_what_its_eval_costs_and_when_that_is_paid_back() -> None:
    found = proposals(mix([row()]))

    small = found["small"]
    assert (small.instead_of, small.why) == ("large", "has no eval on record for faq")
    assert (small.requests, small.saving) == (1_000, 1_260_000_000)
    assert small.trial.least == ITEMS
    assert small.trial.candidate == ITEMS * 140_000  # 0.14 USD / 1000
    assert small.trial.reference == ITEMS * 1_400_000  # 1.40 USD / 1000
    assert small.payback_days == Fraction(ITEMS * 1_540_000 * 30, 1_260_000_000)
    assert small.is_worth_it
    assert list(found) == ["small", "middle"]  # 1.26 USD a month, 0.70 USD


def test_a_shorter_period_is_scaled_to_thirty_days() -> None:
    small = proposals(mix([row()], span_ns=MONTH_NS // 3))["small"]

    assert (small.requests, small.saving) == (3_000, 3_780_000_000)


def test_hits_refusals_embeddings_and_the_gateways_own_calls_are_in_the_total_and_on_no_tier() -> None:
    nothing = {"usage": Usage(), "cost": Nano(0)}
    found = mix(
        [
            row(keys=("search", "faq", "small", "chat/completions", "hit", "exact"), requests=7, cost=Nano(0)),
            row(keys=("search", "faq", "large", "chat/completions", "refused", "miss"), requests=5, **nothing),
            row(keys=("search", "", "", "embeddings", "success", "miss"), cost=Nano(11)),
            row(keys=("evals", "faq", "small", "chat/completions", "success", "miss"), cost=Nano(13)),
            row(
                keys=("farthing-shadow", "judge:search", "large", "chat/completions", "success", "miss"), cost=Nano(17)
            ),
        ]
    )

    assert found.actual == 41
    assert sum(line.answered for line in found.lines) == 0
    assert {line.at_today for line in found.lines} == {0}
    assert {cost for line in found.lines for cost in line.tiers.values()} == {0}
    assert found.proposals == ()


def test_where_a_tier_passes_only_what_is_cheaper_still_is_proposed() -> None:
    passed = replace(CARD, tier="middle", models=("home/middle",))

    found = proposals(mix([row()], passed))

    assert list(found) == ["small"]
    assert found["small"].instead_of == "middle"


@pytest.mark.parametrize(
    "card",
    [
        replace(CARD, verdict=Verdict.UNDECIDED),
        replace(CARD, valid_until_ns=NOW_NS),
        replace(CARD, models=("home/another",)),
        replace(CARD, verdict=Verdict.FAIL, models=("home/another",)),
    ],
    ids=["undecided", "expired", "passed with another model", "failed with another model"],
)
def test_a_card_that_does_not_hold_leaves_the_question_open(card: Scorecard) -> None:
    assert "small" in proposals(mix([row()], card))


def test_what_failed_as_it_is_or_was_demoted_is_not_tried_until_it_passes_by_luck() -> None:
    failed = replace(CARD, verdict=Verdict.FAIL)
    demotion = Demotion(task="faq", tier="small", at_ns=NOW_NS, until_ns=NOW_NS + 1, cause="drift", detail="it slid")

    assert "small" not in proposals(mix([row()], failed))
    assert "small" not in proposals(mix([row()], CARD, demotions=(demotion,)))


def test_a_feature_that_names_its_tier_has_nothing_to_gain_from_an_eval() -> None:
    found = mix([row(keys=("chat", "faq", "large", "chat/completions", "success", "miss"))])

    assert found.proposals == ()
    assert found.lines[0].saving("small") == 1_260_000_000


def test_what_a_cheaper_tier_serves_already_would_not_move_to_a_dearer_one() -> None:
    found = proposals(mix([row(), row(tier="small")]))

    assert found["middle"].requests == 1_000
    assert found["middle"].saving == 700_000_000


def test_a_suite_gives_its_rule_and_its_size() -> None:
    rule = Rule(items=200, margin=0.05, candidates=1)

    small = proposals(mix([row()], suites={("faq", "small"): KnownSuite(name="tickets", rule=rule)}))["small"]

    assert (small.trial.suite, small.trial.least, small.trial.most) == ("tickets", least_items(rule), 200)


def test_a_suite_that_tries_other_tiers_says_nothing_of_this_one() -> None:
    suite = KnownSuite(name="tickets", rule=Rule(items=200, bar=0.8))

    found = proposals(mix([row()], suites={("faq", "small"): suite}))

    assert (found["small"].trial.suite, found["middle"].trial.suite) == ("tickets", "")


def test_the_suite_says_how_long_its_pass_holds() -> None:
    """One request in 30 days saves 0.00126 USD; 200 items of the candidate cost 0.028 USD: 667 days of it."""
    one = row(requests=1, usage=Usage(input_uncached=1_000, output=200), cost=Nano(1_400_000))
    rule, day_s = Rule(items=200, bar=0.8), 86_400
    short, long = (KnownSuite(name="t", rule=rule, valid_for_s=days * day_s) for days in (660, 670))

    assert not proposals(mix([one], suites={("faq", "small"): short}))["small"].is_worth_it
    assert proposals(mix([one], suites={("faq", "small"): long}))["small"].is_worth_it


@pytest.mark.parametrize("rule", [Rule(items=10, bar=0.8), Rule(items=20, bar=1.0)], ids=["too few items", "bar of 1"])
def test_a_suite_that_cannot_pass_is_never_worth_it(rule: Rule) -> None:
    small = proposals(mix([row()], suites={("faq", "small"): KnownSuite(name="tickets", rule=rule)}))["small"]

    assert not small.is_worth_it


def test_an_eval_that_costs_more_than_it_saves_until_its_pass_ends_is_not_worth_it() -> None:
    """One request in 30 days saves 0.00126 USD; 20 items of the candidate and more cost 0.00014 each, 0.0028."""
    one = row(requests=1, usage=Usage(input_uncached=1_000, output=200), cost=Nano(1_400_000))

    assert not proposals(mix([one]))["small"].is_worth_it
    assert proposals(mix([one], valid_for_s=100 * 86_400))["small"].is_worth_it  # saves 0.0042 USD in 100 days


def test_a_tier_costs_the_mean_of_its_deployments_by_their_weights() -> None:
    both = tier(
        "small",
        0,
        Deployment(name="small", provider=HOME, model="small", weight=3),
        Deployment(name="middle", provider=HOME, model="middle", weight=1),
    )
    catalog = replace(CATALOG, tiers=(both, *CATALOG.tiers[1:]))

    [line] = mix([row()], catalog=catalog).lines

    assert line.tiers["small"] == 280_000_000  # (3 x 0.14 + 0.70) / 4


def test_a_tier_without_a_price_is_not_known_and_not_proposed() -> None:
    bare = tier("small", 0, Deployment(name="nameless", provider=HOME, model="nameless"))
    catalog = replace(CATALOG, tiers=(bare, *CATALOG.tiers[1:]))

    found = mix([row()], catalog=catalog)

    assert found.lines[0].tiers["small"] is None
    assert found.lines[0].saving("small") is None
    assert list(proposals(found)) == ["middle"]


def test_net_savings_are_what_was_avoided_less_what_finding_out_has_cost() -> None:
    found = mix(
        [
            row(tier="small", avoided_routing=Nano(1_000)),
            row(keys=("evals", "faq", "small", "chat/completions", "success", "miss"), cost=Nano(300)),
            row(keys=("farthing-shadow", "live:search", "large", "chat/completions", "success", "miss"), cost=Nano(50)),
            row(keys=("farthing-shadow", "judge:search", "", "chat/completions", "success", "miss"), cost=Nano(7)),
        ]
    )

    assert (found.net.avoided, found.net.spent, found.net.saved) == (1_000, {"evals": 300, "live": 50}, 650)
    assert found.actual == 1_400_000_000 + 357
