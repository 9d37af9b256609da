"""Evals: run a suite through the gateway, show what each tier got right, and keep the verdicts."""

import asyncio
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from farthing.errors import ConfigError
from farthing.money import format_usd
from gateway.commands.surroundings import CLOCK, Bars, ConfigOption, environment, load_settings, print_table
from gateway.files import Files
from gateway.periods import moment_of

if TYPE_CHECKING:
    from evals.report import EvalReport, ItemOutcome, Role, TierResult
    from evals.runner import RunOptions
    from evals.suite import Suite
    from gateway.settings import Settings

KEY_VARIABLE: Final = "FARTHING_API_KEY"


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
    """Put a suite to every tier it names, and record which pass. Exit code 1 where a tier could not be asked."""
    from evals.loader import load_suite
    from evals.runner import RunOptions
    from evals.scorecards import ScorecardStore

    settings = load_settings(config)
    chosen = load_suite(_suite_file(suite, settings), allow_code=settings.evals.allow_code)
    key = environment().get(api_key_env, "")
    if not key:
        raise ConfigError(f"{api_key_env} is not set: put a virtual key there, or name another with --api-key-env.")
    options = RunOptions(
        run_id=_run_id(),
        models={tier.name: tuple(place.id for place in tier.deployments) for tier in settings.catalog.tiers},
        feature=settings.evals.feature,
        fresh=fresh,
        keep_outputs=keep_outputs,
        concurrency=settings.evals.concurrency,
        valid_for_s=settings.evals.valid_for_s,
    )
    report = asyncio.run(_run(chosen, base_url or _own_url(settings), key, options))
    with ScorecardStore(Files.below(settings.data_dir).scorecards) as store:
        store.add_run(report)
    show(report)
    if report.stopped or not all(tier.graded for tier in report.tiers):
        raise typer.Exit(1)


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


async def _run(suite: "Suite", base_url: str, key: str, options: "RunOptions") -> "EvalReport":
    from evals.gateway import connect
    from evals.runner import run_suite

    async with connect(base_url, key) as client:
        with TierBars() as bar:
            return await run_suite(suite, client, options, clock=CLOCK, progress=bar)


class TierBars(Bars):
    """A progress bar for each tier, on standard error."""

    def began(self, tier: str, role: "Role", items: int) -> None:
        """A tier's turn."""
        self._turn = self._progress.add_task(f"{tier} ({role.value})", total=items)

    def asked(self, outcome: "ItemOutcome") -> None:
        """One item is done."""
        del outcome
        self._progress.advance(self._turn)

    def ended(self, result: "TierResult") -> None:
        """A tier has its verdict."""
        self._progress.update(self._turn, description=f"{result.tier} ({result.role.value}): {result.verdict.value}")


def show(report: "EvalReport") -> None:
    """The tiers of a run with score, interval, cost and verdict, and why."""
    typer.echo(f"Suite {report.suite}, task {report.task}, bar {report.bar:.2f}, run {report.run_id}")
    print_table(_COLUMNS, [_row(tier) for tier in report.tiers], right=["score", "items", "cost USD"])
    for tier in report.tiers:
        typer.echo(f"{tier.tier}: {tier.verdict.value}, {tier.reason}")
    typer.echo(f"The run cost {format_usd(report.cost)} USD; its verdicts are on record.")
    if report.stopped:
        typer.echo(f"It stopped early: {report.stopped}", err=True)


_COLUMNS: Final = ("tier", "role", "verdict", "score", "95% interval", "items", "cost USD")


def _row(tier: "TierResult") -> list[str]:
    return [
        tier.tier,
        tier.role.value,
        tier.verdict.value,
        f"{tier.score:.2f}",
        f"{tier.low:.2f} to {tier.high:.2f}",
        f"{tier.graded}/{tier.planned}",
        format_usd(tier.cost),
    ]
