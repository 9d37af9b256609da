"""Bills: a provider's statement priced portion by portion."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from farthing.catalog import PriceOverride
from farthing.errors import UnpricedModel
from farthing.money import Nano, format_usd
from farthing.record import Extra, extras_cost
from farthing.usage import Usage, UsageSource
from ledger.bills import Bill, bill_for, portions_of
from ledger.prices import PriceBook
from ledger.statement import Portion, Statement

NOW = int(datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()) * 10**9
BOOK = PriceBook()


def bill(provider: str, model: str, *portions: Portion, book: PriceBook = BOOK, **more: Any) -> Bill:
    seconds = more.pop("seconds", 0.0)
    return bill_for(book, provider, model, Statement(portions=portions, **more), at_ns=NOW, seconds=seconds)


def test_every_portion_is_priced_with_its_own_model() -> None:
    own = Portion(usage=Usage(input_uncached=1000, output=100), kind="message")
    advice = Portion(usage=Usage(input_uncached=2000, output=10), kind="advisor_message", model="claude-opus-4-8")

    whole = bill("anthropic", "claude-sonnet-4-6", own, advice)

    # 1,000 x 3 + 100 x 15 USD per million, and 2,000 x 5 + 10 x 25
    assert format_usd(whole.cost) == "0.014750000"
    assert whole.usage == Usage(input_uncached=3000, output=110)
    assert (whole.rates.input_uncached, whole.rates.output) == (3 * 10**9, 15 * 10**9)
    assert whole.extras == (  # 5 less 3, and 25 less 15 USD per million
        Extra(name="input_uncached", quantity=2000, rate=2 * 10**9, model="claude-opus-4-8", part=1),
        Extra(name="output", quantity=10, rate=10 * 10**9, model="claude-opus-4-8", part=1),
    )
    assert whole.price_version == BOOK.version


def test_searches_are_charged_by_the_piece() -> None:
    # 1,000 x 3 + 10 x 15 USD per million, and 3 of 10 USD a thousand
    whole = bill(
        "anthropic",
        "claude-sonnet-4-6",
        Portion(usage=Usage(input_uncached=1000, output=10), extras=(("web_searches", 3),)),
    )

    assert format_usd(whole.cost) == "0.033150000"
    assert format_usd(extras_cost(whole.extras)) == "0.030000000"
    assert whole.extras == (Extra(name="web_searches", quantity=3, rate=10**13),)


def test_cached_audio_costs_its_own_price_and_no_token_costs_twice() -> None:
    portion = Portion(usage=Usage(input_uncached=1, cache_read=1000), extras=(("cached_audio", 600),))

    whole = bill("google", "gemini-3-flash-preview", portion)

    # 1 x 0.50 + 400 x 0.05 + 600 x 0.10 USD per million
    assert format_usd(whole.cost) == "0.000080500"


def test_a_call_without_anything_besides_has_no_extras() -> None:
    assert bill("openai", "gpt-5", Portion(usage=Usage(input_uncached=1))).extras == ()


def test_what_has_no_price_yet_is_kept_with_its_quantity() -> None:
    whole = bill("openai", "gpt-5", Portion(usage=Usage(output=5), extras=(("output_citation", 9),)))

    assert whole.extras == (Extra(name="output_citation", quantity=9, rate=0),)


def test_a_further_part_has_the_context_tier_of_its_own_input() -> None:
    small = PriceOverride(provider="own", model="m", input_per_mtok=Decimal(1))
    large = PriceOverride(provider="own", model="m", input_per_mtok=Decimal(3), above_input_tokens=1000)
    parts = Portion(usage=Usage(input_uncached=10)), Portion(usage=Usage(input_uncached=2000))

    whole = bill("own", "m", *parts, book=PriceBook([small, large]))

    # 10 x 1 and 2,000 x 3 USD per million
    assert format_usd(whole.cost) == "0.006010000"
    assert whole.extras == (Extra(name="input_uncached", quantity=2000, rate=2 * 10**9, part=1),)


@pytest.mark.parametrize(
    "portions",
    [
        (Portion(usage=Usage(input_uncached=7, output=3)),),
        (Portion(usage=Usage(cache_read=9), extras=(("cached_audio", 4), ("web_searches", 1))),),
        (
            Portion(usage=Usage(input_uncached=7, output=3), extras=(("web_searches", 2),)),
            Portion(usage=Usage(input_uncached=5), model="claude-opus-4-8", extras=(("web_searches", 1),)),
            Portion(usage=Usage(reasoning=4)),
        ),
    ],
)
def test_the_portions_of_a_charge_can_be_told_from_its_usage_and_extras(portions: tuple[Portion, ...]) -> None:
    whole = bill("anthropic", "claude-sonnet-4-6", *portions)

    assert portions_of(whole.usage, whole.extras) == portions


def test_the_tier_of_the_answer_decides() -> None:
    portion = Portion(usage=Usage(input_uncached=1_000_000))

    assert format_usd(bill("openai", "gpt-5", portion, service_tier="flex").cost) == "0.625000000"
    assert format_usd(bill("openai", "gpt-5", portion, service_tier="priority").cost) == "2.500000000"


def test_a_bill_without_assumptions_is_the_providers_figures() -> None:
    whole = bill("openai", "gpt-5", Portion(usage=Usage(input_uncached=1)), service_tier="default")

    assert whole.assumptions == ()
    assert whole.usage.source is UsageSource.PROVIDER


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ({"service_tier": "scale"}, "service tier 'scale' has no price"),
        (
            {"portions": (Portion(usage=Usage(output=5)), Portion(usage=Usage(output=5), model="imaginary"))},
            "imaginary",
        ),
        (
            {"portions": (Portion(usage=Usage(output=5), extras=(("output_citation", 9),)),)},
            "output_citation have no price",
        ),
    ],
)
def test_what_has_no_price_is_assumed_marked_and_never_free(statement: dict[str, Any], why: str) -> None:
    plain = {"portions": (Portion(usage=Usage(output=10)),)}

    whole = bill_for(BOOK, "openai", "gpt-5", Statement(**(plain | statement)), at_ns=NOW)

    assert why in whole.assumptions[0]
    assert whole.usage.source is UsageSource.ESTIMATED
    assert whole.cost > 0


def test_another_model_without_a_price_costs_what_this_one_costs_at_most() -> None:
    tokens = Usage(input_uncached=1000, output=100)
    imaginary = Portion(usage=tokens, model="imaginary")

    whole = bill("openai", "gpt-5", Portion(usage=tokens), imaginary)

    alone = bill("openai", "gpt-5", Portion(usage=tokens))
    assert whole.cost - alone.cost == BOOK.ceiling("openai", "gpt-5", NOW, "auto").cost(tokens)


def test_a_model_without_a_price_has_no_bill() -> None:
    with pytest.raises(UnpricedModel):
        bill("openai", "gpt-99-imaginary", Portion(usage=Usage(output=1)))


def test_one_call_has_one_fee_and_one_meter() -> None:
    ours = PriceOverride(
        provider="own", model="m", input_per_mtok=Decimal(1), per_request=Decimal("0.5"), per_second=Decimal("0.25")
    )
    portion = Portion(usage=Usage(input_uncached=1_000_000))

    whole = bill("own", "m", portion, portion, book=PriceBook([ours]), seconds=2.0)

    assert format_usd(whole.cost, 2) == "3.00"


def test_the_providers_own_figure_stands_beside_ours() -> None:
    whole = bill("openai", "gpt-5", Portion(usage=Usage(input_uncached=1_000_000)), stated_cost=Nano(7))

    assert (format_usd(whole.cost), whole.stated_cost) == ("1.250000000", 7)
