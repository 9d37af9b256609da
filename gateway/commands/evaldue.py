"""Due evals: which tiers have to pass again, the runs that find out, and the scorecards on record."""

import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from farthing.errors import FarthingError, InvalidParameter
from farthing.money import Nano, format_usd
from farthing.routing import Scorecard
from gateway.commands.evals import (
    KEY_VARIABLE,
    CapOption,
    KeyOption,
    UrlOption,
    attended,
    open_bench,
    show,
    usd,
)
from gateway.commands.surroundings import CLOCK, ConfigOption, load_settings, print_table
from gateway.files import Files
from gateway.logs import printable
from gateway.periods import moment_of

if TYPE_CHECKING:
    from evals.due import Due
    from gateway.settings import Settings

DueTo: Final = ("task", "tier", "why", "suite", "detail")


def eval_due(
    run: Annotated[bool, typer.Option("--run", help="Run the suites that are due, within --cap.")] = False,
    cap: CapOption = "",
    base_url: UrlOption = "",
    api_key_env: KeyOption = KEY_VARIABLE,
    prefix: Annotated[str, typer.Option(help="Begins the ids of the runs.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show which tiers have to pass an eval again and why, or run them. Exit code 1 if any is left."""
    settings = load_settings(config)
    found = due_now(settings)
    if run:
        _run_due(settings, found, usd(cap), base_url, api_key_env, prefix)
        found = due_now(settings)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2))
    elif found:
        print_table(DueTo, [[one.task, one.tier, one.why.value, one.suite, _detail(one)] for one in found])
    else:
        typer.echo("Nothing is due.")
    if found:
        raise typer.Exit(1)


def due_now(settings: "Settings") -> "tuple[Due, ...]":
    """What is due by the configuration, the suites on disk and what is on record."""
    from evals.due import State, due
    from evals.loader import SUITES
    from evals.scorecards import ScorecardStore
    from evals.shelf import Shelf
    from gateway.evalbench import deployments
    from gateway.present import evidence_of

    files, evals = Files.below(settings.data_dir), settings.evals
    own = Shelf(evals.suites, allow_code=evals.allow_code).look()
    for problem in own.problems:
        typer.echo(printable(problem), err=True)
    packaged = Shelf(SUITES).look()
    scorecards, demotions = evidence_of(files, evals)
    queue: tuple[Any, ...] = ()
    if files.scorecards.is_file():
        with ScorecardStore(files.scorecards) as store:
            queue = store.queue()
    state = State(
        models=deployments(settings),
        scorecards=scorecards,
        demotions=demotions,
        queue=queue,
        suites=[*own.suites.values(), *packaged.suites.values()],
        now_ns=CLOCK.wall_ns(),
        valid_for_s=evals.valid_for_s,
    )
    return due(settings.catalog.tasks.values(), state)


def _detail(one: "Due") -> str:
    later = f"counts from {moment_of(one.from_ns):%Y-%m-%d %H:%M} UTC on" if one.from_ns > CLOCK.wall_ns() else ""
    return "; ".join(part for part in (one.detail, later) if part)


def _run_due(
    settings: "Settings", found: "Iterable[Due]", cap: Nano | None, base_url: str, api_key_env: str, prefix: str
) -> None:
    """Each suite once, as long as the cap reaches; what a suite refuses is told, and the next one has its turn."""
    from gateway.evalbench import suite_named

    now_ns = CLOCK.wall_ns()
    suites = dict.fromkeys(one.suite for one in found if one.suite and one.from_ns <= now_ns)
    left = cap
    with open_bench(settings, base_url, api_key_env, prefix) as bench:
        for name in suites:
            try:
                suite = suite_named(name, settings)
                options = bench.options(suite, cap=left)
            except FarthingError as error:
                typer.echo(error.message, err=True)
                continue
            try:
                report = attended(bench, suite, options)
            except FarthingError as error:
                typer.echo(error.message, err=True)
            else:
                bench.keep(report)
                show(report, suite)
            left = None if left is None else Nano(max(left - bench.paid(options), 0))


def eval_list(
    task: Annotated[str, typer.Option(help="Only of this task.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    config: ConfigOption = None,
) -> None:
    """The scorecards by which calls are routed, one for each task and tier."""
    from gateway.present import evidence_of

    settings = load_settings(config)
    scorecards, _ = evidence_of(Files.below(settings.data_dir), settings.evals)
    cards = [card for card in scorecards if not task or card.task == task]
    if as_json:
        typer.echo(json.dumps([_members(card) for card in cards], indent=2))
        return
    print_table(_COLUMNS, [_row(card) for card in cards], right=("score", "e-value", "items", "cost USD"))


def eval_show(
    task: Annotated[str, typer.Argument(help="The task.", show_default=False)],
    tier: Annotated[str, typer.Argument(help="The tier.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    config: ConfigOption = None,
) -> None:
    """Everything on a scorecard, and the earlier ones of its task and tier."""
    from gateway.present import evidence_of

    settings = load_settings(config)
    files = Files.below(settings.data_dir)
    scorecards, demotions = evidence_of(files, settings.evals)
    card = next((one for one in scorecards if (one.task, one.tier) == (task, tier)), None)
    if card is None:
        raise InvalidParameter(
            f"There is no scorecard of tier '{printable(tier)}' for task '{printable(task)}': run `farthing eval run`."
        )
    if as_json:
        typer.echo(json.dumps(_members(card), indent=2))
        return
    for name, value in _members(card).items():
        typer.echo(printable(f"{name}: {_told(name, value)}"))
    for one in demotions:
        if (one.task, one.tier) == (task, tier):
            typer.echo(printable(f"demoted: {moment_of(one.at_ns):%Y-%m-%d %H:%M} UTC, {one.cause}: {one.detail}"))
    for former in _history(files, task, tier):
        typer.echo(printable(f"{moment_of(former.decided_ns):%Y-%m-%d %H:%M} UTC: {former.verdict}, {former.reason}"))


def _history(files: Files, task: str, tier: str) -> tuple[Scorecard, ...]:
    from evals.scorecards import ScorecardStore

    if not files.scorecards.is_file():
        return ()
    with ScorecardStore(files.scorecards) as store:
        return store.newest(task, tier)


def _members(card: Scorecard) -> dict[str, Any]:
    values = {field.name: getattr(card, field.name) for field in fields(card)}
    lists = {name: list(values[name]) for name in ("models", "fingerprints")}
    return values | lists | {"verdict": card.verdict.value, "cost": format_usd(card.cost)}


def _told(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name.endswith("_ns"):
        return f"{moment_of(value):%Y-%m-%d %H:%M:%S} UTC"
    return ", ".join(value) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)


_COLUMNS: Final = (
    "task",
    "tier",
    "verdict",
    "score",
    "95% interval",
    "e-value",
    "items",
    "cost USD",
    "suite",
    "valid until",
)


def _row(card: Scorecard) -> list[str]:
    until = "-" if card.valid_until_ns is None else f"{moment_of(card.valid_until_ns):%Y-%m-%d %H:%M}"
    return [
        card.task,
        card.tier,
        card.verdict.value,
        f"{card.score:.2f}",
        f"{card.low:.2f} to {card.high:.2f}",
        f"{card.e_value:.3g} of {card.e_needed:.3g}",
        str(card.items),
        format_usd(card.cost),
        card.suite,
        until,
    ]
