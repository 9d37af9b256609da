"""Prices: what a model costs, and since when Farthing knows."""

from typing import Annotated

import typer

from farthing.money import FEMTO_PER_TOKEN_OF_USD_PER_MTOK, Rates, format_usd
from gateway.commands.surroundings import CLOCK, ConfigOption, default_config, load_settings, print_table
from gateway.periods import moment_of, parse_moment


def prices_show(
    provider: Annotated[str, typer.Option(help="Provider as prices know it, e.g. openai.", show_default=False)],
    model: Annotated[str, typer.Option(help="Model as it is sent to the provider.", show_default=False)],
    at: Annotated[str, typer.Option(help="A date or time; now if not given.", show_default=False)] = "",
    config: ConfigOption = None,
) -> None:
    """The rates of a model, overrides of the configuration included where there is one."""
    from ledger.prices import PriceBook

    now_ns = CLOCK.wall_ns()
    at_ns = parse_moment(at, now_ns) if at else now_ns
    book = PriceBook(load_settings(config).prices if config or default_config() else ())
    price = book.price(provider, model, at_ns)
    rows = [
        [f"above {above:,}" if above > 0 else "any", name, amount]
        for above, rates in price.steps
        for name, amount in _amounts(rates)
    ]
    moment = moment_of(at_ns).strftime("%Y-%m-%d %H:%M UTC")
    typer.echo(f"{provider} {model} at {moment}, price book {price.version}")
    print_table(["input tokens", "rate", "USD"], rows, right=["USD"])


def _amounts(rates: Rates) -> list[tuple[str, str]]:
    """Names for people and exact amounts in USD."""
    told = []
    for name, value in rates.as_dict().items():
        if name.startswith("per_"):
            told.append((name.replace("_", " "), format_usd(value)))
        else:
            told.append((f"{name.replace('_', ' ')}, per million tokens", _per_million(value)))
    return told or [("everything", "0 (free)")]


def _per_million(femto: int) -> str:
    """USD per million tokens: a nano-dollar a million times is a thousandth of a dollar."""
    return format_usd(femto * 10**9 // FEMTO_PER_TOKEN_OF_USD_PER_MTOK)
