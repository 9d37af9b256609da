"""Ledger: whether the books add up, and where they are moved to: the old to files, all to PostgreSQL."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farthing.errors import InvalidParameter
from gateway.commands.surroundings import CLOCK, Bars, ConfigOption, DataOption, find_ledger, load_settings
from gateway.files import Files
from gateway.periods import moment_of, parse_moment

if TYPE_CHECKING:
    from ledger.check import Checked

MOST_SHOWN = 100
DIFFERENT = 1
DAY_NS = 86_400 * 10**9


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
    _tell(checked)
    if repair and checked.damaged:
        check.repair(database, checked.damaged)
        typer.echo(f"made the roll-ups of {len(checked.damaged)} days anew; check again to see what is left")
    if checked.differences:
        raise typer.Exit(DIFFERENT)


def _tell(checked: "Checked") -> None:
    for difference in checked.differences[:MOST_SHOWN]:
        typer.echo(str(difference))
    if len(checked.differences) > MOST_SHOWN:
        typer.echo(f"and {len(checked.differences) - MOST_SHOWN} more")
    unknowable = f", {checked.unknowable} of them beyond checking" if checked.unknowable else ""
    typer.echo(
        f"{checked.days} days and {checked.accounts} accounts{unknowable}: {len(checked.differences)} differences"
    )


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


def ledger_restore(
    files: Annotated[list[Path], typer.Argument(help="Files of an archive of this ledger.", show_default=False)],
    keep_days: Annotated[
        int, typer.Option(help="For so many days `ledger.retention` is not applied.", min=0, max=366)
    ] = 7,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Put records of an archive back into the ledger. Totals stay as they are, and the files too."""
    from gateway.spendquery import check_ledger
    from ledger.archive import archived_until
    from ledger.restore import restore

    database = find_ledger(config, data_dir)
    check_ledger(database)
    keep_until_ns = CLOCK.wall_ns() + keep_days * DAY_NS
    for restored in restore(database, files, keep_until_ns=keep_until_ns):
        typer.echo(f"{restored.path}: {restored.records:,} records, {restored.fresh:,} of them were not in the ledger")
    archived_ns = archived_until(database)
    if archived_ns:
        typer.echo(f"Not every record of before {moment_of(archived_ns):%Y-%m-%d} is in the ledger.")
    else:
        typer.echo("Every record is in the ledger.")


def ledger_move(
    to: Annotated[
        str, typer.Option(help="Address of an empty PostgreSQL database; else `ledger.url`.", show_default=False)
    ] = "",
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Move the ledger from its SQLite file to PostgreSQL, whole or not at all, and check it there; exit code 1 where
    the check finds differences."""
    from gateway.ledgers import server_at
    from gateway.spendquery import check_ledger
    from ledger import check
    from ledger.sqlite_file import SQLiteFile

    settings = None if to and data_dir else load_settings(config)
    url = to or (settings.ledger.url if settings else "")
    if not url:
        raise InvalidParameter("Say where to: set `ledger.url`, or give --to postgresql://USER:PASSWORD@HOST/DATABASE.")
    file = SQLiteFile(Files.below(data_dir or (settings.data_dir if settings else Path())).ledger)
    check_ledger(file)
    target = server_at(url)
    from ledger.move import move

    with TableBars() as bar:
        moved = move(file, target, bar)
    for table in moved:
        typer.echo(f"{table.table}: {table.rows:,} rows")
    checked = check.check(target)
    _tell(checked)
    typer.echo(
        f"The ledger is at {target.label} now. Set `ledger.url` before the next start; {file.label} stays as it was."
    )
    if checked.differences:
        raise typer.Exit(DIFFERENT)


class TableBars(Bars):
    """A progress bar for each table, on standard error."""

    def began(self, table: str, rows: int) -> None:
        """A table's turn."""
        self._turn = self._progress.add_task(table, total=rows)

    def copied(self, rows: int) -> None:
        """So many rows more."""
        self._progress.advance(self._turn, rows)
