"""The price book: golden costs, and the traps of price lists."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from farthing.catalog import PriceOverride
from farthing.errors import ConfigError, UnpricedModel
from farthing.money import format_usd
from farthing.usage import TOKEN_CLASSES, Usage
from ledger.price import PIECE_EXTRAS, TOKEN_EXTRAS
from ledger.prices import PUBLISHED, PriceBook, published_ns


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


NOW = at("2026-11-23T12:00")
BOOK = PriceBook()


def cost(provider: str, model: str, tokens: Mapping[str, Any], now_ns: int = NOW, book: PriceBook = BOOK) -> str:
    usage = Usage(**tokens)
    return format_usd(book.price(provider, model, now_ns).rates(usage.input_total).cost(usage))


@pytest.mark.parametrize(
    ("provider", "model", "tokens", "usd"),
    [
        (
            "anthropic",
            "claude-sonnet-4-5",  # past 200k of context all of it costs double
            {"input_uncached": 150_000, "cache_read": 100_000, "cache_write_5m": 50_000, "output": 2_000},
            "1.380000000",
        ),
        (
            "google",
            "gemini-2.5-pro",
            {"input_uncached": 200_000, "cache_read": 50_000, "output": 2_000},
            "0.542500000",
        ),
        ("google", "gemini-2.5-flash", {"input_audio": 5_000, "output": 500}, "0.006250000"),
        (
            "anthropic",
            "claude-haiku-4-5",  # the hour-long cache write costs double input, not 1.25
            {"input_uncached": 5_000, "cache_read": 10_000, "cache_write_1h": 5_000, "output": 500},
            "0.018500000",
        ),
        ("openai", "gpt-5", {"input_uncached": 1_000_000}, "1.250000000"),
        # (10,000 - 4,000) x 2.50 + 4,000 x 0.25 + 1,000 x 15 USD per million
        ("openai", "gpt-5.4", {"input_uncached": 6_000, "cache_read": 4_000, "output": 1_000}, "0.031000000"),
    ],
)
def test_golden_costs(provider: str, model: str, tokens: Mapping[str, int], usd: str) -> None:
    assert cost(provider, model, tokens) == usd


def test_prices_are_those_of_the_day_of_the_call() -> None:
    million = {"input_uncached": 1_000_000}

    assert cost("openai", "o3", million, at("2025-06-01T12:00")) == "10.000000000"
    assert cost("openai", "o3", million) == "2.000000000"


def test_prices_by_the_time_of_day_change_within_the_day() -> None:
    million = {"input_uncached": 1_000_000}

    night = cost("deepseek", "deepseek-v4-flash", million, at("2026-11-23T00:59:59"))
    peak = cost("deepseek", "deepseek-v4-flash", million, at("2026-11-23T01:00"))

    assert (night, peak) == ("0.150000000", "0.300000000")


def test_the_cheapest_price_of_a_single_token_is_not_lost() -> None:
    # 0.003 USD per million: 3 nano-dollars a token, which six decimals would round to nothing.
    night = at("2026-11-23T00:30")

    assert cost("deepseek", "deepseek-v4-flash", {"cache_read": 1}, night) == "0.000000003"


def test_a_context_tier_is_a_cliff() -> None:
    price = BOOK.price("google", "gemini-2.5-pro", NOW)

    assert price.rates(200_000).input_uncached == 1_250_000_000
    assert price.rates(200_001).input_uncached == 2_500_000_000
    assert price.rates(200_001).output == 15_000_000_000


def test_the_ceiling_is_at_least_every_tier_in_every_class() -> None:
    price = BOOK.price("anthropic", "claude-sonnet-4-5", NOW)

    ceiling = price.ceiling()

    for _, rates in price.steps:
        assert all(getattr(ceiling, name) >= getattr(rates, name) for name in TOKEN_CLASSES)


def test_no_input_at_all_has_the_rates_of_the_first_tier() -> None:
    price = BOOK.price("google", "gemini-2.5-pro", NOW)

    assert price.rates(0) == price.rates(1)


def test_reasoning_costs_what_output_costs_unless_told_otherwise() -> None:
    rates = BOOK.price("openai", "gpt-5", NOW).rates(1)

    assert rates.reasoning == rates.output > 0


def test_classes_without_a_price_of_their_own_cost_what_input_costs() -> None:
    rates = BOOK.price("openai", "gpt-5", NOW).rates(1)

    assert rates.cache_write_5m == rates.cache_write_1h == rates.input_image == rates.input_uncached


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-99-imaginary"),
        ("no-such-provider", "gpt-5"),
        ("openai", "whisper-1"),  # sold by the hour: tokens have no price
        ("google", "gemma-3"),  # listed without any price: that is not a price of zero
    ],
)
def test_an_unknown_price_is_refused_and_never_zero(provider: str, model: str) -> None:
    with pytest.raises(UnpricedModel, match=r"under `prices:` in config/prices\.yaml"):
        BOOK.price(provider, model, NOW)


def test_every_price_in_the_snapshot_charges_something_for_input() -> None:
    priced = 0
    for provider in BOOK._snapshot.providers:
        for model in provider.models:
            try:
                price = BOOK.price(provider.id, model.id, NOW)
            except UnpricedModel:
                continue
            priced += 1
            assert price.rates(1).input_uncached > 0, (provider.id, model.id)

    assert priced > 1500


def override(**changes: object) -> PriceOverride:
    return PriceOverride(**{"provider": "local", "model": "tiny", **changes})  # type: ignore[arg-type]


def test_an_override_prices_a_model_that_the_snapshot_does_not_know() -> None:
    book = PriceBook([override(input_per_mtok=Decimal("0.10"), output_per_mtok=Decimal("0.40"))])

    assert cost("local", "tiny", {"input_uncached": 1_000_000, "output": 1_000_000}, book=book) == "0.500000000"
    assert cost("local", "tiny", {"cache_read": 1_000_000, "reasoning": 1_000_000}, book=book) == "0.500000000"


def test_an_override_wins_over_the_snapshot_from_its_date_on() -> None:
    new = override(provider="openai", model="gpt-5", input_per_mtok=Decimal(1), valid_from_ns=at("2026-11-23T18:00"))
    book = PriceBook([new])
    million = {"input_uncached": 1_000_000}

    assert cost("openai", "gpt-5", million, at("2026-11-23T17:59:59"), book) == "1.250000000"
    assert cost("openai", "gpt-5", million, at("2026-11-23T18:00"), book) == "1.000000000"


def test_the_latest_override_of_a_model_counts() -> None:
    dated = [
        override(input_per_mtok=Decimal(rate), valid_from_ns=at(day))
        for rate, day in ((2, "2026-03-01"), (3, "2026-05-01"), (1, "2026-01-01"))
    ]
    book = PriceBook(dated)
    million = {"input_uncached": 1_000_000}

    costs = [cost("local", "tiny", million, at(day), book) for day in ("2026-02-01", "2026-04-01", "2026-06-01")]

    assert costs == ["1.000000000", "2.000000000", "3.000000000"]


def test_an_override_may_charge_by_request_and_by_second() -> None:
    book = PriceBook([override(per_request=Decimal("0.001"), per_second=Decimal("0.0002"))])

    rates = book.price("local", "tiny", NOW).rates(100)

    assert format_usd(rates.cost(Usage(input_uncached=100), seconds=2.5)) == "0.001500000"


def test_an_override_that_says_zero_is_free_on_purpose() -> None:
    book = PriceBook([override(input_per_mtok=Decimal(0))])

    assert cost("local", "tiny", {"input_uncached": 1_000_000, "output": 5}, book=book) == "0.000000000"


def test_an_override_without_any_rate_is_an_error_not_a_gift() -> None:
    with pytest.raises(ConfigError, match="'tiny' of provider 'local' gives no rate"):
        PriceBook([override()])


@pytest.mark.parametrize("rate", [Decimal(-1), Decimal("NaN"), Decimal("Infinity"), Decimal(10**9)])
@pytest.mark.parametrize("field", ["input_per_mtok", "per_request", "per_second"])
def test_an_override_with_an_absurd_rate_is_an_error(field: str, rate: Decimal) -> None:
    with pytest.raises(ConfigError, match="'tiny'"):
        PriceBook([override(**{field: rate})])


def test_the_day_of_the_price_list_is_that_of_the_version_we_pin() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")

    pinned = re.findall(r'"genai-prices==([^"]+)"', project)

    assert pinned == [PUBLISHED[0]], "a new pin needs the day on which that version was published, in PUBLISHED"
    assert published_ns() == at(f"{PUBLISHED[1]}T00:00")


def test_of_another_version_no_day_is_claimed() -> None:
    assert published_ns(installed="0.2.4") is None


def test_the_version_names_package_date_and_overrides() -> None:
    one = PriceBook([override(input_per_mtok=Decimal(1))])
    same = PriceBook([override(input_per_mtok=Decimal(1))])
    other = PriceBook([override(input_per_mtok=Decimal(2))])

    assert BOOK.version.startswith("genai-prices 0.2.3 (20")
    assert one.version.startswith(f"{BOOK.version} + overrides ")
    assert one.version == same.version != other.version
    assert one.price("local", "tiny", NOW).version == one.version


def test_every_class_may_have_a_rate_of_its_own_and_else_costs_what_its_like_does() -> None:
    own = {"input_per_mtok": Decimal(1), "output_per_mtok": Decimal(2), "cache_write_per_mtok": Decimal(3)}
    dear = {name: Decimal(9) for name in ("cache_write_1h_per_mtok", "input_audio_per_mtok", "input_image_per_mtok")}

    plain = PriceBook([override(**own)]).price("local", "tiny", NOW).rates(1)
    told = PriceBook([override(**own, **dear, output_audio_per_mtok=Decimal(8))]).price("local", "tiny", NOW).rates(1)

    assert (plain.cache_write_1h, plain.input_audio, plain.input_image, plain.output_audio) == (
        plain.cache_write_5m,
        plain.input_uncached,
        plain.input_uncached,
        plain.output,
    )
    assert (told.cache_write_1h, told.input_audio, told.input_image, told.output_audio) == (*[9 * 10**9] * 3, 8 * 10**9)
    assert (told.input_uncached, told.cache_write_5m, told.output) == (10**9, 3 * 10**9, 2 * 10**9)


def test_cached_audio_and_searches_of_an_override_are_extras() -> None:
    ours = override(input_per_mtok=Decimal(1), cached_audio_per_mtok=Decimal(3), per_web_search=Decimal("0.01"))

    extras = PriceBook([ours]).price("local", "tiny", NOW).extra_rates(1)

    assert extras["cached_audio"] == 2 * 10**9  # beyond the 1 USD a million of cached tokens
    assert extras["web_searches"] == 10_000_000 * 10**6
    assert "web_searches" not in PriceBook([override(input_per_mtok=Decimal(1))]).price(
        "local", "tiny", NOW
    ).extra_rates(1)


def test_every_extra_may_have_a_price_of_ours() -> None:
    own = {"input_per_mtok": Decimal(1), "output_per_mtok": Decimal(2)}
    nine = {f"{name}_per_mtok": Decimal(9) for name in TOKEN_EXTRAS}
    pieces = {"per_web_search": Decimal("0.01"), "per_storage_search": Decimal("0.0025")}

    price = PriceBook([override(**own, **nine, **pieces)]).price("local", "tiny", NOW)

    table = price.extra_rates(1)
    assert set(table) == {*TOKEN_EXTRAS, *PIECE_EXTRAS}
    for name, (_, counted_as) in TOKEN_EXTRAS.items():
        assert table[name] + (getattr(price.rates(1), counted_as) if counted_as else 0) == 9 * 10**9
    assert (table["web_searches"], table["storage_searches"]) == (10**13, 25 * 10**11)
    assert price.ceiling().output == 9 * 10**9  # so that a hold covers images in the output


def test_what_is_listed_are_prices_in_all_and_only_those_that_are_given() -> None:
    plain = override(input_per_mtok=Decimal(1), output_per_mtok=Decimal(2))
    images = override(input_per_mtok=Decimal(1), output_per_mtok=Decimal(2), output_image_per_mtok=Decimal(30))

    ((_, listed),) = PriceBook([images]).price("local", "tiny", NOW).listed()
    ((_, without),) = PriceBook([plain]).price("local", "tiny", NOW).listed()

    assert listed.pop("output_image") == 30 * 10**9
    assert listed == without
    assert without["output"] == 2 * 10**9


def test_an_override_may_have_context_tiers() -> None:
    low = override(input_per_mtok=Decimal(1))
    high = override(input_per_mtok=Decimal(2), above_input_tokens=1000)

    price = PriceBook([high, low]).price("local", "tiny", NOW)

    assert [price.rates(tokens).input_uncached for tokens in (0, 1000, 1001)] == [10**9, 10**9, 2 * 10**9]
    assert price.ceiling().input_uncached == 2 * 10**9


@pytest.mark.parametrize("above", [[1000], [0, 0], [0, 1000, 1000]])
def test_context_tiers_of_an_override_that_leave_a_gap_or_overlap_are_an_error(above: list[int]) -> None:
    entries = [override(input_per_mtok=Decimal(1), above_input_tokens=tokens) for tokens in above]

    with pytest.raises(ConfigError, match="'tiny' of provider 'local' needs one entry without above_input_tokens"):
        PriceBook(entries)


def test_an_override_may_price_a_service_tier() -> None:
    flex = override(provider="openai", model="gpt-5", input_per_mtok=Decimal("0.5"), service_tier="flex")
    usual = override(provider="openai", model="gpt-5", input_per_mtok=Decimal(1), service_tier="default")

    beside_the_list = PriceBook([flex])
    alone = PriceBook([flex, usual])

    assert beside_the_list.price("openai", "gpt-5", NOW, "flex").rates(1).input_uncached == 5 * 10**8
    assert beside_the_list.price("openai", "gpt-5", NOW).rates(1).input_uncached == 1_250_000_000
    assert beside_the_list.tiers("openai", "gpt-5", NOW) == ("flex", "priority", "fast", "batch")
    assert alone.price("openai", "gpt-5", NOW).rates(1).input_uncached == 10**9
    assert alone.tiers("openai", "gpt-5", NOW) == ("flex",)
    with pytest.raises(UnpricedModel, match=r"service tier 'priority'.* Known: flex"):
        alone.price("openai", "gpt-5", NOW, "priority")


def test_a_standard_override_that_begins_later_ends_the_remembered_price_of_a_tier() -> None:
    later = override(provider="openai", model="gpt-5", input_per_mtok=Decimal(1), valid_from_ns=at("2026-11-23T18:00"))
    book = PriceBook([later])

    assert book.price("openai", "gpt-5", at("2026-11-23T17:00"), "flex").rates(1).input_uncached == 625_000_000
    with pytest.raises(UnpricedModel, match="service tier 'flex'"):
        book.price("openai", "gpt-5", at("2026-11-23T18:00"), "flex")
