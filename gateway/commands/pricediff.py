"""Price diff: what changed in the prices, and what last month's traffic would cost more or less."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from farthing.errors import InvalidParameter
from farthing.money import format_usd
from gateway.commands.prices import amount, named
from gateway.commands.priceupdate import plan_update
from gateway.commands.pricing import Prices, load_prices
from gateway.commands.surroundings import (
    CLOCK,
    ConfigOption,
    DataOption,
    config_path,
    default_config,
    find_ledger,
    print_table,
)
from gateway.periods import moment_of, parse_moment

if TYPE_CHECKING:
    from ledger.pricechanges import Effect, Lookup, ModelChange, RateChange

MONTH_NS: Final = 30 * 86_400 * 10**9
MOST_MODELS: Final = 100_000
DAY: Final = "%Y-%m-%d"


def prices_diff(
    since: Annotated[str, typer.Option(help="Prices of then against those of --until.", show_default=False)] = "",
    until: Annotated[str, typer.Option(help="With --since; now if not given.", show_default=False)] = "",
    against: Annotated[
        Path | None, typer.Option(help="Present prices against those of a CSV or JSON file.", show_default=False)
    ] = None,
    provider: Annotated[str, typer.Option(help="Only this provider, as prices know it.")] = "",
    model: Annotated[str, typer.Option(help="Only this model.")] = "",
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Compare prices: of two dates, with a file, or (without either) the packaged catalogue with the configuration."""
    from ledger.pricechanges import changes

    if (until and not since) or (since and against):
        raise InvalidParameter("Give --since with or without --until, or --against, or none of them.")
    now_ns = CLOCK.wall_ns()
    prices = load_prices(config)
    if since:
        told, models, old, new = _two_dates(prices, parse_moment(since, now_ns), _until(until, now_ns))
    elif against:
        told, models, old, new = _with_file(config, against, prices, now_ns)
    else:
        told, models, old, new = _with_configuration(prices, now_ns)
    wanted = [one for one in models if provider in ("", one[0]) and model in ("", one[1])]
    found = changes(wanted, old, new)
    typer.echo(f"{told}; price book {prices.book.version}")
    print_table(
        ["provider", "model", "input tokens", "rate", "old USD", "new USD", "change"],
        [_line(change, rate) for change in found for rate in change.rates],
        right=["old USD", "new USD", "change"],
    )
    _tell_effects(found, prices, config, data_dir, now_ns)


def _until(text: str, now_ns: int) -> int:
    return parse_moment(text, now_ns) if text else now_ns


Comparison = tuple[str, Iterable[tuple[str, str]], "Lookup", "Lookup"]


def _two_dates(prices: Prices, since_ns: int, until_ns: int) -> Comparison:
    from ledger.pricechanges import catalogue_models

    models = [*catalogue_models(), *((one.provider, one.model) for one in prices.overrides)]
    told = f"prices of {moment_of(since_ns):{DAY}} against {moment_of(until_ns):{DAY}}"
    book = prices.book
    return (
        told,
        models,
        lambda provider, model: book.price(provider, model, since_ns),
        lambda provider, model: book.price(provider, model, until_ns),
    )


def _with_configuration(prices: Prices, now_ns: int) -> Comparison:
    from ledger.prices import PriceBook

    packaged = PriceBook()
    return (
        "the packaged catalogue against `prices:` of the configuration, today",
        [(one.provider, one.model) for one in prices.overrides],
        lambda provider, model: packaged.price(provider, model, now_ns),
        lambda provider, model: prices.book.price(provider, model, now_ns),
    )


def _with_file(config: Path | None, path: Path, prices: Prices, now_ns: int) -> Comparison:
    """As if the file had been taken up by `farthing prices update`; each price is seen on its first day, or today."""
    from ledger.prices import PriceBook

    plan = plan_update(config_path(config), path, now_ns)
    book = PriceBook(plan.settings.prices)
    at: dict[tuple[str, str], int] = {}
    for entry in plan.entries:
        key = prices.names.get(entry["provider"], entry["provider"]), entry["model"]
        at[key] = max(now_ns, at.get(key, 0), parse_moment(entry["valid_from"], now_ns))
    return (
        f"present prices against those of {path}",
        at,
        lambda provider, model: prices.book.price(provider, model, now_ns),
        lambda provider, model: book.price(provider, model, at[provider, model]),
    )


def _line(change: "ModelChange", rate: "RateChange") -> list[str]:
    percent = "" if rate.percent is None else f"{rate.percent:+.1f}%"
    return [
        change.provider,
        change.model,
        f"above {rate.above:,}" if rate.above > 0 else "any",
        named(rate.name).removesuffix(" tokens"),
        _usd(rate.name, rate.old),
        _usd(rate.name, rate.new),
        percent,
    ]


def _usd(name: str, value: int | None) -> str:
    return "no price" if value is None else amount(name, value)


def _tell_effects(
    found: "Sequence[ModelChange]", prices: Prices, config: Path | None, data_dir: Path | None, now_ns: int
) -> None:
    """What the traffic of the last 30 days would cost more or less, where there is a ledger."""
    from ledger import reports
    from ledger.pricechanges import effect

    if data_dir is None and config is None and default_config() is None:
        return
    ledger = find_ledger(config, data_dir)
    if not ledger.is_there():
        typer.echo(f"no ledger at {ledger.label}: the effect on traffic is not known")
        return
    since_ns = now_ns - MONTH_NS
    rows = reports.spend(ledger, by=("provider", "model"), since_ns=since_ns, until_ns=now_ns, limit=MOST_MODELS)
    called = {(prices.names.get(row.keys[0], row.keys[0]), row.keys[1]) for row in rows}
    effects = [
        (change, effect(ledger, change, _names(prices, change.provider), since_ns=since_ns, until_ns=now_ns))
        for change in found
        if (change.provider, change.model) in called
    ]
    used = [(change, one) for change, one in effects if one.requests]
    figures = ("requests", "at old prices", "at new prices", "difference")
    print_table(
        ["traffic of 30 days", "model", *figures],
        [[change.provider, change.model, f"{one.requests:,}", *_costs(one)] for change, one in used],
        right=figures,
    )
    known = [(one.old, one.new) for _, one in used if one.old is not None and one.new is not None]
    typer.echo(
        f"the traffic of the last 30 days would cost {format_usd(sum(new - old for old, new in known))} USD more"
    )


def _names(prices: Prices, provider: str) -> list[str]:
    """The names that the ledger may have for a provider."""
    return [provider, *(name for name, priced_as in prices.names.items() if priced_as == provider)]


def _costs(one: "Effect") -> list[str]:
    told = ["no price" if cost is None else format_usd(cost) for cost in (one.old, one.new)]
    return [*told, "" if one.old is None or one.new is None else format_usd(one.new - one.old)]
