"""Price changes: how the prices of two moments, or of two books, differ, and what that means for traffic there was."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import msgspec

from farthing.errors import UnpricedModel
from farthing.money import Nano
from farthing.record import CacheOutcome, Extra
from farthing.usage import TOKEN_CLASSES, Usage
from ledger.bills import portions_of, price_portions
from ledger.database import Database, Session, read_statements
from ledger.price import TOKEN_EXTRAS, Price, listed
from ledger.statement import Portion, total_usage

RATES: Final = (*TOKEN_CLASSES, "per_request", "per_second")
_HITS: Final = ", ".join(f"'{outcome.value}'" for outcome in CacheOutcome if outcome.is_hit)
_TRAFFIC: Final = read_statements("pricechanges")["traffic"].format(classes=", ".join(TOKEN_CLASSES), hits=_HITS)
_decode_extras: Final = msgspec.json.Decoder(tuple[Extra, ...]).decode
_decode_attempts: Final = msgspec.json.Decoder(list[dict[str, object]]).decode

Lookup = Callable[[str, str], Price]
"""The price of a provider's model. Raises UnpricedModel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateChange:
    """One rate for requests of more than `above` input tokens (-1: of any): femto-dollars an item, or nano-dollars for
    fees (`per_…`). None where there is no price at all on that side."""

    above: int
    name: str
    old: int | None
    new: int | None

    @property
    def percent(self) -> Decimal | None:
        """How much more; None where one of the sides is nothing."""
        if not self.old or self.new is None:
            return None
        return Decimal(self.new - self.old) * 100 / self.old


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChange:
    """A model whose prices differ."""

    provider: str
    model: str
    old: Price | None
    new: Price | None
    rates: tuple[RateChange, ...]


def catalogue_models() -> list[tuple[str, str]]:
    """Provider and model of everything in the packaged catalogue."""
    from genai_prices.data import providers

    return [(provider.id, model.id) for provider in providers for model in provider.models]


def changes(models: Iterable[tuple[str, str]], old: Lookup, new: Lookup) -> list[ModelChange]:
    """The models whose standard prices differ, in the order given; each once."""
    found = []
    for provider, model in dict.fromkeys(models):
        before, after = _price(old, provider, model), _price(new, provider, model)
        if before is None and after is None:
            continue
        rates = _rate_changes(before, after)
        if rates:
            found.append(ModelChange(provider=provider, model=model, old=before, new=after, rates=rates))
    return found


def _price(look_up: Lookup, provider: str, model: str) -> Price | None:
    try:
        return look_up(provider, model)
    except UnpricedModel:
        return None


def _rate_changes(old: Price | None, new: Price | None) -> tuple[RateChange, ...]:
    """Each rate that differs, at the lowest context size from which on it does so alike."""
    thresholds = sorted({above for price in (old, new) if price for above, _ in price.steps})
    told: dict[str, tuple[int | None, int | None]] = {}
    found = []
    for above in thresholds:
        before, after = _prices_at(old, above), _prices_at(new, above)
        for name in dict.fromkeys((*RATES, *(before or ()), *(after or ()))):
            pair = _rate(before, name), _rate(after, name)
            if told.get(name) != pair:
                told[name] = pair
                if pair[0] != pair[1] and any(pair):
                    found.append(RateChange(above=above, name=name, old=pair[0], new=pair[1]))
    return tuple(found)


def _prices_at(price: Price | None, above: int) -> Mapping[str, int] | None:
    return None if price is None else listed(price.rates(above + 1), price.extra_rates(above + 1))


def _rate(prices: Mapping[str, int] | None, name: str) -> int | None:
    """What has no price of its own costs what its class does."""
    if prices is None:
        return None
    counted_as = TOKEN_EXTRAS[name][1] if name in TOKEN_EXTRAS else ""
    return prices.get(name, prices.get(counted_as, 0))


@dataclass(frozen=True, slots=True)
class Effect:
    """What a change means for some traffic: its `requests`, and their cost at the old and the new price, nano-dollars;
    `old` is None where there was no price."""

    requests: int
    old: Nano | None
    new: Nano | None


def effect(
    database: Database, change: ModelChange, providers: Sequence[str], *, since_ns: int, until_ns: int
) -> Effect:
    """The effect on the calls of a model received in [since_ns, until_ns) at a provider that the ledger has under one
    of these names, each with its own tokens. Blocks; raises LedgerUnavailable."""
    asked = {
        "since_ns": since_ns,
        "until_ns": until_ns,
        "model": change.model,
        "providers": msgspec.json.encode(list(providers)).decode(),
    }
    requests, old, new = 0, 0, 0
    with database.reading() as session:
        for portions, seconds in _calls(session, asked):
            requests += 1
            old += _cost(change.old, portions, seconds)
            new += _cost(change.new, portions, seconds)
    return Effect(requests, Nano(old) if change.old else None, Nano(new) if change.new else None)


def _calls(session: Session, asked: dict[str, object]) -> Iterable[tuple[tuple[Portion, ...], float]]:
    """What this model made of each answer: parts that others made follow their own prices."""
    for seconds, attempts, extras, *tokens in session.execute(_TRAFFIC, asked):
        last = _decode_attempts(attempts)[-1:]
        worked = float(str(last[0]["seconds"])) if last else seconds
        usage = Usage(**dict(zip(TOKEN_CLASSES, tokens, strict=True)))
        portions = portions_of(usage, _decode_extras(extras))
        yield tuple(portion for portion in portions if not portion.model), worked


def _cost(price: Price | None, portions: tuple[Portion, ...], seconds: float) -> int:
    if price is None:
        return 0
    return price_portions(portions, total_usage(portions), lambda _: price, seconds).cost
