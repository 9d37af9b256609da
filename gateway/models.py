"""Models: the list that GET /v1/models answers with."""

from collections.abc import Iterator
from typing import Any, Final

from farthing.catalog import Catalog
from gateway.destination import AUTO, TIER_PREFIX

OWNER: Final = "farthing"


def model_list(catalog: Catalog) -> dict[str, Any]:
    """OpenAI's list object: `auto`, the aliases, the tiers as `tier/NAME`, and every concrete model."""
    return {"object": "list", "data": list(_models(catalog))}


def one_model(catalog: Catalog, name: str) -> dict[str, Any] | None:
    """OpenAI's model object, or None. Names may hold slashes."""
    return next((model for model in _models(catalog) if model["id"] == name), None)


def _models(catalog: Catalog) -> Iterator[dict[str, Any]]:
    yield _model(AUTO, OWNER)
    for alias in catalog.aliases:
        if alias != AUTO:
            yield _model(alias, OWNER)
    for tier in catalog.tiers:
        yield _model(TIER_PREFIX + tier.name, OWNER)
    for name, deployments in catalog.models.items():
        yield _model(name, deployments[0].provider.name)


def _model(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}
