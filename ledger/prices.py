"""Prices: what a model costs at a moment, from the packaged genai-prices snapshot and our own overrides.

Only standard prices are looked up. A response that names another service tier (flex, priority, batch) is billed
otherwise by its provider; that tier is not priced here yet.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from farthing.catalog import PriceOverride
from farthing.errors import ConfigError, UnpricedModel
from farthing.money import Nano, Rates, femto_per_token, nano_from_usd
from farthing.usage import TOKEN_CLASSES

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice

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

_RATE_FIELDS: Final = (
    "input_per_mtok",
    "output_per_mtok",
    "cache_read_per_mtok",
    "cache_write_per_mtok",
    "reasoning_per_mtok",
    "per_request",
    "per_second",
)


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs in one price period. `steps` are (input tokens above which they apply, rates), rising
    from -1; `version` is that of the price book."""

    version: str
    steps: tuple[tuple[int, Rates], ...]

    def rates(self, input_tokens: int) -> Rates:
        """The rates of a request with so many input tokens, cached ones included. A context tier is a cliff: past
        its threshold every token of the request pays the tier's rate."""
        if len(self.steps) == 1:
            return self.steps[0][1]
        return next(rates for above, rates in reversed(self.steps) if input_tokens > above)

    def ceiling(self) -> Rates:
        """For every class the highest rate of any context tier: no request can be charged more."""
        if len(self.steps) == 1:
            return self.steps[0][1]
        fields = (*TOKEN_CLASSES, "per_request", "per_second")
        return Rates(**{name: max(getattr(rates, name) for _, rates in self.steps) for name in fields})


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
        self._overrides: dict[tuple[str, str], list[tuple[int, Price]]] = {}
        for override in sorted(overrides, key=lambda override: override.valid_from_ns):
            price = Price(self.version, ((-1, _override_rates(override)),))
            dated = self._overrides.setdefault((override.provider, override.model), [])
            dated.append((override.valid_from_ns, price))
        self._memo: dict[tuple[str, str], _Period] = {}

    def price(self, provider: str, model: str, at_ns: int) -> Price:
        """The price at wall ns `at_ns`. Raises UnpricedModel: an unknown price is never zero."""
        period = self._memo.get((provider, model))
        if period is None or not period.from_ns <= at_ns < period.until_ns:
            period = self._memo[provider, model] = self._find(provider, model, at_ns)
        return period.price

    def _find(self, provider: str, model: str, at_ns: int) -> _Period:
        """The price and the time for which it may be remembered."""
        dated = self._overrides.get((provider, model), [])
        begins = [from_ns for from_ns, _ in dated]
        until_ns = min((begin for begin in begins if begin > at_ns), default=2**63 - 1)
        current = [entry for entry in dated if entry[0] <= at_ns]
        if current:
            return _Period(current[-1][0], until_ns, current[-1][1])
        info = self._model(provider, model)
        step_ns = _MINUTE_NS if _depends_on_time_of_day(info) else _DAY_NS
        from_ns = at_ns - at_ns % step_ns
        prices = info.get_prices(datetime.fromtimestamp(at_ns // 10**9, UTC))
        return _Period(from_ns, min(until_ns, from_ns + step_ns), self._price(provider, model, prices))

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
        thresholds = sorted({tier.start for value in known.values() for tier in getattr(value, "tiers", ())})
        steps = tuple((above, _snapshot_rates(known, above + 1)) for above in (-1, *thresholds))
        return Price(self.version, steps)


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
    return any(hasattr(price.constraint, "start_time") for price in prices)


def _override_rates(override: PriceOverride) -> Rates:
    """Cached and written tokens cost what input does and reasoning what output does, unless given."""
    given = {name: value for name in _RATE_FIELDS if (value := getattr(override, name)) is not None}
    where = f"The price of model '{override.model}' of provider '{override.provider}'"
    if not given:
        raise ConfigError(f"{where} gives no rate: set at least one of {', '.join(_RATE_FIELDS)} (0 is free).")
    input_ = given.get("input_per_mtok", Decimal(0))
    output = given.get("output_per_mtok", Decimal(0))
    by_class = {
        "input_uncached": input_,
        "cache_read": given.get("cache_read_per_mtok", input_),
        "cache_write_5m": given.get("cache_write_per_mtok", input_),
        "cache_write_1h": given.get("cache_write_per_mtok", input_),
        "output": output,
        "reasoning": given.get("reasoning_per_mtok", output),
        "input_audio": input_,
        "output_audio": output,
        "input_image": input_,
    }
    try:
        rates: dict[str, Any] = {name: femto_per_token(rate) for name, rate in by_class.items()}
        return Rates(
            **rates,
            per_request=_fee(given.get("per_request", Decimal(0))),
            per_second=_fee(given.get("per_second", Decimal(0))),
        )
    except (ValueError, ArithmeticError) as error:
        raise ConfigError(f"{where} cannot be used: {error}.") from error


def _fee(usd: Decimal) -> Nano:
    if not usd.is_finite() or not 0 <= usd <= 10**6:
        raise ValueError(f"a fee must lie between 0 and 1,000,000 USD, not {usd}")
    return nano_from_usd(usd)


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
