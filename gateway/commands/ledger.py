"""Ledger: whether the books add up, and what is old moved out of them."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.surroundings import CLOCK, ConfigOption, DataOption, find_ledger
from gateway.periods import moment_of, parse_moment

MOST_SHOWN = 100
DIFFERENT = 1


def ledger_check(
    repair: Annotated[bool, typer.Option("--repair", help="Make wrong roll-ups anew from the records.")] = False,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Compare roll-ups with records, and accounts with holds and records; exit code 1 where they differ."""
    from gateway.spendquery import check_ledger
    from ledger import check

    database = find_ledger(config, data_dir)
    check_ledger(database)
    checked = check.check(database)
    for difference in checked.differences[:MOST_SHOWN]:
        typer.echo(str(difference))
    if len(checked.differences) > MOST_SHOWN:
        typer.echo(f"and {len(checked.differences) - MOST_SHOWN} more")
    unknowable = f", {checked.unknowable} of them beyond checking" if checked.unknowable else ""
    typer.echo(
        f"{checked.days} days and {checked.accounts} accounts{unknowable}: {len(checked.differences)} differences"
    )
    if repair and checked.damaged:
        check.repair(database, checked.damaged)
        typer.echo(f"made the roll-ups of {len(checked.damaged)} days anew; check again to see what is left")
    if checked.differences:
        raise typer.Exit(DIFFERENT)


def ledger_archive(
    before: Annotated[str, typer.Option(help="30d, 4w (ago) or a date: what is older goes.", show_default=False)],
    to: Annotated[Path, typer.Option(help="Directory for the Parquet files.", show_default=False)],
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Move records of before a day (UTC) to Parquet files. Reports of whole hours stay as they are."""
    from gateway.spendquery import check_ledger
    from ledger.archive import archive

    database = find_ledger(config, data_dir)
    check_ledger(database)
    now_ns = CLOCK.wall_ns()
    before_ns = min(parse_moment(before, now_ns), now_ns)
    moved = 0
    for archived in archive(database, before_ns=before_ns, folder=to):
        moved += archived.records
        again = " (written by an earlier run that was killed)" if archived.finished else ""
        typer.echo(f"{archived.path}: {archived.records:,} records{again}")
    typer.echo(f"{moved:,} records of before {moment_of(before_ns):%Y-%m-%d} are in {to}")
