"""Gaps: a ledger beside an invoice, as tables, as JSON or as CSV."""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import typer

from farthing.money import format_usd
from gateway.commands.surroundings import print_table
from gateway.periods import printed
from ledger.invoices import Invoice
from ledger.reconcile import Cause, Gap, Reconciliation


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was compared, `found` being the outcome: of `providers`, as the ledger names them, from `since` to before
    `until` (UTC days, ISO 8601). `tolerance` is a share, 0.02 for 2%."""

    providers: Sequence[str]
    since: str
    until: str
    invoice: Invoice
    found: Reconciliation
    tolerance: Decimal

    @property
    def is_within(self) -> bool:
        """Whether the totals differ by no more than the tolerance."""
        return self.found.share <= self.tolerance

    @property
    def by_cause(self) -> Mapping[str, Sequence[Gap]]:
        """The cells of each cause, by the names of the causes."""
        causes: defaultdict[str, list[Gap]] = defaultdict(list)
        for gap in self.found.gaps:
            causes[gap.cause.value].append(gap)
        return dict(sorted(causes.items()))


FIGURES: Final = ("ledger_tokens", "invoice_tokens", "gap_tokens", "ledger_usd", "invoice_usd", "gap_usd")
"""In tokens and in exact USD."""


def _figures(gaps: Sequence[Gap]) -> dict[str, int | str | None]:
    """The sums of cells by the names in FIGURES; None for what the invoice does not tell of any of them."""
    sums = [
        _total(gap.ledger.tokens for gap in gaps),
        _total(gap.invoice.tokens for gap in gaps),
        _total(gap.tokens for gap in gaps),
        _total(gap.ledger.cost for gap in gaps),
        _total(gap.invoice.cost for gap in gaps),
        _total(gap.cost for gap in gaps),
    ]
    amounts = (None if amount is None else format_usd(amount) for amount in sums[3:])
    return dict(zip(FIGURES, (*sums[:3], *amounts), strict=True))


def _total(amounts: Iterable[int | None]) -> int | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None


# --- for people ----------------------------------------------------------------------------------

_HEADS: Final = ("ledger tokens", "invoice tokens", "gap", "ledger USD", "invoice USD", "gap USD")


def print_comparison(compared: Comparison, most: int) -> None:
    """Tables on standard output: at most so many gaps, largest first, then the sums of all by cause and in all."""
    invoice = compared.invoice
    typer.echo(
        f"{invoice.form}: {invoice.rows:,} lines, {invoice.empty:,} without figures, "
        f"{sum(invoice.left_out.values()):,} left out, {len(invoice.broken):,} broken; "
        f"{compared.since} to {compared.until} (exclusive), UTC"
    )
    for reason, rows in _left_out(invoice):
        typer.echo(f"left out, since {printed(reason)}: {rows:,}")
    if invoice.form == "focus" and not invoice.names_providers:
        typer.echo("the file has no column that names a provider: all of its lines count")
    _print_gaps(compared.found.gaps, most)
    causes = [[cause, f"{len(gaps):,}", *_cells(gaps)] for cause, gaps in compared.by_cause.items()]
    print_table(["likely cause", "cells", *_HEADS], causes, right=("cells", *_HEADS))
    for broken in invoice.broken:
        typer.echo(f"line {broken.number}: {printed(broken.problem)}; it is not in the figures above")
    typer.echo(_verdict(compared))


def _left_out(invoice: Invoice) -> list[tuple[str, int]]:
    return sorted(invoice.left_out.items(), key=lambda reason: (-reason[1], reason[0]))


def _print_gaps(all_: Iterable[Gap], most: int) -> None:
    gaps = [gap for gap in all_ if gap.cause is not Cause.NONE]
    gaps.sort(key=lambda gap: (-abs(gap.cost or 0), -abs(gap.tokens or 0), gap.cell))
    lines = [_line(gap) for gap in gaps[:most]]
    if rest := gaps[most:]:
        lines.append(["", f"{len(rest):,} more", "", *_cells(rest), ""])
    if lines:
        print_table(["period", "model", "meter", *_HEADS, "likely cause"], lines, right=_HEADS)


def _line(gap: Gap) -> list[str]:
    cell = gap.cell
    days = (cell.until - cell.since).days
    period = str(cell.since) if days == 1 else f"{cell.since} +{days}d"
    return [period, cell.model or "(all)", cell.meter or "(all)", *_cells([gap]), gap.cause.value]


def _cells(gaps: Sequence[Gap]) -> list[str]:
    figures = _figures(gaps).values()
    return ["" if figure is None else f"{figure:,}" if isinstance(figure, int) else figure for figure in figures]


def _verdict(compared: Comparison) -> str:
    ledger, invoice = compared.found.totals
    told = format_usd if compared.found.in_money else "{:,}".format
    return (
        f"ledger {told(ledger)}, invoice {told(invoice)}, gap {told(ledger - invoice)} {_unit(compared.found)}: "
        f"{compared.found.share * 100:.3f}%, {_within(compared)} the tolerance of "
        f"{(compared.tolerance * 100).normalize():f}%"
    )


def _unit(found: Reconciliation) -> str:
    return "USD" if found.in_money else "tokens"


def _within(compared: Comparison) -> str:
    return "within" if compared.is_within else "past"


# --- for programs --------------------------------------------------------------------------------


def comparison_members(compared: Comparison) -> dict[str, Any]:
    """The whole comparison for JSON: every cell, those that agree included, so that they add up to the total. Amounts
    are exact decimal text, null where the invoice does not tell them."""
    invoice, found = compared.invoice, compared.found
    return {
        "providers": list(compared.providers),
        "since": compared.since,
        "until": compared.until,
        "file": {
            "kind": invoice.form,
            "rows": invoice.rows,
            "empty": invoice.empty,
            "names_providers": invoice.names_providers,
            "left_out": [{"reason": reason, "rows": rows} for reason, rows in _left_out(invoice)],
            "broken": [{"line": broken.number, "problem": broken.problem} for broken in invoice.broken],
        },
        "cells": [{**_place(gap), **_figures([gap]), "cause": gap.cause.value} for gap in found.gaps],
        "causes": [{"cause": cause, "cells": len(gaps), **_figures(gaps)} for cause, gaps in compared.by_cause.items()],
        "total": {
            **_figures(found.gaps),
            "compared_in": _unit(found),
            "gap_share": f"{found.share:f}",
            "tolerance": f"{compared.tolerance:f}",
            "within_tolerance": compared.is_within,
        },
    }


def _place(gap: Gap) -> dict[str, str]:
    cell = gap.cell
    return {"since": str(cell.since), "until": str(cell.until), "model": cell.model, "meter": cell.meter}


def comparison_json(compared: Comparison) -> str:
    """One object, see `comparison_members`."""
    return json.dumps(comparison_members(compared), indent=2) + "\n"


_CSV: Final = ("row", "since", "until", "model", "meter", *FIGURES, "rows", "says")


def comparison_csv(compared: Comparison) -> str:
    """One line for each cell, cause, reason to leave rows out and broken line, and one for the total; `row` tells which
    it is. Texts that a spreadsheet would run as a formula get an apostrophe in front."""
    from gateway.spendquery import guarded

    whole = comparison_members(compared)
    file, total = whole["file"], whole["total"]
    span = {"since": compared.since, "until": compared.until}
    lines = [
        *({"row": "cell", **one, "says": one["cause"]} for one in whole["cells"]),
        *(
            {"row": "cause", **span, **cause, "rows": cause["cells"], "says": cause["cause"]}
            for cause in whole["causes"]
        ),
        *({"row": "left out", "rows": one["rows"], "says": one["reason"]} for one in file["left_out"]),
        *({"row": "broken", "rows": 1, "says": f"line {one['line']}: {one['problem']}"} for one in file["broken"]),
        {"row": "total", **span, **total, "rows": file["rows"], "says": _verdict(compared)},
    ]
    texts = ("model", "meter", "says")
    out = io.StringIO()
    writer = csv.DictWriter(out, _CSV, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**line, **{name: guarded(line[name]) for name in texts if name in line}} for line in lines)
    return out.getvalue()
