"""Report: what the ledger says, as a table, CSV or JSON."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from farthing.money import format_usd
from gateway.commands.surroundings import CLOCK, ConfigOption, DataOption, find_ledger, print_table
from gateway.periods import moment_of, parse_moment

if TYPE_CHECKING:
    from ledger.costs import CostReport
    from ledger.reports import SpendRow


class Format(StrEnum):
    """How a report is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def report_spend(
    by: Annotated[str, typer.Option(help="Dimensions to group by, e.g. feature,tier.")] = "feature",
    since: Annotated[str, typer.Option(help="30d, 12h, 4w (ago), a date, or an ISO 8601 time.")] = "30d",
    until: Annotated[str, typer.Option(help="The same; now if not given.", show_default=False)] = "",
    where: Annotated[list[str], typer.Option(help="NAME=VALUE, e.g. feature=search; may be repeated.")] = [],  # noqa: B006
    format_: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.TABLE,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """What was spent, by feature or any other dimension, dearest first."""
    from gateway.spendquery import as_csv as spend_csv
    from gateway.spendquery import as_members, read_query

    query = read_query(by=by, since=since, until=until, where=where, now_ns=CLOCK.wall_ns())
    rows = query.answer(find_ledger(config, data_dir))
    if format_ is Format.CSV:
        typer.echo(spend_csv(rows, query.by), nl=False)
    elif format_ is Format.JSON:
        typer.echo(json.dumps([as_members(row, query.by) for row in rows], indent=2))
    else:
        _print(rows, query.by)


_FIGURES = ("requests", "hits", "tokens in", "tokens out", "cost USD", "avoided by cache", "by routing")


def _print(rows: Sequence["SpendRow"], by: Sequence[str]) -> None:
    lines = [[*(key or "(none)" for key in row.keys), *_figures([row])] for row in rows]
    if len(rows) != 1:
        lines.append(["total", *[""] * (len(by) - 1), *_figures(rows)])
    print_table([*by, *_FIGURES], lines, right=_FIGURES)


def _figures(rows: Iterable["SpendRow"]) -> list[str]:
    counted = [
        (
            row.requests,
            row.hits,
            row.usage.input_total,
            row.usage.output_total,
            row.cost,
            row.avoided_cache,
            row.avoided_routing,
        )
        for row in rows
    ]
    sums = [sum(column) for column in zip(*counted, strict=True)] or [0] * len(_FIGURES)
    return [*(f"{count:,}" for count in sums[:4]), *(format_usd(amount) for amount in sums[4:])]


def report_inference(
    by: Annotated[str, typer.Option(help="Any of feature, tier, model; e.g. feature,tier.")] = "feature",
    since: Annotated[str, typer.Option(help="30d, 12h, 4w (ago), a date, or an ISO 8601 time.")] = "30d",
    until: Annotated[str, typer.Option(help="The same; now if not given.", show_default=False)] = "",
    format_: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.TABLE,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """What one inference costs: the median, and what 99 of 100 stay below."""
    from gateway.spendquery import check_ledger
    from ledger.costs import costs

    database, now_ns = find_ledger(config, data_dir), CLOCK.wall_ns()
    check_ledger(database)
    names = tuple(name.strip() for name in by.split(","))
    until_ns = parse_moment(until, now_ns) if until else now_ns
    report = costs(database, by=names, since_ns=parse_moment(since, now_ns), until_ns=until_ns)
    heads = (*names, "inferences", "median_usd", "p99_usd")
    figures = [(*row.keys, row.inferences, format_usd(row.median), format_usd(row.p99)) for row in report.rows]
    _write(format_, heads, figures, right=heads[-3:])
    if format_ is Format.TABLE:
        typer.echo(_how_exact(report))


def report_prompts(
    since: Annotated[str, typer.Option(help="30d, 12h, 4w (ago), a date, or an ISO 8601 time.")] = "30d",
    until: Annotated[str, typer.Option(help="The same; now if not given.", show_default=False)] = "",
    format_: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.TABLE,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """What the prompt caches of providers saved each feature, net of what writing to them cost more."""
    from gateway.spendquery import check_ledger
    from ledger.promptsavings import prompt_savings

    database, now_ns = find_ledger(config, data_dir), CLOCK.wall_ns()
    check_ledger(database)
    until_ns = parse_moment(until, now_ns) if until else now_ns
    found = prompt_savings(database, since_ns=parse_moment(since, now_ns), until_ns=until_ns)
    figures = [
        (
            *(one.feature, one.provider, one.model, one.calls, one.inputs, one.read, one.written),
            round(one.read_share, 4),
            *(format_usd(one.saved), format_usd(one.premium), format_usd(one.net)),
        )
        for one in found
    ]
    _write(format_, _PROMPT_HEADS, figures, right=_PROMPT_HEADS[3:])


_PROMPT_HEADS = (
    *("feature", "provider", "model", "calls", "tokens_in", "read", "written", "read_share"),
    *("saved_usd", "premium_usd", "net_usd"),
)


def _write(format_: Format, heads: Sequence[str], figures: Sequence[Sequence[object]], *, right: Sequence[str]) -> None:
    """One object, line or row for each of the figures; in a table the columns in `right` stand there."""
    lines = [tuple(map(str, line)) for line in figures]
    if format_ is Format.JSON:
        typer.echo(json.dumps([dict(zip(heads, line, strict=True)) for line in figures], indent=2))
    elif format_ is Format.CSV:
        typer.echo(as_csv(heads, lines), nl=False)
    else:
        print_table(heads, lines, right=right)


def as_csv(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Lines under their heads, harmless for spreadsheets."""
    from gateway.spendquery import guarded

    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([heads, *([guarded(cell) for cell in line] for line in lines)])
    return out.getvalue()


def _how_exact(report: "CostReport") -> str:
    if report.exact:
        return "Exact."
    since, until = (moment_of(at_ns).strftime("%Y-%m-%d") for at_ns in (report.since_ns, report.until_ns))
    return f"Whole days of UTC from {since} to before {until}; amounts within 3.2 %."
