"""Price names: under which name a provider's prices are looked up."""

from collections.abc import Mapping

from farthing.catalog import Catalog


def price_names(catalog: Catalog) -> Mapping[str, str]:
    """By the name that a provider has in the configuration, and so in the ledger, the one that the price book has for
    it. A provider that is not here has one name."""
    return {
        place.provider.name: place.provider.price_provider or place.provider.name
        for deployments in catalog.models.values()
        for place in deployments
    }
