"""Cache: what lies in the shared store, and answers to be served no more."""

import asyncio
from typing import Annotated

import typer

from farthing.errors import ConfigError
from farthing.tags import is_tag
from gateway.commands.surroundings import CLOCK, ConfigOption, load_settings

_TenantOption = Annotated[str, typer.Option("--tenant", help="Answers of this tenant.")]
_FeatureOption = Annotated[str, typer.Option("--feature", help="Answers of this feature.")]
_TagOption = Annotated[str, typer.Option("--tag", help="Answers kept under this cache tag.")]
_AllOption = Annotated[bool, typer.Option("--everything", help="All answers of all tenants.")]


def cache_purge(
    tenant: _TenantOption = "",
    feature: _FeatureOption = "",
    tag: _TagOption = "",
    everything: _AllOption = False,
    config: ConfigOption = None,
) -> None:
    """Serve these answers no more: those that are of all that is named. Gateways that run know it within a second."""
    from cache.epochs import Epochs, Purge
    from gateway.stores import open_epochs

    what = Purge(tenant=tenant, feature=feature, tag=tag)
    if everything == (what != Purge()):
        raise ConfigError("Name --tenant, --feature or --tag, or several of them; or --everything, alone.")
    for value in (tenant, feature, tag):
        if value and not is_tag(value):
            raise ConfigError(f"{value!r} is no tag: letters, digits and . _ : / - only, at most 128 characters.")
    settings = load_settings(config)

    async def purge() -> Purge:
        epochs = Epochs(open_epochs(settings, CLOCK), CLOCK)
        try:
            return await epochs.purge(what)
        finally:
            await epochs.close()

    typer.echo(f"purged: {asyncio.run(purge())}")


def cache_stats(config: ConfigOption = None) -> None:
    """How many answers the store that all workers share keeps, and their bytes."""
    from gateway.stores import open_store

    settings = load_settings(config)

    async def size() -> tuple[int, int]:
        store = open_store(settings)
        try:
            return await store.size()
        finally:
            await store.close()

    entries, kept = asyncio.run(size())
    typer.echo(f"answers: {entries}\nbytes: {kept}")
