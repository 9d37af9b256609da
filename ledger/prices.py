"""Prices: what a model costs at a moment in a service tier, from the packaged genai-prices snapshot and our overrides.

The snapshot takes any word for a tier and prices what it does not know as standard. So a tier is looked for among the
variants of the model that hold at that moment, and one that is not there has no price.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from farthing.catalog import PriceOverride
from farthing.errors import UnpricedModel
from farthing.money import FEMTO_PER_NANO, Rates, femto_per_token, nano_from_usd
from ledger.overrides import dated_prices
from ledger.price import PIECE_EXTRAS, STANDARD, TOKEN_EXTRAS, Price, UnpricedClass, UnpricedTier, highest, plain_tier

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice, PriceVariant

__all__ = ["Price", "PriceBook", "UnpricedTier"]

PUBLISHED: Final = ("0.2.3", date(2026, 11, 10))
"""The version of genai-prices that we pin and the day on which the package index got it (`upload-time` in the lock that
`uv lock` writes). Its data has no date of its own, and the times of its files are those of an installation."""

_DAY_NS: Final = 86_400 * 10**9
_MINUTE_NS: Final = 60 * 10**9

_FALLBACKS: Final[Mapping[str, tuple[str, ...]]] = {
    "input_uncached": ("input_mtok",),
    "cache_read": ("cache_read_mtok", "input_mtok"),
    "cache_write_5m": ("cache_write_5m_mtok", "cache_write_mtok", "input_mtok"),
    "cache_write_1h": ("cache_write_1h_mtok", "cache_write_mtok", "input_mtok"),
    "output": ("output_mtok",),
    "reasoning": ("output_reasoning_mtok", "output_mtok"),
    "input_audio": ("input_audio_mtok", "input_mtok"),
    "output_audio": ("output_audio_mtok", "output_mtok"),
    "input_image": ("input_image_mtok", "input_mtok"),
}
"""The prices of the snapshot that may apply to a token class, most particular first."""

_KNOWN: Final = frozenset(
    {
        *(name for names in _FALLBACKS.values() for name in names),
        *(price for price, _ in TOKEN_EXTRAS.values()),
        *PIECE_EXTRAS.values(),
        "requests_kcount",
    }
)
"""The prices of the snapshot that are charged here."""

_ANY: Final = "auto"
"""The tier of a request whose provider decides by its own settings (OpenAI: those of the project)."""
CHEAPER_TIERS: Final = frozenset({"flex", "batch"})
"""The tiers that every provider sells below its standard one."""
_TIER_KEYS: Final = ("service_tier", "processing", "speed")
"""The keys of the snapshot's variants that mean a service tier."""


@dataclass(frozen=True, slots=True)
class _Period:
    """A price and the wall ns in which it holds."""

    from_ns: int
    until_ns: int
    price: Price


class PriceBook:
    """Prices by provider and model. An override wins over the snapshot from its date on. Nothing is fetched."""

    def __init__(self, overrides: Sequence[PriceOverride] = ()) -> None:
        """Raises ConfigError for an override that gives no rate or one that cannot be."""
        # Half a second and 39 MB: only a process that prices anything pays for it.
        from genai_prices.data import providers
        from genai_prices.data_snapshot import DataSnapshot

        # A snapshot of our own: the package's global one may be replaced by its network updater.
        self._snapshot: DataSnapshot = DataSnapshot(providers=providers, from_auto_update=False)
        self.version = _version_of(self._snapshot, overrides)
        self._overrides = dated_prices(overrides, self.version)
        self._memo: dict[tuple[str, str, str], _Period] = {}
        self._dearest_memo: dict[tuple[str, str], _Period] = {}

    def price(self, provider: str, model: str, at_ns: int, service_tier: str = "") -> Price:
        """The price at wall ns `at_ns`. Raises UnpricedModel: an unknown price is never zero; and its UnpricedTier
        for a tier in which the model has none then."""
        return self._period(provider, model, at_ns, plain_tier(service_tier)).price

    def answered_price(self, provider: str, model: str, at_ns: int, service_tier: str) -> Price:
        """The price of an answer that says that it was served in this tier. It must be charged, so where the tier has
        no price it is the standard one for a cheaper tier and else the model's dearest, marked `is_assumed`. Raises
        UnpricedModel for the model alone."""
        try:
            return self.price(provider, model, at_ns, service_tier)
        except UnpricedTier:
            is_cheaper = service_tier in CHEAPER_TIERS
            price = self.price(provider, model, at_ns) if is_cheaper else self._dearest(provider, model, at_ns)
            return replace(price, is_assumed=True)

    def ceiling(self, provider: str, model: str, at_ns: int, service_tier: str = "") -> Rates:
        """For every class the highest rate that a request for this tier can be charged: providers serve it in that
        tier or in the standard one, and `auto` in any. Raises as `price` does, but not for a cheaper tier."""
        if service_tier == _ANY:
            return self._dearest(provider, model, at_ns).ceiling()
        standard = self.price(provider, model, at_ns).ceiling()
        if not plain_tier(service_tier) or service_tier in CHEAPER_TIERS:
            return standard
        return highest([standard, self.price(provider, model, at_ns, service_tier).ceiling()])

    def tiers(self, provider: str, model: str, at_ns: int) -> tuple[str, ...]:
        """The service tiers, beside the standard one, in which the model has a price at `at_ns`."""
        ours = [
            tier
            for owner, name, tier in self._overrides
            if (owner, name) == (provider, model) and tier and self._override(provider, model, at_ns, tier)
        ]
        if self._override(provider, model, at_ns, ""):
            return tuple(ours)
        info, moment = self._model(provider, model), _moment(at_ns)
        contexts = (_context(variant.when) for variant in _variants(info, moment))
        listed = (value for _, value in filter(None, contexts) if value not in STANDARD)
        return tuple(dict.fromkeys((*ours, *listed)))

    def _period(self, provider: str, model: str, at_ns: int, tier: str) -> _Period:
        period = self._memo.get((provider, model, tier))
        if period is None or not period.from_ns <= at_ns < period.until_ns:
            period = self._memo[provider, model, tier] = self._find(provider, model, at_ns, tier)
        return period

    def _dearest(self, provider: str, model: str, at_ns: int) -> Price:
        """For every class and extra the highest of all tiers."""
        period = self._dearest_memo.get((provider, model))
        if period is None or not period.from_ns <= at_ns < period.until_ns:
            period = self._dearest_memo[provider, model] = self._find_dearest(provider, model, at_ns)
        return period.price

    def _find_dearest(self, provider: str, model: str, at_ns: int) -> _Period:
        tiers = ("", *self.tiers(provider, model, at_ns))
        periods = [self._period(provider, model, at_ns, tier) for tier in tiers]
        prices = [period.price for period in periods]
        rates = highest([rates for price in prices for _, rates in price.steps])
        extras = [table for price in prices for table in price.extras]
        names = {name for table in extras for name in table}
        dearest = {name: max(table[name] for table in extras if name in table) for name in sorted(names)}
        price = Price(self.version, ((-1, rates),), (dearest,) if dearest else ())
        # A tier that has no price of ours yet may get one before those that are known end.
        dated = [entries for key, entries in self._overrides.items() if key[:2] == (provider, model)]
        begins = [from_ns for entries in dated for from_ns, _ in entries if from_ns > at_ns]
        return _Period(
            max(period.from_ns for period in periods), min([period.until_ns for period in periods] + begins), price
        )

    def _override(self, provider: str, model: str, at_ns: int, tier: str) -> tuple[int, Price] | None:
        """The override that holds at a time, and since when."""
        dated = self._overrides.get((provider, model, tier), [])
        return next((entry for entry in reversed(dated) if entry[0] <= at_ns), None)

    def _find(self, provider: str, model: str, at_ns: int, tier: str) -> _Period:
        """The price and the time for which it may be remembered."""
        dated = (self._overrides.get((provider, model, each), ()) for each in {tier, ""})
        begins = [from_ns for entries in dated for from_ns, _ in entries]
        until_ns = min((begin for begin in begins if begin > at_ns), default=2**63 - 1)
        if override := self._override(provider, model, at_ns, tier):
            return _Period(override[0], until_ns, override[1])
        if tier and self._override(provider, model, at_ns, ""):  # the list's price for a tier goes with its standard
            raise UnpricedTier(provider, model, tier, self.tiers(provider, model, at_ns))
        info, moment = self._model(provider, model), _moment(at_ns)
        step_ns = _MINUTE_NS if _depends_on_time_of_day(info) else _DAY_NS
        from_ns = at_ns - at_ns % step_ns
        context = self._context(provider, model, at_ns, tier) if tier else None
        prices = info.get_prices(moment, dict([context]) if context else None)
        return _Period(from_ns, min(until_ns, from_ns + step_ns), self._price(provider, model, prices))

    def _context(self, provider: str, model: str, at_ns: int, tier: str) -> tuple[str, str]:
        """The snapshot's own words for a tier."""
        for variant in _variants(self._model(provider, model), _moment(at_ns)):
            context = _context(variant.when)
            if context is not None and context[1] == tier:
                return context
        raise UnpricedTier(provider, model, tier, self.tiers(provider, model, at_ns))

    def _model(self, provider: str, model: str) -> "ModelInfo":
        try:
            return self._snapshot.find_provider_model(model, None, provider, None)[1]
        except LookupError:
            raise UnpricedModel(provider, model) from None

    def _price(self, provider: str, model: str, prices: "ModelPrice") -> Price:
        known = {name: value for name, value in vars(prices).items() if value is not None}
        # Without a token price it is sold by the hour, the page or the character, or the snapshot does not know.
        if "input_mtok" not in known:
            raise UnpricedModel(provider, model)
        if unknown := [name for name in known if name not in _KNOWN and not name.startswith("_")]:
            raise UnpricedClass(provider, model, unknown)
        thresholds = sorted({tier.start for value in known.values() for tier in getattr(value, "tiers", ())})
        steps = tuple((above, _snapshot_rates(known, above + 1)) for above in (-1, *thresholds))
        extras = tuple(_extra_rates(known, above + 1, rates) for above, rates in steps)
        return Price(self.version, steps, extras)


def _moment(at_ns: int) -> datetime:
    return datetime.fromtimestamp(at_ns // 10**9, UTC)


def _variants(info: "ModelInfo", moment: datetime) -> "list[PriceVariant]":
    """The variants of a model that hold at a moment."""
    variants = info.price_variants or ()
    return [variant for variant in variants if variant.constraint is None or variant.constraint.active(moment)]


def _context(when: Mapping[str, str]) -> tuple[str, str] | None:
    """Key and value of a variant for a service tier, None for other variants (routes, kinds of search)."""
    if len(when) != 1:
        return None
    key, value = next(iter(when.items()))
    return (key, value) if key in _TIER_KEYS else None


def _extra_rates(known: Mapping[str, Any], input_tokens: int, rates: Rates) -> dict[str, int]:
    table: dict[str, int] = {}
    for name, (price, counted_as) in TOKEN_EXTRAS.items():
        base = getattr(rates, counted_as) if counted_as else 0
        if price in known:
            table[name] = femto_per_token(_at_context(known[price], input_tokens)) - base
        elif counted_as:
            table[name] = 0
    for name, price in PIECE_EXTRAS.items():
        if price in known:
            table[name] = nano_from_usd(_at_context(known[price], input_tokens) / 1000) * FEMTO_PER_NANO
    return table


def _snapshot_rates(known: Mapping[str, Any], input_tokens: int) -> Rates:
    rates: dict[str, Any] = {
        name: femto_per_token(_at(known, fallbacks, input_tokens)) for name, fallbacks in _FALLBACKS.items()
    }
    thousand_requests = _at(known, ("requests_kcount",), input_tokens)
    return Rates(**rates, per_request=nano_from_usd(thousand_requests / 1000))


def _at(known: Mapping[str, Any], names: Sequence[str], input_tokens: int) -> Decimal:
    """The first of these prices that is given, at a context of so many input tokens."""
    value = next((known[name] for name in names if name in known), None)
    if value is None:
        return _dearest(known, input_tokens) if names[-1] == "output_mtok" else Decimal(0)
    return _at_context(value, input_tokens)


def _dearest(known: Mapping[str, Any], input_tokens: int) -> Decimal:
    """For output without a text price (image models): the dearest output there is; embeddings have none."""
    values = [_at_context(value, input_tokens) for name, value in known.items() if name.startswith("output_")]
    return max(values, default=Decimal(0))


def _at_context(value: Any, input_tokens: int) -> Decimal:
    tiers = [tier.price for tier in getattr(value, "tiers", ()) if input_tokens > tier.start]
    return Decimal(tiers[-1] if tiers else getattr(value, "base", value))


def _depends_on_time_of_day(info: "ModelInfo") -> bool:
    prices = info.prices if isinstance(info.prices, list) else []
    return any(hasattr(price.constraint, "start_time") for price in (*prices, *(info.price_variants or ())))


def published_ns(installed: str = "") -> int | None:
    """When the packaged price list was published: the begin of its day, wall ns, so that its age is never told too
    small. None where another version is `installed` (that of this environment if not given) than the one whose day is
    known."""
    named, day = PUBLISHED
    if (installed or version("genai-prices")) != named:
        return None
    return int(datetime.combine(day, time(), UTC).timestamp()) * 10**9


def _version_of(snapshot: "DataSnapshot", overrides: Sequence[PriceOverride]) -> str:
    """The package with the date of its newest price (which may lie ahead), and a hash of the overrides."""
    dates = (
        getattr(price.constraint, "start_date", None)
        for provider in snapshot.providers
        for model in provider.models
        if isinstance(model.prices, list)
        for price in model.prices
    )
    newest = max(date for date in dates if date is not None)
    text = f"genai-prices {version('genai-prices')} ({newest.isoformat()})"
    if not overrides:
        return text
    digest = hashlib.sha256("\n".join(sorted(map(repr, overrides))).encode()).hexdigest()[:8]
    return f"{text} + overrides {digest}"
