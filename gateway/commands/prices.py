"""Prices: what a model costs, and since when Farthing knows."""

from collections.abc import Mapping
from typing import Annotated

import typer

from farthing.money import FEMTO_PER_NANO, FEMTO_PER_TOKEN_OF_USD_PER_MTOK, format_usd
from gateway.commands.pricing import Prices, load_prices
from gateway.commands.surroundings import CLOCK, ConfigOption, print_table
from gateway.logs import printable
from gateway.periods import moment_of, parse_moment


def prices_show(
    provider: Annotated[str, typer.Option(help="Provider as prices or the configuration know it.", show_default=False)],
    model: Annotated[str, typer.Option(help="Model as it is sent to the provider.", show_default=False)],
    at: Annotated[str, typer.Option(help="A date or time; now if not given.", show_default=False)] = "",
    config: ConfigOption = None,
) -> None:
    """The rates of a model in every service tier, and whether they are our own or the packaged catalogue's."""
    now_ns = CLOCK.wall_ns()
    at_ns = parse_moment(at, now_ns) if at else now_ns
    prices = load_prices(config)
    priced_as = prices.names.get(provider, provider)
    tiers = ["", *prices.book.tiers(priced_as, model, at_ns)]
    rows = [
        [tier or "standard", f"above {above:,}" if above > 0 else "any", name, amount]
        for tier in tiers
        for above, listed in prices.book.price(priced_as, model, at_ns, tier).listed()
        for name, amount in _amounts(listed)
    ]
    moment = moment_of(at_ns).strftime("%Y-%m-%d %H:%M UTC")
    typer.echo(f"{priced_as} {model} at {moment}, price book {prices.book.version}")
    typer.echo(_origin(prices, priced_as, model, at_ns))
    print_table(["service tier", "input tokens", "rate", "USD"], rows, right=["USD"])


def _origin(prices: Prices, provider: str, model: str, at_ns: int) -> str:
    """Where the price comes from."""
    own = [
        one for one in prices.overrides if (one.provider, one.model) == (provider, model) and one.valid_from_ns <= at_ns
    ]
    if not own:
        return "from the packaged catalogue"
    latest = max(own, key=lambda one: one.valid_from_ns)
    since = f" since {moment_of(latest.valid_from_ns):%Y-%m-%d}" if latest.valid_from_ns else ""
    told = "; ".join(printable(text) for text in (latest.source, latest.reason) if text)
    return f"from `prices:` of the configuration{since}{': ' + told if told else ''}"


def _amounts(listed: Mapping[str, int]) -> list[tuple[str, str]]:
    """Names for people and exact amounts in USD."""
    return [(named(name), amount(name, value)) for name, value in listed.items()] or [("everything", "0 (free)")]


def named(name: str) -> str:
    """A price for people: of what, and of how much of it."""
    words = name.replace("_", " ")
    if name.startswith("per_"):
        return words
    return f"{words}, each" if _is_piece(name) else f"{words}, per million tokens"


def amount(name: str, value: int) -> str:
    """USD by the piece, or per million tokens: a nano-dollar a million times is a thousandth of a dollar."""
    if name.startswith("per_"):
        return format_usd(value)
    return format_usd(value // FEMTO_PER_NANO if _is_piece(name) else value * 10**9 // FEMTO_PER_TOKEN_OF_USD_PER_MTOK)


def _is_piece(name: str) -> bool:
    from ledger.price import PIECE_EXTRAS

    return name in PIECE_EXTRAS
