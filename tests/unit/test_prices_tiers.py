"""Prices by service tier: what a snapshot that takes any word for standard must never be allowed to say."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from farthing.catalog import PriceOverride
from farthing.errors import UnpricedModel
from farthing.money import format_usd
from farthing.usage import TOKEN_CLASSES, Usage
from ledger.bills import bill_for
from ledger.price import TOKEN_EXTRAS
from ledger.prices import PriceBook, UnpricedTier
from ledger.statement import Portion, Statement


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


NOW = at("2026-11-23T12:00")
BOOK = PriceBook()


@pytest.mark.parametrize(
    ("provider", "model", "tier", "tokens", "usd"),
    [
        # past 272k of context: 200,000 x 2.50 + 100,000 x 0.25 + 1,000 x 11.25 USD per million
        (
            "openai",
            "gpt-5.4",
            "flex",
            {"input_uncached": 200_000, "cache_read": 100_000, "output": 1_000},
            "0.536250000",
        ),
        # 6,000 x 5 + 4,000 x 0.50 + 1,000 x 30
        (
            "openai",
            "gpt-5.4",
            "priority",
            {"input_uncached": 6_000, "cache_read": 4_000, "output": 1_000},
            "0.062000000",
        ),
        ("openai", "gpt-5", "flex", {"input_uncached": 1_000_000}, "0.625000000"),
        ("openai", "gpt-5", "default", {"input_uncached": 1_000_000}, "1.250000000"),
        ("openai", "gpt-5", "batch", {"input_uncached": 10_000, "output": 1_000}, "0.011250000"),
        ("anthropic", "claude-opus-4-7", "batch", {"input_uncached": 10_000, "output": 1_000}, "0.037500000"),
        ("anthropic", "claude-opus-4-7", "standard", {"input_uncached": 10_000, "output": 1_000}, "0.075000000"),
    ],
)
def test_golden_costs_by_tier(provider: str, model: str, tier: str, tokens: Mapping[str, Any], usd: str) -> None:
    usage = Usage(**tokens)

    price = BOOK.price(provider, model, NOW, tier)

    assert format_usd(price.rates(usage.input_total).cost(usage)) == usd


@pytest.mark.parametrize("tier", ["flexx", "Batch", "FLEX", "scale", "mistral/eu", "web", "service_tier"])
def test_a_tier_that_nobody_knows_has_no_price(tier: str) -> None:
    with pytest.raises(
        UnpricedTier, match=f"service tier '{tier}' of model 'gpt-5'.* Known: flex, priority, fast, batch"
    ):
        BOOK.price("openai", "gpt-5", NOW, tier)


def test_a_tier_that_only_other_models_have_has_no_price() -> None:
    with pytest.raises(UnpricedTier, match="Known: priority, fast, batch"):
        BOOK.price("openai", "gpt-4o", NOW, "flex")


def test_a_tier_has_a_price_from_the_day_that_the_list_gives_and_not_before() -> None:
    first = at("2026-10-12T00:00")

    assert "flex" not in BOOK.tiers("openai", "gpt-5", first - 1)
    assert BOOK.price("openai", "gpt-5", first, "flex").steps
    with pytest.raises(UnpricedTier):
        BOOK.price("openai", "gpt-5", first - 1, "flex")


def test_a_refused_tier_tells_which_field_to_change() -> None:
    with pytest.raises(UnpricedModel) as refused:
        BOOK.price("openai", "gpt-5", NOW, "flexx")

    assert refused.value.envelope()["error"]["param"] == "service_tier"
    assert refused.value.code == "unpriced_model"


def test_an_unknown_model_stays_unpriced_in_any_tier() -> None:
    for ask in (BOOK.price, BOOK.answered_price, BOOK.ceiling):
        with pytest.raises(UnpricedModel) as refused:
            ask("openai", "gpt-99-imaginary", NOW, "flex")
        assert type(refused.value) is UnpricedModel


def test_an_answer_in_a_tier_without_a_price_costs_the_dearest_there_is_and_says_so() -> None:
    dearest = BOOK.ceiling("openai", "gpt-5", NOW, "auto")

    price = BOOK.answered_price("openai", "gpt-5", NOW, "scale")

    assert price.is_assumed
    assert price.rates(10) == dearest
    assert dearest.output == BOOK.price("openai", "gpt-5", NOW, "priority").rates(10).output


@pytest.mark.parametrize("tier", ["flex", "batch"])
def test_a_cheaper_tier_without_a_price_costs_the_standard_one_at_most(tier: str) -> None:
    before = at("2026-01-01T00:00")

    price = BOOK.answered_price("openai", "gpt-4o", before, tier)

    assert price.is_assumed
    assert price.steps == BOOK.price("openai", "gpt-4o", before).steps
    assert BOOK.ceiling("openai", "gpt-4o", before, tier) == BOOK.ceiling("openai", "gpt-4o", before)


def test_an_answer_in_a_known_tier_is_not_assumed() -> None:
    assert BOOK.answered_price("openai", "gpt-5", NOW, "flex") == BOOK.price("openai", "gpt-5", NOW, "flex")
    assert not BOOK.answered_price("openai", "gpt-5", NOW, "default").is_assumed


@pytest.mark.parametrize("tier", ["flex", "priority", "auto", ""])
def test_a_hold_covers_the_tier_asked_for_and_the_standard_one(tier: str) -> None:
    ceiling = BOOK.ceiling("openai", "gpt-5.4", NOW, tier)

    for served in ("", tier if tier != "auto" else "priority"):
        for _, rates in BOOK.price("openai", "gpt-5.4", NOW, served).steps:
            assert all(getattr(ceiling, name) >= getattr(rates, name) for name in TOKEN_CLASSES)


def test_the_ceiling_of_a_plain_request_is_that_of_the_standard_price() -> None:
    assert BOOK.ceiling("openai", "gpt-5", NOW) == BOOK.price("openai", "gpt-5", NOW).ceiling()


def test_a_price_of_our_own_is_that_of_the_standard_tier_alone() -> None:
    ours = PriceOverride(provider="openai", model="gpt-5", input_per_mtok=Decimal(9), valid_from_ns=at("2026-11-01"))
    book = PriceBook([ours])

    assert book.price("openai", "gpt-5", NOW, "default").rates(1).input_uncached == 9_000_000_000
    assert book.tiers("openai", "gpt-5", NOW) == ()
    assert book.answered_price("openai", "gpt-5", NOW, "priority").rates(1).input_uncached == 9_000_000_000
    assert book.answered_price("openai", "gpt-5", NOW, "priority").is_assumed
    with pytest.raises(UnpricedTier):
        book.price("openai", "gpt-5", NOW, "priority")


def test_the_dearest_price_is_that_of_its_moment() -> None:
    def ours(tier: str, usd: int, since: str) -> PriceOverride:
        return PriceOverride(
            provider="own", model="m", service_tier=tier, input_per_mtok=Decimal(usd), valid_from_ns=at(since)
        )

    book = PriceBook([ours("", 1, "2026-01-01"), ours("priority", 5, "2026-11-20"), ours("scale", 9, "2026-11-22")])

    moments = ("2026-11-19", "2026-11-20", "2026-11-21", "2026-11-22", "2026-11-19", "2026-11-21")
    dearest = [book.ceiling("own", "m", at(moment), "auto").input_uncached // 10**9 for moment in moments]

    assert dearest == [1, 5, 5, 9, 1, 5]


def test_every_variant_for_a_tier_in_the_snapshot_is_read_under_its_own_name() -> None:
    read = set()
    for provider in BOOK._snapshot.providers:
        for model in provider.models:
            try:
                for tier in BOOK.tiers(provider.id, model.id, NOW):
                    BOOK.price(provider.id, model.id, NOW, tier)
                    read.add(tier)
            except UnpricedModel:  # sold by the hour
                continue

    assert read == {"batch", "flex", "priority", "fast"}


def test_classes_of_their_own_price_are_charged_at_it() -> None:
    price = BOOK.price("google", "gemini-3-flash-preview", NOW)

    rates, extras = price.rates(1), price.extra_rates(1)

    assert (rates.input_uncached, rates.input_audio, rates.cache_read) == (500_000_000, 1_000_000_000, 50_000_000)
    # Cached audio costs 0.10 a million, 0.05 more than the cached text as which it is counted.
    assert extras["cached_audio"] == 50_000_000
    # 14 USD a thousand searches
    assert extras["web_searches"] == 14_000_000 * 10**6


def test_tokens_without_a_price_of_their_own_cost_what_their_class_costs() -> None:
    extras = BOOK.price("openai", "gpt-5", NOW).extra_rates(1)

    assert extras["cached_audio"] == extras["cached_image"] == extras["input_video"] == extras["output_image"] == 0
    assert "output_citation" not in extras  # in no class: what has no price is missing, not free


@pytest.mark.parametrize(
    ("model", "extra", "class_"),
    [
        ("gemini-2.5-flash-image", "output_image", "output"),
        ("gemini-omni-1.1-flash", "output_video", "output"),
        ("gemini-embedding-2", "input_video", "input_uncached"),
    ],
)
def test_a_hold_covers_tokens_that_cost_more_than_their_class(model: str, extra: str, class_: str) -> None:
    price = BOOK.price("google", model, NOW)
    tokens = 1000
    sent, made = (tokens, 0) if class_ == "input_uncached" else (0, tokens)
    statement = Statement(portions=(Portion(usage=Usage(**{class_: tokens}), extras=((extra, tokens),)),))

    bill = bill_for(BOOK, "google", model, statement, at_ns=NOW)

    assert price.extra_rates(1)[extra] > 0, "else this shows nothing"
    assert bill.cost <= BOOK.ceiling("google", model, NOW).bound(sent, made)


@pytest.mark.parametrize("provider", [provider.id for provider in BOOK._snapshot.providers])
def test_no_token_of_the_price_list_costs_more_than_the_ceiling(provider: str) -> None:
    models = next(one.models for one in BOOK._snapshot.providers if one.id == provider)
    for model in models:
        try:
            price = BOOK.price(provider, model.id, NOW)
        except UnpricedModel:
            continue
        ceiling = price.ceiling()
        for above, rates in price.steps:
            table = price.extra_rates(above + 1)
            dearest = {name: getattr(rates, name) for name in TOKEN_CLASSES}
            for name, (_, counted_as) in TOKEN_EXTRAS.items():
                if counted_as:
                    dearest[counted_as] = max(dearest[counted_as], getattr(rates, counted_as) + table[name])
            assert all(getattr(ceiling, name) >= rate for name, rate in dearest.items()), model.id


def test_a_tier_without_a_price_is_not_charged_its_extras_twice() -> None:
    known = BOOK.price("google", "gemini-2.5-flash-image", NOW)

    assumed = BOOK.answered_price("google", "gemini-2.5-flash-image", NOW, "unheard-of")

    made = known.rates(1).output + known.extra_rates(1)["output_image"]
    assert assumed.is_assumed
    assert assumed.rates(1).output + assumed.extra_rates(1)["output_image"] == made


def test_a_class_that_is_not_counted_here_leaves_its_model_without_a_price() -> None:
    with pytest.raises(UnpricedModel, match=r"voxtral-small-24b-2507.* also by audio_hours, input_audio_hours, which"):
        BOOK.price("mistral", "voxtral-small-24b-2507", NOW)


def test_extras_follow_the_context_tier() -> None:
    price = BOOK.price("google", "gemini-2.5-pro", NOW)

    assert len(price.extras) == len(price.steps) == 2
    assert price.extra_rates(200_000) is price.extras[0]
    assert price.extra_rates(200_001) is price.extras[1]
    assert price.extra_rates(0) is price.extras[0]
