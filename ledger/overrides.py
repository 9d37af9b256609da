"""Overrides: prices of our own, as the configuration gives them."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from farthing.catalog import PriceOverride
from farthing.errors import ConfigError
from farthing.money import FEMTO_PER_NANO, Nano, Rates, femto_per_token, nano_from_usd
from ledger.price import TOKEN_EXTRAS, Price, plain_tier

_OVERRIDE_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "input_uncached": ("input_per_mtok",),
    "cache_read": ("cache_read_per_mtok", "input_per_mtok"),
    "cache_write_5m": ("cache_write_per_mtok", "input_per_mtok"),
    "cache_write_1h": ("cache_write_1h_per_mtok", "cache_write_per_mtok", "input_per_mtok"),
    "output": ("output_per_mtok",),
    "reasoning": ("reasoning_per_mtok", "output_per_mtok"),
    "input_audio": ("input_audio_per_mtok", "input_per_mtok"),
    "output_audio": ("output_audio_per_mtok", "output_per_mtok"),
    "input_image": ("input_image_per_mtok", "input_per_mtok"),
}
"""The rates of an override that may apply to a token class, most particular first."""
_PIECE_FIELDS: Final[Mapping[str, str]] = {
    "web_searches": "per_web_search",
    "storage_searches": "per_storage_search",
}
"""By the name of what is billed by the piece its price."""
_RATE_FIELDS: Final = (
    *dict.fromkeys(name for names in _OVERRIDE_FIELDS.values() for name in names),
    *(f"{name}_per_mtok" for name in TOKEN_EXTRAS),
    "per_request",
    *_PIECE_FIELDS.values(),
    "per_second",
)


def dated_prices(
    overrides: Sequence[PriceOverride], book_version: str
) -> dict[tuple[str, str, str], list[tuple[int, Price]]]:
    """Prices by provider, model and service tier, each with the wall ns of its beginning, rising. Raises
    ConfigError for an override that gives no rate or one that cannot be."""
    entries: dict[tuple[str, str, str, int], list[PriceOverride]] = {}
    for override in sorted(overrides, key=lambda override: (override.valid_from_ns, override.above_input_tokens)):
        tier = plain_tier(override.service_tier)
        entries.setdefault((override.provider, override.model, tier, override.valid_from_ns), []).append(override)
    dated: dict[tuple[str, str, str], list[tuple[int, Price]]] = {}
    for (provider, model, tier, from_ns), steps in entries.items():
        dated.setdefault((provider, model, tier), []).append((from_ns, _override_price(steps, book_version)))
    return dated


def _override_price(steps: Sequence[PriceOverride], book_version: str) -> Price:
    above = [step.above_input_tokens for step in steps]
    if above[0] != 0 or len(set(above)) < len(above):
        raise ConfigError(f"{_where(steps[0])} needs one entry without above_input_tokens and one for each above that.")
    try:
        rates = [_override_rates(step) for step in steps]
        extras = [_override_extras(step, rate) for step, rate in zip(steps, rates, strict=True)]
    except (ValueError, ArithmeticError) as error:
        raise ConfigError(f"{_where(steps[0])} cannot be used: {error}.") from error
    # A request without any input pays the first rates.
    return Price(book_version, tuple(zip((-1, *above[1:]), rates, strict=True)), tuple(extras))


def _where(override: PriceOverride) -> str:
    return f"The price of model '{override.model}' of provider '{override.provider}'"


def _given(override: PriceOverride) -> dict[str, Decimal]:
    return {name: value for name in _RATE_FIELDS if (value := getattr(override, name)) is not None}


def _override_rates(override: PriceOverride) -> Rates:
    """A class without a rate of its own costs what its like does: written for an hour as written, audio as text."""
    given = _given(override)
    if not given:
        names = ", ".join(_RATE_FIELDS)
        raise ConfigError(f"{_where(override)} gives no rate: set at least one of {names} (0 is free).")
    rates: dict[str, Any] = {name: femto_per_token(_first(given, fields)) for name, fields in _OVERRIDE_FIELDS.items()}
    return Rates(**rates, per_request=_fee(given, "per_request"), per_second=_fee(given, "per_second"))


def _override_extras(override: PriceOverride, rates: Rates) -> dict[str, int]:
    """Beyond the rate of the class that counts them, as in `Price.extras`."""
    given = _given(override)
    table: dict[str, int] = {}
    for name, (_, counted_as) in TOKEN_EXTRAS.items():
        if f"{name}_per_mtok" in given:
            base = getattr(rates, counted_as) if counted_as else 0
            table[name] = femto_per_token(given[f"{name}_per_mtok"]) - base
        elif counted_as:
            table[name] = 0
    for name, field in _PIECE_FIELDS.items():
        if field in given:
            table[name] = _fee(given, field) * FEMTO_PER_NANO
    return table


def _first(given: Mapping[str, Decimal], names: Sequence[str]) -> Decimal:
    return next((given[name] for name in names if name in given), Decimal(0))


def _fee(given: Mapping[str, Decimal], name: str) -> Nano:
    usd = given.get(name, Decimal(0))
    if not usd.is_finite() or not 0 <= usd <= 10**6:
        raise ValueError(f"a fee must lie between 0 and 1,000,000 USD, not {usd}")
    return nano_from_usd(usd)
