"""Reconcile: the ledger beside a provider's invoice."""

from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from farthing.errors import InvalidParameter
from gateway.commands.report import Format
from gateway.commands.surroundings import ConfigOption, DataOption, default_config, find_ledger, load_settings
from gateway.periods import printed

if TYPE_CHECKING:
    from ledger.invoices import Invoice

GAP: Final = 1
"""Exit code: the sides differ by more than the tolerance, or a line could not be read."""


class InvoiceKind(StrEnum):
    """The kinds of files."""

    AUTO = "auto"
    OPENAI_USAGE = "openai-usage"
    OPENAI_COSTS = "openai-costs"
    ANTHROPIC = "anthropic"
    FOCUS = "focus"


def reconcile(  # noqa: PLR0913, PLR0917 - the options of a command are its arguments
    file: Annotated[Path, typer.Argument(help="CSV export of the provider's usage or costs, or a FOCUS file.")],
    provider: Annotated[
        str, typer.Option(help="The provider, as the ledger or the prices name it.", show_default=False)
    ],
    kind: Annotated[InvoiceKind, typer.Option(help="The kind of file.")] = InvoiceKind.AUTO,
    billed_as: Annotated[
        list[str], typer.Option(help="What a FOCUS file calls the provider, if it is not found; may be repeated.")
    ] = [],  # noqa: B006
    tolerance: Annotated[str, typer.Option(help="The gap in the total that is still fine.")] = "2%",
    rows: Annotated[int, typer.Option(help="Gaps in the table, largest first; the rest is summed in one.", min=1)] = 40,
    format_: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.TABLE,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Compare the ledger with an invoice by day, model and meter. Exit code 1 past the tolerance."""
    from gateway.commands.gaps import Comparison, comparison_csv, comparison_json, print_comparison
    from gateway.spendquery import check_ledger
    from ledger.billednames import billed_names
    from ledger.booked import read_booked
    from ledger.invoices import read_invoice
    from ledger.reconcile import period_of
    from ledger.reconcile import reconcile as compare

    allowed = _share(tolerance)
    priced_as = _priced_as(config)
    invoice = read_invoice(file, kind.value, billed_names(billed_as or {provider, priced_as.get(provider, provider)}))
    _refuse_nothing(invoice, provider)
    since, until = period_of(invoice)
    ledger = find_ledger(config, data_dir)
    check_ledger(ledger)
    names = sorted({provider, *(name for name, priced in priced_as.items() if priced == provider)})
    compared = Comparison(
        providers=names,
        since=str(since),
        until=str(until),
        invoice=invoice,
        found=compare(read_booked(ledger, names, since, until), invoice),
        tolerance=allowed,
    )
    if format_ is Format.TABLE:
        print_comparison(compared, rows)
    else:
        typer.echo((comparison_json if format_ is Format.JSON else comparison_csv)(compared), nl=False)
    if not compared.is_within or invoice.broken:
        raise typer.Exit(GAP)


def _share(text: str) -> Decimal:
    number, percent, rest = text.strip().partition("%")
    try:
        share = Decimal(number)
        if rest or not share.is_finite() or share < 0:
            raise InvalidOperation
    except InvalidOperation:
        raise InvalidParameter(f"'{printed(text)}' is no tolerance: write a share such as 2% or 0.02.") from None
    return share / 100 if percent else share


def _priced_as(config: Path | None) -> dict[str, str]:
    """For the names of the providers in the configuration, and so in the ledger, those in the price list."""
    from gateway.pricenames import price_names

    return {} if config is None and default_config() is None else dict(price_names(load_settings(config).catalog))


def _refuse_nothing(invoice: "Invoice", provider: str) -> None:
    """An invoice of somebody else would look like one that bills nothing."""
    if invoice.lines or not invoice.left_out:
        return
    reasons = sorted(invoice.left_out.items(), key=lambda reason: -reason[1])
    told = "; ".join(f"{printed(reason)} ({rows:,})" for reason, rows in reasons[:5])
    raise InvalidParameter(
        f"The file has no figure of '{printed(provider)}'. Left out: {told}. If it goes by one of these names, say "
        "so with --billed-as NAME.",
        param="file",
    )
