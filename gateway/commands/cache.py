"""Cache: what the caches did and what lies in the shared store, and answers to be served no more."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from farthing.errors import ConfigError
from farthing.tags import is_tag
from gateway.commands.report import Format, as_csv
from gateway.commands.surroundings import CLOCK, ConfigOption, ledger_of, load_settings, print_table
from gateway.periods import parse_moment

if TYPE_CHECKING:
    from gateway.cachebooks import CacheBooks
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


def cache_stats(
    since: Annotated[str, typer.Option(help="30d, 12h, 4w (ago), a date, or an ISO 8601 time.")] = "30d",
    until: Annotated[str, typer.Option(help="The same; now if not given.", show_default=False)] = "",
    format_: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.TABLE,
    config: ConfigOption = None,
) -> None:
    """What each cache did for each feature: hits, what they saved, what that cost, how many were wrong."""
    from gateway.cachemembers import HEADS, bare_lines, books_members, store_members

    settings, now_ns = load_settings(config), CLOCK.wall_ns()
    since_ns = parse_moment(since, now_ns)
    until_ns = parse_moment(until, now_ns) if until else now_ns
    books = _books(settings, since_ns, until_ns)
    if format_ is Format.CSV:
        typer.echo(as_csv(HEADS, bare_lines(books)), nl=False)
        return

    store = _with_stores(settings, lambda stores: store_members(stores.store))
    if format_ is Format.JSON:
        members = books_members(books, since_ns=since_ns, until_ns=until_ns)
        typer.echo(json.dumps({**members, "store": store}, indent=2))
    else:
        _print(books)
        typer.echo(_kept(store))


def _books(settings: "Settings", since_ns: int, until_ns: int) -> "CacheBooks":
    from gateway.cachebooks import caching_of, read_cache_books
    from gateway.files import Files
    from gateway.generations import cache_rules_of
    from gateway.meanings import read_figures
    from gateway.spendquery import check_ledger

    database = ledger_of(settings)
    check_ledger(database)
    figures = read_figures(Files.below(settings.data_dir).meanings, settings.cache.semantic.url)
    caching = caching_of(settings.catalog.features.values(), cache_rules_of(settings.cache))
    return read_cache_books(database, figures, caching, since_ns=since_ns, until_ns=until_ns)


def _kept(store: Mapping[str, Any]) -> str:
    if "problem" in store:
        return f"The exact cache cannot be reached ({store['problem']}): what lies in it is not known."
    return f"answers in the exact cache: {store['entries']:,}\nbytes: {store['bytes']:,}"


def _print(books: "CacheBooks") -> None:
    from gateway.cachemembers import HEADS, QUALITY_HEADS, lines, quality_lines

    if not books.features:
        typer.echo("No request asked a cache in this period.")
        return
    print_table([*map(_words, HEADS)], lines(books), right=[*map(_words, HEADS[2:])])
    if found := list(quality_lines(books)):
        typer.echo("Wrong answers of the semantic cache, since its file was begun; intervals of 95 %:\n")
        print_table([*map(_words, QUALITY_HEADS)], found, right=[*map(_words, QUALITY_HEADS[1:6])])


def _words(head: str) -> str:
    return head.replace("_", " ").replace("usd", "USD")


def _with_stores(settings: "Settings", work: Callable[["Stores"], Awaitable[T]]) -> T:
    from gateway.stores import open_stores
    from gateway.tasks import Background

    async def run() -> T:
        background = Background()
        stores = open_stores(settings, CLOCK, background.start, workers=False)
        try:
            return await work(stores)
        except Exception as error:  # noqa: BLE001 - whatever a store raises
            raise ConfigError(f"The cache cannot be reached ({type(error).__name__}); nothing was done.") from None
        finally:
            await stores.close()

    return asyncio.run(run())
