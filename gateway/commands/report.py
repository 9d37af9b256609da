"""Report: what the ledger says, as a table, CSV or JSON."""

import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from farthing.money import format_usd
from gateway.commands.surroundings import CLOCK, ConfigOption, DataOption, find_files, print_table

if TYPE_CHECKING:
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
    from gateway.spendquery import as_csv, as_members, read_query

    query = read_query(by=by, since=since, until=until, where=where, now_ns=CLOCK.wall_ns())
    rows = query.answer(find_files(config, data_dir).ledger)
    if format_ is Format.CSV:
        typer.echo(as_csv(rows, query.by), nl=False)
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
