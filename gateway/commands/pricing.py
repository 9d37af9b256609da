"""Pricing: the price book and the provider names of the configuration that lies here, for the commands on prices."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.commands.surroundings import default_config, load_settings

if TYPE_CHECKING:
    from farthing.catalog import PriceOverride
    from ledger.prices import Price, PriceBook


@dataclass(frozen=True, slots=True)
class Prices:
    """`names`: see gateway.pricenames. `overrides` are those of the configuration, which `book` holds too."""

    book: "PriceBook"
    overrides: "tuple[PriceOverride, ...]" = ()
    names: Mapping[str, str] = field(default_factory=dict)

    def of_record(self, provider: str, model: str, at_ns: int, tier: str) -> "Price":
        """The price of a provider as the ledger names it, in a service tier. Raises UnpricedModel."""
        return self.book.answered_price(self.names.get(provider, provider), model, at_ns, tier)


def load_prices(config: Path | None) -> Prices:
    """The prices of the configuration named, or of the one that lies here; without any, the packaged catalogue's."""
    from gateway.pricenames import price_names
    from ledger.prices import PriceBook

    if config is None and default_config() is None:
        return Prices(PriceBook())
    settings = load_settings(config)
    return Prices(PriceBook(settings.prices), settings.prices, price_names(settings.catalog))
