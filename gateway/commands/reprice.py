"""Reprice: what is on the books, at the prices that are known now."""

from typing import TYPE_CHECKING, Annotated

import typer

from farthing.money import format_usd
from gateway.commands.surroundings import CLOCK, ConfigOption, DataOption, environment, find_ledger, print_table
from gateway.periods import moment_of, parse_moment

if TYPE_CHECKING:
    from ledger.adjustments import Repriced


def prices_reprice(  # noqa: PLR0913, PLR0917 - each is an option
    since: Annotated[str, typer.Option(help="30d, 12h, 4w (ago), a date, or an ISO 8601 time.", show_default=False)],
    until: Annotated[str, typer.Option(help="The same; now if not given.", show_default=False)] = "",
    provider: Annotated[str, typer.Option(help="Only this provider, as the ledger names it.")] = "",
    model: Annotated[str, typer.Option(help="Only this model, as it was sent upstream.")] = "",
    reason: Annotated[str, typer.Option(help="Why; kept with every adjustment.")] = "prices corrected",
    author: Annotated[str, typer.Option(help="Who; kept with every adjustment. Else the user who runs it.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would change.")] = False,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Price records anew, each at its own time, and write what differs as adjustments. Nothing is rewritten."""
    from gateway.commands.pricing import load_prices
    from gateway.spendquery import check_ledger
    from ledger.adjustments import Repricing, reprice
    from ledger.archive import archived_until

    now_ns = CLOCK.wall_ns()
    ledger, prices = find_ledger(config, data_dir), load_prices(config)
    check_ledger(ledger)
    asked = Repricing(
        since_ns=parse_moment(since, now_ns),
        until_ns=parse_moment(until, now_ns) if until else now_ns,
        provider=provider,
        model=model,
        reason=reason,
        author=author or environment().get("USER", ""),
        now_ns=now_ns,
    )
    done = reprice(ledger, asked, prices.of_record, dry_run=dry_run)
    typer.echo(f"price book {prices.book.version}")
    _print(done)
    typer.echo(_sentence(done, dry_run=dry_run))
    if asked.since_ns < (archived_ns := archived_until(ledger)):
        typer.echo(
            f"Records of before {moment_of(archived_ns):%Y-%m-%d} are in an archive and keep their prices: "
            "`farthing ledger restore` brings them back."
        )


_FIGURES = ("records", "changed", "old USD", "new USD", "difference", "no price now", "not by tokens")


def _print(done: "Repriced") -> None:
    rows = [
        [
            provider,
            model,
            f"{sums.records:,}",
            f"{sums.changed:,}",
            *map(format_usd, (sums.old, sums.new, sums.new - sums.old)),
            f"{sums.unpriced:,}",
            f"{sums.composed:,}",
        ]
        for (provider, model), sums in sorted(done.models.items())
    ]
    print_table(["provider", "model", *_FIGURES], rows, right=_FIGURES)


def _sentence(done: "Repriced", *, dry_run: bool) -> str:
    count = sum(sums.changed for sums in done.models.values())
    did = "would be written" if dry_run else "written"
    return f"{count:,} adjustments {did}, {format_usd(done.delta)} USD in all."
