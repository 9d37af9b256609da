"""Bills: what a provider's statement costs, portion by portion, at the prices of the moment of the call."""

from decimal import ROUND_HALF_EVEN, Decimal

from farthing.errors import UnpricedModel
from farthing.money import FEMTO_PER_NANO, ZERO, Nano, Rates
from farthing.usage import Usage, UsageSource
from farthing.value import Value, changed
from ledger.prices import Price, PriceBook
from ledger.statement import Portion, Statement


class Line(Value, frozen=True, kw_only=True):
    """What one portion costs: its tokens at `rates`, and its extras in `extras_cost`; `cost` is both, and the fee and
    the seconds of the call in the first line."""

    model: str
    portion: Portion
    rates: Rates
    cost: Nano
    extras_cost: Nano


class Bill(Value, frozen=True, kw_only=True):
    """The cost of an answer. `usage.source` is PROVIDER where every figure is the provider's and every price known;
    else ESTIMATED, and `assumptions` say why. `stated_cost` is the provider's own figure."""

    lines: tuple[Line, ...]
    usage: Usage
    cost: Nano
    rates: Rates
    price_version: str
    service_tier: str = ""
    stated_cost: Nano | None = None
    assumptions: tuple[str, ...] = ()


def bill_for(
    book: PriceBook, provider: str, model: str, statement: Statement, *, at_ns: int, seconds: float = 0.0
) -> Bill:
    """The bill for an answer of `model` whose call was received at wall ns `at_ns` and kept its upstream busy for so
    many seconds. Raises UnpricedModel where `model` itself has no price; what the answer brings besides is never zero
    and never an error: a tier without a price costs the dearest that there is, another model without one what `model`
    costs at most.
    """
    assumptions: list[str] = []
    lines: list[Line] = []
    first = None
    for portion in statement.portions:
        price = _price(
            book, provider, model, portion, tier=statement.service_tier, at_ns=at_ns, assumptions=assumptions
        )
        first = first or price
        lines.append(_line(price, portion, model, None if lines else seconds, assumptions))
    assert first is not None, "a statement has a portion"
    usage = statement.usage
    return Bill(
        lines=tuple(lines),
        usage=changed(usage, source=UsageSource.ESTIMATED) if assumptions else usage,
        cost=lines[0].cost if len(lines) == 1 else Nano(sum(line.cost for line in lines)),
        rates=lines[0].rates,
        price_version=first.version,
        service_tier=statement.service_tier,
        stated_cost=statement.stated_cost,
        assumptions=tuple(dict.fromkeys(assumptions)) if assumptions else (),
    )


def _price(
    book: PriceBook,
    provider: str,
    model: str,
    portion: Portion,
    *,
    tier: str,
    at_ns: int,
    assumptions: list[str],
) -> Price:
    try:
        price = book.answered_price(provider, portion.model or model, at_ns, tier)
    except UnpricedModel:
        if not portion.model:
            raise
        assumptions.append(f"model '{portion.model}' has no price")
        price = book.answered_price(provider, model, at_ns, "auto")
    if price.is_assumed:
        assumptions.append(f"service tier '{tier}' has no price")
    return price


def _line(price: Price, portion: Portion, model: str, seconds: float | None, assumptions: list[str]) -> Line:
    """`seconds` is None after the first line: one call has one fee and one meter."""
    usage = portion.usage
    rates = price.rates(usage.input_total)
    extras_cost = _extras_cost(price, portion, assumptions) if portion.extras else ZERO
    fee = ZERO if seconds is not None else rates.per_request
    cost = Nano(rates.cost(usage, seconds or 0.0) - fee + extras_cost)
    return Line(model=portion.model or model, portion=portion, rates=rates, cost=cost, extras_cost=extras_cost)


def _extras_cost(price: Price, portion: Portion, assumptions: list[str]) -> Nano:
    rates = price.extra_rates(portion.usage.input_total)
    assumptions += [f"{name} have no price" for name, _ in portion.extras if name not in rates]
    return _nano(sum(count * rates.get(name, 0) for name, count in portion.extras))


def _nano(femto: int) -> Nano:
    """Rounded half-even; extras that cost less than their class are negative."""
    return Nano(int((Decimal(femto) / FEMTO_PER_NANO).to_integral_value(rounding=ROUND_HALF_EVEN)))
