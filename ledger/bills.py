"""Bills: what a provider's statement costs, portion by portion, at the prices of the moment of the call."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from farthing.errors import UnpricedModel
from farthing.money import Nano, Rates
from farthing.record import Extra, extras_cost
from farthing.usage import TOKEN_CLASSES, Usage, UsageSource
from farthing.value import Value, changed
from ledger.prices import Price, PriceBook
from ledger.statement import Portion, Statement


class Bill(Value, frozen=True, kw_only=True):
    """The cost of an answer: of its `usage` at `rates`, which are those of its first portion, and of its `extras`.
    `usage.source` is PROVIDER where every figure is the provider's and every price known; else ESTIMATED, and
    `assumptions` say why. `stated_cost` is the provider's own figure."""

    usage: Usage
    cost: Nano
    rates: Rates
    price_version: str
    extras: tuple[Extra, ...] = ()
    service_tier: str = ""
    stated_cost: Nano | None = None
    assumptions: tuple[str, ...] = ()


class Priced(Value, frozen=True, kw_only=True):
    """What portions cost, and by which rates; `unpriced` are the names of extras that have no price, and are free."""

    cost: Nano
    rates: Rates
    extras: tuple[Extra, ...]
    version: str
    unpriced: tuple[str, ...] = ()


PriceOf = Callable[[Portion], Price]
"""The price of a portion's model. May raise UnpricedModel."""


def bill_for(
    book: PriceBook, provider: str, model: str, statement: Statement, *, at_ns: int, seconds: float = 0.0
) -> Bill:
    """The bill for an answer of `model` whose call was received at wall ns `at_ns` and kept its upstream busy for so
    many seconds. Raises UnpricedModel where `model` itself has no price; what the answer brings besides is never zero
    and never an error: a tier without a price costs the dearest that there is, another model without one what `model`
    costs at most.
    """
    assumptions: list[str] = []

    tier = statement.service_tier

    def price_of(portion: Portion) -> Price:
        return _price(book, provider, portion.model, model, tier, at_ns, assumptions)

    usage = statement.usage
    priced = price_portions(statement.portions, usage, price_of, seconds)
    if priced.unpriced:
        assumptions += [f"{name} have no price" for name in priced.unpriced]
    return Bill(
        usage=changed(usage, source=UsageSource.ESTIMATED) if assumptions else usage,
        cost=priced.cost,
        rates=priced.rates,
        price_version=priced.version,
        extras=priced.extras,
        service_tier=tier,
        stated_cost=statement.stated_cost,
        assumptions=tuple(dict.fromkeys(assumptions)) if assumptions else (),
    )


def price_portions(portions: tuple[Portion, ...], whole: Usage, price_of: PriceOf, seconds: float) -> Priced:
    """What the portions cost, whose tokens together are `whole`: one call has one fee and one meter. Raises what
    `price_of` raises."""
    first = portions[0]
    price = price_of(first)
    rates = price.rates(first.usage.input_total)
    if len(portions) == 1 and not first.extras:
        return Priced(cost=rates.cost(whole, seconds), rates=rates, extras=(), version=price.version)
    extras, unpriced = list[Extra](), list[str]()
    for number, portion in enumerate(portions):
        own = price_of(portion) if number else price
        if number:
            extras += _of_classes(own, portion, number, rates)
        table = own.extra_rates(portion.usage.input_total)
        extras += _besides(table, portion, number)
        unpriced += [name for name, _ in portion.extras if name not in table]
    return Priced(
        cost=Nano(rates.cost(whole, seconds) + extras_cost(extras)),
        rates=rates,
        extras=tuple(extras),
        version=price.version,
        unpriced=tuple(unpriced),
    )


def _of_classes(price: Price, portion: Portion, number: int, rates: Rates) -> Iterator[Extra]:
    """The tokens of a further portion, and what they cost beyond the rates of the first. Those that cost the same too,
    so that what each portion had can be told, and priced anew."""
    own = price.rates(portion.usage.input_total)
    for name in TOKEN_CLASSES:
        if tokens := getattr(portion.usage, name):
            rate = getattr(own, name) - getattr(rates, name)
            yield Extra(name=name, quantity=tokens, rate=rate, model=portion.model, part=number)


def _besides(table: Mapping[str, int], portion: Portion, number: int) -> Iterator[Extra]:
    for name, count in portion.extras:
        yield Extra(name=name, quantity=count, rate=table.get(name, 0), model=portion.model, part=number)


def portions_of(usage: Usage, extras: tuple[Extra, ...]) -> tuple[Portion, ...]:
    """The portions of which a charge with this usage and these extras was made, to price them anew."""
    if not extras:
        return (Portion(usage=usage),)
    models = {0: "", **{extra.part: extra.model for extra in extras}}
    parts = {part: _portion(part, models[part], extras) for part in sorted(models)}
    others = [portion.usage for part, portion in parts.items() if part]
    own: dict[str, Any] = {
        name: getattr(usage, name) - sum(getattr(other, name) for other in others) for name in TOKEN_CLASSES
    }
    return (changed(parts[0], usage=Usage(**own)), *(portion for part, portion in parts.items() if part))


def _portion(part: int, model: str, extras: tuple[Extra, ...]) -> Portion:
    told = [(extra.name, extra.quantity) for extra in extras if extra.part == part]
    tokens: dict[str, Any] = {name: number for name, number in told if name in TOKEN_CLASSES}
    besides = tuple((name, number) for name, number in told if name not in TOKEN_CLASSES)
    return Portion(usage=Usage(**tokens), model=model, extras=besides)


def _price(
    book: PriceBook, provider: str, other: str, model: str, tier: str, at_ns: int, assumptions: list[str]
) -> Price:
    """The price of `other`, a further model in an answer of `model`, or, where that is empty, of `model`."""
    try:
        price = book.answered_price(provider, other or model, at_ns, tier)
    except UnpricedModel:
        if not other:
            raise
        assumptions.append(f"model '{other}' has no price")
        price = book.answered_price(provider, model, at_ns, "auto")
    if price.is_assumed:
        assumptions.append(f"service tier '{tier}' has no price")
    return price
