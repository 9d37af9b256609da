"""Re-embedding: what it would cost to embed again with another model what has been embedded so far."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cache.stores.survey import KeptVectors
from farthing.catalog import Catalog, Deployment
from farthing.errors import InvalidParameter
from farthing.money import Nano
from farthing.usage import Usage
from ledger.embedded import EmbeddingTraffic
from ledger.price import Price
from ledger.prices import PriceBook

FLOAT_BYTES: Final = 4
BATCH: Final = "batch"
"""The service tier for what can wait a day, at half the price where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The model to go to, as the price book knows it. `batch` is its price where all can wait, None where it has
    none."""

    provider: str
    model: str
    price: Price
    batch: Price | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """So many tokens at the prices of today: `cost` at once, `batch_cost` in batches where that is sold."""

    tokens: int
    cost: Nano
    batch_cost: Nano | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reembedding:
    """`kept` prices the distinct inputs in the cache, of which there are `inputs` now; `sent` all that the ledger has
    seen, `traffic`. Dimensions are those seen in the cache; `to_dimension` None: not known."""

    models: tuple[str, ...]
    target: Target
    inputs: int
    kept: Bill
    traffic: EmbeddingTraffic
    sent: Bill
    from_dimensions: tuple[int, ...]
    to_dimension: int | None
    bytes_now: int
    bytes_then: int | None


def names_of(catalog: Catalog, name: str) -> tuple[str, ...]:
    """The names that a model has at its providers, and so in ledger and cache; itself where nobody serves it now."""
    return tuple(dict.fromkeys(place.model for place in _places(catalog, name))) or (name,)


def find_target(catalog: Catalog, book: PriceBook, *, name: str, like: str, at_ns: int) -> Target:
    """The model `name` of the configuration, the dearest of its deployments; or PROVIDER/MODEL as the price book has
    it; or a model of the provider of `like`. Raises UnpricedModel, InvalidParameter."""
    owners = [(_owner(place), place.model) for place in _places(catalog, name)]
    if not owners and "/" in name:
        owners = [(name.partition("/")[0], name.partition("/")[2])]
    if not owners:
        owners = [(_owner(place), name) for place in _places(catalog, like)]
    if not owners:
        raise InvalidParameter(f"No deployment serves '{name}' or '{like}': write --to PROVIDER/MODEL.")
    found = [_target(book, provider, model, at_ns) for provider, model in dict.fromkeys(owners)]
    return max(found, key=lambda target: target.price.rates(1).input_uncached)


def _places(catalog: Catalog, name: str) -> tuple[Deployment, ...]:
    return catalog.models.get(catalog.aliases.get(name, name), ())


def _owner(place: Deployment) -> str:
    return place.provider.price_provider or place.provider.name


def _target(book: PriceBook, provider: str, model: str, at_ns: int) -> Target:
    price = book.price(provider, model, at_ns)
    has_batch = BATCH in book.tiers(provider, model, at_ns)
    batch = book.price(provider, model, at_ns, BATCH) if has_batch else None
    return Target(provider=provider, model=model, price=price, batch=batch)


def project(
    *,
    models: Sequence[str],
    target: Target,
    vectors: Sequence[KeptVectors],
    traffic: EmbeddingTraffic,
    feature: str,
    dimensions: int | None,
) -> Reembedding:
    """From what cache and ledger hold. `dimensions` are those that the new vectors are to have, None: as many as the
    cache has seen of the target, if any."""
    kept = [one for one in vectors if one.model in models and feature in ("", one.feature)]
    seen = {one.dimension for one in vectors if one.model == target.model}
    to_dimension = dimensions or (max(seen) if seen else None)
    inputs = sum(one.inputs for one in kept)
    return Reembedding(
        models=tuple(models),
        target=target,
        inputs=inputs,
        kept=_bill(target, sum(one.tokens for one in kept)),
        traffic=traffic,
        sent=_bill(target, traffic.tokens),
        from_dimensions=tuple(sorted({one.dimension for one in kept})),
        to_dimension=to_dimension,
        bytes_now=sum(one.inputs * one.dimension for one in kept) * FLOAT_BYTES,
        bytes_then=None if to_dimension is None else inputs * to_dimension * FLOAT_BYTES,
    )


def _bill(target: Target, tokens: int) -> Bill:
    usage = Usage(input_uncached=tokens)
    batch = None if target.batch is None else target.batch.rates(1).cost(usage)
    return Bill(tokens=tokens, cost=target.price.rates(1).cost(usage), batch_cost=batch)


def unknowns(found: Reembedding, *, has_file: bool) -> list[str]:
    """What the figures do not tell, a sentence each. `has_file`: there is a file of the cache here."""
    target, traffic = found.target, found.traffic
    told = [
        "Texts that were embedded before this period, or not through this gateway.",
        f"How many tokens the tokenizer of '{target.model}' makes of them: as many as '{found.models[0]}' is assumed.",
        "Which of what was sent is still in use. A text is kept once for each tenant, feature, environment and set of "
        "parameters under which it was asked for.",
    ]
    if not has_file:
        told.append("What the cache keeps: there is no file of it here.")
    if found.to_dimension is None:
        told.append(f"The dimension of '{target.model}': name it with --dimensions.")
    if traffic.counted < traffic.requests:
        told.append(f"How many inputs {traffic.requests - traffic.counted} of {traffic.requests} calls had.")
    if target.price.rates(1).per_request:
        told.append("In how many requests it would be done: the fee for each is not in the cost.")
    if found.bytes_then is not None:
        told.append("What an index needs beside the vectors themselves.")
    return told
