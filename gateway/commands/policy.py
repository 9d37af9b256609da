"""Policy: what a changed configuration would do to the traffic that there was, before anybody merges it."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from farthing.errors import InvalidParameter
from farthing.money import format_usd
from gateway.commands.surroundings import CLOCK, DataOption, environment, ledger_of, print_table
from gateway.files import Files
from gateway.logs import printable

if TYPE_CHECKING:
    from gateway.policydiff import PolicyDiff
    from gateway.policytold import Told
    from gateway.settings import Settings

DAY_NS: Final = 86_400 * 10**9
MOST: Final = 100_000


class FailOn(StrEnum):
    """What ends the command with exit code 1."""

    NOTHING = "nothing"
    RISK = "risk"
    COST = "cost"


def policy_diff(
    old: Annotated[
        str, typer.Argument(help="The present configuration: a directory, a file, or REVISION:PATH of git.")
    ],
    new: Annotated[str, typer.Argument(help="The one to compare with it, in the same way.")],
    days: Annotated[int, typer.Option(help="Days of traffic that are replayed.", min=1, max=366)] = 7,
    limit: Annotated[int, typer.Option(help="Requests that are replayed at most, drawn evenly.", min=1)] = MOST,
    fail_on: Annotated[
        FailOn, typer.Option("--fail-on", help="Exit code 1 where there is a risk, or where it costs more.")
    ] = FailOn.NOTHING,
    json_: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write Markdown, for a pull request.")] = False,
    data_dir: DataOption = None,
) -> None:
    """Replay recent requests through two configurations: cost, mix and risk of the change."""
    if json_ and markdown:
        raise InvalidParameter("Give --json or --markdown, not both.")
    told = _told(old, new, days=days, limit=limit, data_dir=data_dir)
    if json_:
        typer.echo(json.dumps(told.members(), indent=2))
    elif markdown:
        typer.echo(told.markdown(), nl=False)
    else:
        _print(told)
    if _fails(told.diff, fail_on):
        raise typer.Exit(1)


def _fails(diff: "PolicyDiff", fail_on: FailOn) -> bool:
    return bool((fail_on is FailOn.RISK and diff.risks) or (fail_on is FailOn.COST and diff.total.delta > 0))


def _told(old: str, new: str, *, days: int, limit: int, data_dir: Path | None) -> "Told":
    from gateway.configrefs import load_named
    from gateway.generations import vanished
    from gateway.policydiff import Comparison
    from gateway.policytold import Told
    from gateway.present import evidence_of, present
    from gateway.sides import Side
    from gateway.spendquery import check_ledger
    from ledger.replay import replay
    from ledger.sqlite_file import SQLiteFile

    now_ns = CLOCK.wall_ns()
    before, after = (load_named(name, environment()) for name in (old, new))
    files = Files.below(data_dir or before.data_dir)
    database = SQLiteFile(files.ledger) if data_dir is not None else ledger_of(before)
    check_ledger(database)
    evidence = evidence_of(files, before.evals)
    sides = [Side(present(settings, evidence, now_ns, files)) for settings in (before, after)]
    comparison = Comparison(old=sides[0], new=sides[1], now_ns=now_ns)
    since_ns = now_ns - days * DAY_NS
    drawn = replay(database, since_ns=since_ns, until_ns=now_ns, most=limit, visit=comparison.see)
    diff = comparison.result(vanished(before, after))
    return Told(
        diff=diff,
        side=sides[1],
        old=old,
        new=new,
        days=days,
        drawn=drawn,
        passed_over=comparison.passed_over,
        notes=tuple(_notes(diff, before, after, archived=drawn.archived_ns > since_ns)),
    )


def _notes(diff: "PolicyDiff", before: "Settings", after: "Settings", *, archived: bool) -> list[str]:
    """What the comparison does not know, as far as it matters here."""
    notes = [
        "The same tokens are assumed on every tier; another model would use other numbers of them.",
        "Calls that no tier was asked for stay with what they named; what a budget lowers is not replayed, "
        "nor is what would be served from a cache.",
    ]
    if diff.total.old_more or diff.total.new_more:
        notes.append(
            "Cascades are priced as if no answer failed its check. If all of them did, the old configuration would "
            f"cost {format_usd(diff.total.old_more)} USD more, the new one {format_usd(diff.total.new_more)} USD."
        )
    if diff.told_by_body:
        notes.append(
            f"{diff.told_by_body:,} calls keep the task that the ledger has for them: it was told by the request's "
            "body, which is not kept."
        )
    if diff.refused_by_both:
        notes.append(f"{diff.refused_by_both:,} calls are admitted by neither configuration, and cost nothing in both.")
    if diff.total.unpriced:
        notes.append(f"{diff.total.unpriced:,} calls are in neither cost: no tokens or no price are known of them.")
    if archived:
        notes.append("A part of the period is in an archive, and not replayed.")
    if before.prices != after.prices:
        notes.append("`prices:` differ: both sides are priced by those of the new configuration.")
    return notes


def _print(told: "Told") -> None:
    from gateway.policytold import MIX_HEADS, MOVED_HEADS, RISK_HEADS

    for line in told.heading():
        typer.echo(printable(line))
    print_table(MIX_HEADS, told.mix(), right=MIX_HEADS[1:])
    moved, risks = told.moved(), told.risks()
    if moved:
        print_table(MOVED_HEADS, moved, right=MOVED_HEADS[4:8])
    else:
        typer.echo("No route changes.")
    typer.echo(told.quality())
    if risks:
        print_table(RISK_HEADS, risks, right=["requests"])
    else:
        typer.echo("No risk was found.")
    for note in told.notes:
        typer.echo(printable(f"- {note}"))
