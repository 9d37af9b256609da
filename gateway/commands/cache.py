"""Cache: what lies in the shared store, and answers to be served no more."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from farthing.errors import ConfigError
from farthing.tags import is_tag
from gateway.commands.surroundings import CLOCK, ConfigOption, load_settings

if TYPE_CHECKING:
    from gateway.settings import Settings
    from gateway.stores import Stores

T = TypeVar("T")

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

    what = Purge(tenant=tenant, feature=feature, tag=tag)
    if everything == (what != Purge()):
        raise ConfigError("Name --tenant, --feature or --tag, or several of them; or --everything, alone.")
    for value in (tenant, feature, tag):
        if value and not is_tag(value):
            raise ConfigError(f"{value!r} is no tag: letters, digits and . _ : / - only, at most 128 characters.")
    settings = load_settings(config)

    async def purge(stores: "Stores") -> Purge:
        return await Epochs(stores.epochs, CLOCK).purge(what)

    typer.echo(f"purged: {_with_stores(settings, purge)}")


def cache_stats(config: ConfigOption = None) -> None:
    """How many answers the store that all workers share keeps, and their bytes."""

    async def size(stores: "Stores") -> tuple[int, int]:
        return await stores.store.size()

    entries, kept = _with_stores(load_settings(config), size)
    typer.echo(f"answers: {entries}\nbytes: {kept}")


def _with_stores(settings: "Settings", work: Callable[["Stores"], Awaitable[T]]) -> T:
    from gateway.stores import open_stores
    from gateway.tasks import Background

    async def run() -> T:
        background = Background()
        stores = open_stores(settings, CLOCK, background.start, workers=False)
        try:
            return await work(stores)
        except OSError as error:
            raise ConfigError(f"The cache cannot be reached ({type(error).__name__}); nothing was done.") from None
        finally:
            await stores.close()

    return asyncio.run(run())
