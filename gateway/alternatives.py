"""Alternatives: what the same tokens would cost at the deployments of a tier."""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

from farthing.catalog import Deployment
from farthing.errors import UnpricedModel
from farthing.money import Nano, nano_from_femto
from farthing.usage import Usage
from ledger.price import Price

PriceOf = Callable[[Deployment], Price]
"""The standard price of a deployment's model. Raises UnpricedModel."""


def price_at(
    price: Price, usage: Usage, *, requests: int = 1, extras: Iterable[tuple[str, int]] = (), seconds: float = 0.0
) -> Nano:
    """Nano-dollars of tokens, and of what stands beside them (see `ledger.statement.Portion.extras`), at a price.

    `usage` is that of so many requests together, priced by the context size of the mean one. Extras without a price
    cost nothing more than the class in which their tokens are counted.
    """
    size = usage.input_total // max(requests, 1)
    rates, table = price.rates(size), price.extra_rates(size)
    beside = sum(count * table.get(name, 0) for name, count in extras)
    fees = rates.per_request * (requests - 1)
    return Nano(rates.cost(usage, seconds) + fees + nano_from_femto(beside))


def is_metered_by_time(price: Price) -> bool:
    """True where seconds are charged, which nobody knows of a deployment that was not asked."""
    return any(rates.per_second for _, rates in price.steps)


def mean_cost(places: Sequence[Deployment], price_of: PriceOf, cost: Callable[[Price], Nano]) -> Nano | None:
    """The mean of a cost over deployments, each as often as its weight says, rounded half-even; None where one of them
    has no price, or charges by the second."""
    try:
        prices = [(place.weight, price_of(place)) for place in places]
    except UnpricedModel:
        return None
    whole = sum(weight for weight, _ in prices)
    if not whole or any(is_metered_by_time(price) for _, price in prices):
        return None
    return Nano(round(Fraction(sum(weight * cost(price) for weight, price in prices), whole)))
