"""Evals: run a suite through the gateway, show what each tier got right, and keep the verdicts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from farthing.errors import ConfigError, FarthingError
from farthing.money import Nano, format_usd, nano_from_usd
from farthing.routing import Verdict
from gateway.commands.surroundings import CLOCK, Bars, ConfigOption, environment, ledger_of, load_settings, print_table
from gateway.files import Files
from gateway.logs import printable
from gateway.periods import moment_of

if TYPE_CHECKING:
    from evals.gate import Pace
    from evals.options import RunOptions
    from evals.projection import Projection
    from evals.report import EvalReport, ItemOutcome, Role, TierResult
    from evals.suite import Suite
    from gateway.evalbench import Bench
    from gateway.settings import Settings

KEY_VARIABLE: Final = "FARTHING_API_KEY"
INTERRUPTED: Final = 130
INCOMPLETE: Final = 3
MONTH_NS: Final = 30 * 86_400 * 10**9


SuiteArgument = Annotated[str, typer.Argument(help="A file, or the name of a suite.", show_default=False)]
UrlOption = Annotated[
    str, typer.Option(help="The gateway with its /v1; else where the configuration serves.", show_default=False)
]
KeyOption = Annotated[str, typer.Option(help="Environment variable that holds a virtual key.")]
CapOption = Annotated[
    str, typer.Option("--cap", help="The most in USD that it may cost; refused if it might cost more.")
]


def eval_run(
    suite: SuiteArgument,
    base_url: UrlOption = "",
    api_key_env: KeyOption = KEY_VARIABLE,
    cap: CapOption = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Take no answer from a cache of the gateway.")] = False,
    keep_outputs: Annotated[bool, typer.Option("--keep-outputs", help="Keep the texts of the answers.")] = False,
    config: ConfigOption = None,
) -> None:
    """Put a suite to its reference and its candidates until each is decided. Exit code 1 where one was not asked."""
    from gateway.evalbench import suite_named

    settings = load_settings(config)
    chosen = suite_named(suite, settings)
    with open_bench(settings, base_url, api_key_env) as bench:
        options = bench.options(chosen, cap=usd(cap), fresh=fresh, keep=keep_outputs)
        report = attended(bench, chosen, options)
        bench.keep(report)
    show(report, chosen)
    if report.stopped or not all(tier.graded for tier in report.tiers):
        raise typer.Exit(1)


def eval_smoke(
    suite: SuiteArgument,
    base_url: UrlOption = "",
    api_key_env: KeyOption = KEY_VARIABLE,
    cap: CapOption = "",
    config: ConfigOption = None,
) -> None:
    """Ask 20 items of the tiers that have the task now. It can only fail: exit code 1 if one does."""
    from gateway.evalbench import suite_named

    settings = load_settings(config)
    chosen = suite_named(suite, settings)
    with open_bench(settings, base_url, api_key_env) as bench:
        report = attended(bench, chosen, bench.smoke(chosen, bench.options(chosen, cap=usd(cap))))
    failed, doubtful = smoked(report)
    for line in (*failed, *doubtful):
        typer.echo(line)
    typer.echo(f"The smoke test of {report.suite} cost {format_usd(report.cost)} USD. It promotes nobody.")
    if failed:
        raise typer.Exit(1)
    if doubtful:
        raise typer.Exit(INCOMPLETE)
    typer.echo("Nothing speaks against a tier.")


def smoked(report: "EvalReport") -> tuple[list[str], list[str]]:
    """Which candidates failed, and of which nothing can be said, as sentences."""
    from evals.report import Role

    failed, doubtful = [], []
    for tier in report.tiers:
        if tier.role is Role.CANDIDATE and tier.verdict is Verdict.FAIL:
            failed.append(f"{tier.tier}: {tier.reason}")
        elif tier.role is Role.CANDIDATE and tier.reason != tier.evidence.reason:
            doubtful.append(f"{tier.tier}: {tier.reason}")
    return failed, [*doubtful, *([f"It stopped early: {report.stopped}"] if report.stopped else [])]


def usd(text: str) -> Nano | None:
    """An amount that an option gives; None for none. Raises ConfigError."""
    if not text:
        return None
    try:
        amount = nano_from_usd(text)
    except (ArithmeticError, ValueError):
        amount = Nano(-1)
    if amount < 0:
        raise ConfigError(f"'{printable(text[:40])}' is no amount in USD: write one such as 2.50.")
    return amount


@contextmanager
def open_bench(settings: "Settings", base_url: str, api_key_env: str, prefix: str = "") -> "Iterator[Bench]":
    """A bench over the files of the configuration. Raises ConfigError where there is no key."""
    from evals.cellstore import CellStore
    from evals.scorecards import ScorecardStore
    from gateway.evalbench import Bench

    key = environment().get(api_key_env, "")
    if not key:
        raise ConfigError(f"{api_key_env} is not set: put a virtual key there, or name another with --api-key-env.")
    path = Files.below(settings.data_dir).scorecards
    with ScorecardStore(path) as store, CellStore(path) as cells:
        yield Bench(settings, store, cells, CLOCK, base_url=base_url, key=key, prefix=prefix)


def attended(bench: "Bench", suite: "Suite", options: "RunOptions") -> "EvalReport":
    """A run with its cost told before and its progress shown. Raises ConfigError where it might cost too much."""
    from gateway.evalbench import check_cap, in_vain

    if vain := in_vain(suite, bench.settings.catalog.tasks.get(suite.task)):
        typer.echo(f"A pass will route nothing: {printable(vain)}.", err=True)
    projection = bench.projection(suite, options)
    typer.echo(told(projection), err=True)
    if projection.most:
        typer.echo(worth(bench.settings, suite), err=True)
    check_cap(suite, projection, options.budget)
    try:
        return bench.run(suite, options, TierBars)
    except KeyboardInterrupt:
        typer.echo("Interrupted. Every answer so far is kept: the same command goes on from there.", err=True)
        raise typer.Exit(INTERRUPTED) from None


def worth(settings: "Settings", suite: "Suite") -> str:
    """What a pass could save on today's traffic, so that nobody pays for an eval that cannot pay for itself."""
    from gateway.commands.mix import reviewed

    now_ns, files = CLOCK.wall_ns(), Files.below(settings.data_dir)
    try:
        mix = reviewed(settings, ledger_of(settings), files, since_ns=now_ns - MONTH_NS, until_ns=now_ns)
    except FarthingError:
        return "What a pass could save is not known: there is no ledger to read."
    found = [one for one in mix.proposals if one.task == suite.task and one.tier in suite.candidates]
    if not found:
        return f"The ledger of 30 days has no traffic of {suite.task} that a pass of a tier would make cheaper."
    best = max(found, key=lambda one: one.saving)
    doubt = "" if best.is_worth_it else ": less than the eval may cost until the pass has to be renewed"
    return f"If {best.tier} passes, 30 days of such traffic cost {format_usd(best.saving)} USD less{doubt}."


def told(projection: "Projection") -> str:
    """What a run may cost, for people."""
    items = ", ".join(f"{one.tier} {one.items}" for one in projection.tiers)
    exam = projection.exam
    if not projection.most and not exam and not any(one.items for one in projection.tiers):
        return "Everything it asks has been answered: it costs nothing."
    least, most = format_usd(projection.least), format_usd(projection.most)
    text = f"It costs {least} USD if all goes well, {most} USD at most (items not answered yet: {items})."
    if exam is None:
        return text
    part = f"{exam.questions} questions, {format_usd(exam.least)} USD, {format_usd(exam.most)} USD at most"
    return f"{text}\nThe judge's exam is a part of that ({part}): it comes first, and what the judge shows is kept."


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

    def stands(self, tier: str, pace: "Pace", spent: Nano) -> None:
        """Where a candidate stands."""
        standing = f"e {pace.e_value:.3g} of {pace.e_needed:.3g}, {format_usd(spent)} USD"
        self._progress.update(self._turn, completed=pace.items, description=f"{self._name}: {standing}")

    def ended(self, result: "TierResult") -> None:
        """A tier has its verdict."""
        told = f"{result.tier} ({result.role.value}): {result.verdict.value}"
        self._progress.update(self._turn, completed=result.graded, description=told)


def show(report: "EvalReport", suite: "Suite") -> None:
    """The tiers of a run with score, interval, evidence, cost and verdict, and why."""
    against = "" if report.margin is None else f", margin {report.margin:g} against {report.reference}"
    typer.echo(f"Suite {report.suite}, task {report.task}, bar {report.bar:.2f}{against}, run {report.run_id}")
    typer.echo(f"Score: {report.graded_by}.")
    print_table(_COLUMNS, [_row(tier) for tier in report.tiers], right=_RIGHT)
    for tier in report.tiers:
        typer.echo(f"{tier.tier}: {tier.reason}{_again(tier)}")
        if tier.evidence.items:
            typer.echo(f"  {beside(tier, report.reference)}")
    if report.untried:
        typer.echo(f"Not tried, because a cheaper tier was promoted: {', '.join(report.untried)}.")
    typer.echo(f"The run cost {format_usd(report.cost)} USD; its verdicts are on record.")
    typer.echo("Gateways follow them within a second.")
    if report.refused:
        place = suite.places.get("reference", f"Suite '{suite.name}'")
        typer.echo(f"{place}: the reference tier {report.reference} is refused: {report.refused}", err=True)
    if report.stopped:
        typer.echo(f"It stopped early: {report.stopped}", err=True)


def beside(tier: "TierResult", reference: str) -> str:
    """What the tests that everybody knows would say, had the number of items been fixed before: they decide nothing."""
    from farthing.shares import mcnemar, wilson

    found = tier.evidence
    low, high = wilson(found.score, found.items)
    told = f"a test of {found.items} items fixed before would say: {low:.2f} to {high:.2f} (Wilson)"
    if found.difference is None:
        return told
    better = f"better than {reference} on {found.wins}, worse on {found.losses}"
    return f"{told}; {better} (McNemar's exact p {mcnemar(found.wins, found.losses):.2g})"


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
