"""Reconcile: the ledger beside a provider's invoice, as tables."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from farthing.errors import InvalidParameter
from farthing.money import format_usd
from gateway.commands.surroundings import ConfigOption, DataOption, default_config, find_files, load_settings
from gateway.commands.surroundings import print_table as table
from gateway.periods import printed

if TYPE_CHECKING:
    from ledger.invoices import Invoice
    from ledger.reconcile import Gap, Reconciliation

GAP: Final = 1
"""Exit code: the sides differ by more than the tolerance, or a line could not be read."""


class InvoiceFormat(StrEnum):
    """The kinds of files."""

    AUTO = "auto"
    OPENAI_USAGE = "openai-usage"
    OPENAI_COSTS = "openai-costs"
    ANTHROPIC = "anthropic"
    FOCUS = "focus"


def reconcile(
    file: Annotated[Path, typer.Argument(help="CSV export of the provider's usage or costs, or a FOCUS file.")],
    provider: Annotated[
        str, typer.Option(help="The provider, as the ledger or the prices name it.", show_default=False)
    ],
    format_: Annotated[InvoiceFormat, typer.Option("--format", help="The kind of file.")] = InvoiceFormat.AUTO,
    tolerance: Annotated[str, typer.Option(help="The gap in the total that is still fine.")] = "2%",
    rows: Annotated[int, typer.Option(help="Gaps shown, largest first; the rest is summed in one.", min=1)] = 40,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Compare the ledger with an invoice by day, model and meter. Exit code 1 past the tolerance."""
    from gateway.spendquery import check_ledger
    from ledger.invoices import read_invoice
    from ledger.reconcile import period_of, read_booked
    from ledger.reconcile import reconcile as compare

    allowed = _share(tolerance)
    invoice = read_invoice(file, format_.value)
    since, until = period_of(invoice)
    ledger = find_files(config, data_dir).ledger
    check_ledger(ledger)
    found = compare(read_booked(ledger, _names(provider, config), since, until), invoice)
    typer.echo(
        f"{invoice.form}: {invoice.rows:,} lines, {invoice.empty:,} without figures, {invoice.elsewhere:,} of other "
        f"services, {len(invoice.broken):,} broken; {since} to {until} (exclusive), UTC"
    )
    _tell_gaps(found, rows)
    _tell_broken(invoice)
    _tell_total(found, allowed)
    if found.share > allowed or invoice.broken:
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


def _names(provider: str, config: Path | None) -> list[str]:
    """The names that the ledger may have for a provider: those of the configuration that are priced as it."""
    from gateway.pricenames import price_names

    if config is None and default_config() is None:
        return [provider]
    names = price_names(load_settings(config).catalog)
    return sorted({provider, *(name for name, priced_as in names.items() if priced_as == provider)})


_COLUMNS = ("ledger tokens", "invoice tokens", "gap", "ledger USD", "invoice USD", "gap USD")


def _tell_gaps(found: "Reconciliation", most: int) -> None:
    from ledger.reconcile import Cause

    gaps = [gap for gap in found.gaps if gap.cause is not Cause.NONE]
    gaps.sort(key=lambda gap: (-abs(gap.cost or 0), -abs(gap.tokens or 0), gap.cell))
    lines = [_line(gap) for gap in gaps[:most]]
    if rest := gaps[most:]:
        lines.append(["", f"{len(rest):,} more", "", *_sums(rest), ""])
    if lines:
        table(["period", "model", "meter", *_COLUMNS, "likely cause"], lines, right=_COLUMNS)
    by_cause: defaultdict[str, list[Gap]] = defaultdict(list)
    for gap in found.gaps:
        by_cause[gap.cause.value].append(gap)
    causes = [[cause, f"{len(of_cause):,}", *_sums(of_cause)] for cause, of_cause in sorted(by_cause.items())]
    table(["likely cause", "cells", *_COLUMNS], causes, right=("cells", *_COLUMNS))


def _line(gap: "Gap") -> list[str]:
    cell = gap.cell
    days = (cell.until - cell.since).days
    period = str(cell.since) if days == 1 else f"{cell.since} +{days}d"
    return [period, cell.model or "(all)", cell.meter or "(all)", *_sums([gap]), gap.cause.value]


def _sums(gaps: Sequence["Gap"]) -> list[str]:
    def total(amounts: Sequence[int | None], usd: bool) -> str:
        known = [amount for amount in amounts if amount is not None]
        if not known:
            return ""
        return format_usd(sum(known)) if usd else f"{sum(known):,}"

    return [
        total([gap.ledger.tokens for gap in gaps], usd=False),
        total([gap.invoice.tokens for gap in gaps], usd=False),
        total([gap.tokens for gap in gaps], usd=False),
        total([gap.ledger.cost for gap in gaps], usd=True),
        total([gap.invoice.cost for gap in gaps], usd=True),
        total([gap.cost for gap in gaps], usd=True),
    ]


def _tell_broken(invoice: "Invoice") -> None:
    for broken in invoice.broken:
        typer.echo(f"line {broken.number}: {printed(broken.problem)}; it is not in the figures above")


def _tell_total(found: "Reconciliation", allowed: Decimal) -> None:
    ledger, invoice = found.totals
    told = format_usd if found.in_money else "{:,}".format
    unit = "USD" if found.in_money else "tokens"
    verdict = "within" if found.share <= allowed else "past"
    typer.echo(
        f"ledger {told(ledger)}, invoice {told(invoice)}, gap {told(ledger - invoice)} {unit}: "
        f"{found.share * 100:.3f}%, {verdict} the tolerance of {(allowed * 100).normalize():f}%"
    )
