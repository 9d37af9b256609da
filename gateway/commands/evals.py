"""Evals: run a suite through the gateway, show what each tier got right, and keep the verdicts."""

import asyncio
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from farthing.errors import ConfigError
from farthing.money import Nano, format_usd
from farthing.routing import Verdict
from gateway.commands.surroundings import CLOCK, Bars, ConfigOption, environment, load_settings, print_table
from gateway.files import Files
from gateway.periods import moment_of

if TYPE_CHECKING:
    from evals.cellstore import CellStore
    from evals.gate import Evidence
    from evals.report import EvalReport, ItemOutcome, Role, TierResult
    from evals.runner import RunOptions
    from evals.scorecards import ScorecardStore
    from evals.suite import Suite
    from gateway.settings import Settings

KEY_VARIABLE: Final = "FARTHING_API_KEY"
INTERRUPTED: Final = 130


def eval_run(
    suite: Annotated[str, typer.Argument(help="A file, or the name of a suite.", show_default=False)],
    base_url: Annotated[
        str, typer.Option(help="The gateway with its /v1; else where the configuration serves.", show_default=False)
    ] = "",
    api_key_env: Annotated[str, typer.Option(help="Environment variable that holds a virtual key.")] = KEY_VARIABLE,
    fresh: Annotated[bool, typer.Option("--fresh", help="Take no answer from a cache.")] = False,
    keep_outputs: Annotated[bool, typer.Option("--keep-outputs", help="Keep the texts of the answers.")] = False,
    config: ConfigOption = None,
) -> None:
    """Put a suite to its reference and its candidates until each is decided. Exit code 1 where one was not asked."""
    from evals.cellstore import CellStore
    from evals.loader import load_suite
    from evals.runner import RunOptions
    from evals.scorecards import ScorecardStore

    settings = load_settings(config)
    chosen = load_suite(_suite_file(suite, settings), allow_code=settings.evals.allow_code)
    key = environment().get(api_key_env, "")
    if not key:
        raise ConfigError(f"{api_key_env} is not set: put a virtual key there, or name another with --api-key-env.")
    files = Files.below(settings.data_dir)
    with ScorecardStore(files.scorecards) as store, CellStore(files.scorecards) as cells:
        options = RunOptions(
            run_id=_run_id(),
            models=deployments(settings),
            feature=settings.evals.feature,
            fresh=fresh,
            keep_outputs=keep_outputs,
            concurrency=settings.evals.concurrency,
            valid_for_s=settings.evals.valid_for_s,
            passing=passing(store, chosen.task),
            not_before_ns=demoted_at(store, chosen.task),
        )
        try:
            report = asyncio.run(_run(chosen, base_url or _own_url(settings), key, options, cells))
        except KeyboardInterrupt:
            typer.echo("Interrupted. Every answer so far is kept: the same command goes on from there.", err=True)
            raise typer.Exit(INTERRUPTED) from None
        store.add_run(report)
    show(report)
    if report.stopped or not all(tier.graded for tier in report.tiers):
        raise typer.Exit(1)


def deployments(settings: "Settings") -> dict[str, tuple[str, ...]]:
    """The deployment ids of every tier, the cheapest tier first."""
    tiers = sorted(settings.catalog.tiers, key=lambda tier: tier.rank)
    return {tier.name: tuple(place.id for place in tier.deployments) for tier in tiers}


def passing(store: "ScorecardStore", task: str) -> frozenset[str]:
    """The tiers whose newest decided verdict for the task is a pass."""
    return frozenset(card.tier for card in store.latest(task) if card.verdict is Verdict.PASS)


def demoted_at(store: "ScorecardStore", task: str) -> dict[str, int]:
    """When tiers were last demoted from the task: what they answered before does not count."""
    return {demotion.tier: demotion.at_ns for demotion in store.demotions(task)}


def _suite_file(name: str, settings: "Settings") -> Path:
    """The suite in the configured directory, else a file, else one that ships with Farthing."""
    from evals.loader import find_suite

    own = settings.evals.suites / f"{name}.yaml"
    return own if own.is_file() else find_suite(name)


def _run_id() -> str:
    moment = moment_of(CLOCK.wall_ns())
    return f"{moment:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def _own_url(settings: "Settings") -> str:
    host = settings.server.host
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{local}:{settings.server.port}/v1"


async def _run(suite: "Suite", base_url: str, key: str, options: "RunOptions", cells: "CellStore") -> "EvalReport":
    from evals.gateway import connect
    from evals.runner import run_suite

    async with connect(base_url, key) as client:
        with TierBars() as bar:
            return await run_suite(suite, client, options, cells=cells, clock=CLOCK, progress=bar)


class TierBars(Bars):
    """A progress bar for each tier, on standard error: items answered, wealth against what is needed, USD so far."""

    def began(self, tier: str, role: "Role", items: int) -> None:
        """A tier's turn."""
        self._name = f"{tier} ({role.value})"
        self._turn = self._progress.add_task(self._name, total=items)

    def asked(self, outcome: "ItemOutcome") -> None:
        """One call is done."""
        if outcome.tier == self._name.split(" ", 1)[0] and outcome.score is not None:
            self._progress.advance(self._turn)

    def stands(self, tier: str, evidence: "Evidence", spent: Nano) -> None:
        """Where a candidate stands."""
        standing = f"e {evidence.e_value:.3g} of {evidence.e_needed:.3g}, {format_usd(spent)} USD"
        self._progress.update(self._turn, completed=evidence.items, description=f"{self._name}: {standing}")

    def ended(self, result: "TierResult") -> None:
        """A tier has its verdict."""
        self._progress.update(self._turn, description=f"{result.tier} ({result.role.value}): {result.verdict.value}")


def show(report: "EvalReport") -> None:
    """The tiers of a run with score, interval, evidence, cost and verdict, and why."""
    against = "" if report.margin is None else f", margin {report.margin:g} against {report.reference}"
    typer.echo(f"Suite {report.suite}, task {report.task}, bar {report.bar:.2f}{against}, run {report.run_id}")
    typer.echo(f"Score: {report.graded_by}.")
    print_table(_COLUMNS, [_row(tier) for tier in report.tiers], right=_RIGHT)
    for tier in report.tiers:
        typer.echo(f"{tier.tier}: {tier.reason}{_again(tier)}")
    if report.untried:
        typer.echo(f"Not tried, because a cheaper tier was promoted: {', '.join(report.untried)}.")
    typer.echo(f"The run cost {format_usd(report.cost)} USD; its verdicts are on record.")
    if report.stopped:
        typer.echo(f"It stopped early: {report.stopped}", err=True)


def _again(tier: "TierResult") -> str:
    """What to do about a test that has failed already."""
    if not tier.is_replayed or tier.verdict is not Verdict.FAIL:
        return ""
    until = "" if tier.valid_until_ns is None else f", or wait until {moment_of(tier.valid_until_ns):%Y-%m-%d}"
    return f". This test has already failed: change the suite or the model{until}"


_COLUMNS: Final = ("tier", "role", "verdict", "score", "95% interval", "e-value", "items", "cost USD")
_RIGHT: Final = ("score", "e-value", "items", "cost USD")


def _row(tier: "TierResult") -> list[str]:
    found = tier.evidence
    return [
        tier.tier,
        tier.role.value,
        tier.verdict.value,
        f"{found.score:.2f}",
        f"{found.low:.2f} to {found.high:.2f}",
        f"{found.e_value:.3g} of {found.e_needed:.3g}",
        f"{tier.graded}/{tier.planned}",
        format_usd(tier.spent),
    ]
