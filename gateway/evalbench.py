"""Eval bench: puts suites through a running gateway for commands, within a cap, and keeps what they found."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Final

from evals.cardfiles import CardFiles
from evals.cellstore import CellStore
from evals.gateway import connect
from evals.judges import rehearse
from evals.loader import find_suite, load_suite
from evals.options import RunOptions, budget_of, check_tiers, compares
from evals.outlook import lacking, owes_exam
from evals.projection import Projection, project
from evals.report import EvalReport
from evals.runner import Progress, run_suite
from evals.scorecards import ScorecardStore
from evals.shelf import suite_files
from evals.suite import Suite
from farthing.catalog import Task
from farthing.errors import ConfigError
from farthing.money import Nano, format_usd
from farthing.ports import Clock
from farthing.routing import Verdict
from gateway.evalcosts import ItemPrices
from gateway.periods import moment_of
from gateway.pricing import Pricing
from gateway.settings import Settings
from ledger.prices import PriceBook

SMOKE_ITEMS: Final = 20


class Bench:
    """Runs of one configuration. `store` and `cells` are of the same file; the key is a virtual one."""

    def __init__(
        self,
        settings: Settings,
        store: ScorecardStore,
        cells: CellStore,
        clock: Clock,
        *,
        base_url: str,
        key: str,
        prefix: str = "",
    ) -> None:
        self.settings, self._store, self._cells, self._clock = settings, store, cells, clock
        self._base_url, self._key, self._prefix = base_url or own_url(settings), key, prefix

    def paid(self, options: RunOptions) -> Nano:
        """What the run of these options has paid, also where it did not come to its end."""
        return self._cells.spent(options.run_id, 0)

    def options(self, suite: Suite, *, cap: Nano | None = None, fresh: bool = False, keep: bool = False) -> RunOptions:
        """How the suite would be run now. Raises ConfigError where it names a tier that there is not."""
        evals = self.settings.evals
        models = deployments(self.settings)
        check_tiers(suite, models)
        return RunOptions(
            run_id=f"{self._prefix}{moment_of(self._clock.wall_ns()):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
            models=models,
            feature=evals.feature,
            fresh=fresh,
            keep_outputs=keep,
            concurrency=evals.concurrency,
            valid_for_s=evals.valid_for_s,
            budget=min((one for one in (cap, evals.budget) if one is not None), default=None),
            passing=passing(self._store, suite.task),
            not_before_ns={one.tier: one.at_ns for one in self._store.demotions(suite.task)},
        )

    def smoke(self, suite: Suite, options: RunOptions) -> RunOptions:
        """The same for a smoke test: of the tiers that have the task, or of all where none has."""
        now = options.passing & frozenset(suite.candidates)
        return replace(options, first=SMOKE_ITEMS, only=now or None)

    def projection(self, suite: Suite, options: RunOptions) -> Projection:
        """What the run may cost. Raises UnpricedModel."""
        now_ns = self._clock.wall_ns()
        pricing = Pricing(PriceBook(self.settings.prices), self.settings.catalog)
        prices = ItemPrices(suite, self.settings.catalog, pricing, now_ns)
        is_owed = owes_exam(suite, options, self._cells, now_ns)
        return project(
            suite,
            lacking(suite, options, self._cells, now_ns),
            prices,
            first=options.first,
            compares=compares(suite),
            exam=prices.exam(asyncio.run(rehearse(suite))) if is_owed else None,
        )

    def run(
        self, suite: Suite, options: RunOptions, watched: Callable[[], AbstractContextManager[Progress]]
    ) -> EvalReport:
        """Run it to its end. Raises KeyboardInterrupt where it is interrupted: every answer so far is kept."""
        return asyncio.run(self._run(suite, options, watched))

    def keep(self, report: EvalReport) -> None:
        """Put the run on record, its cards as files too where these are what counts, and its tiers off the queue."""
        self._store.add_run(report)
        directory = self.settings.evals.scorecards_dir
        for card in report.scorecards():
            if directory is not None:
                CardFiles(directory).write(card)
            if not report.stopped:
                self._store.dequeue(card.task, card.tier, done_ns=report.decided_ns)

    async def _run(
        self, suite: Suite, options: RunOptions, watched: Callable[[], AbstractContextManager[Progress]]
    ) -> EvalReport:
        async with connect(self._base_url, self._key) as client:
            with watched() as progress:
                return await run_suite(suite, client, options, cells=self._cells, clock=self._clock, progress=progress)


def check_cap(suite: Suite, projection: Projection, cap: Nano | None) -> None:
    """Raises ConfigError where the run may cost more than it is allowed to, before it costs anything."""
    most = budget_of(suite, cap)
    if most is not None and projection.most > most:
        exam = f" ({format_usd(projection.exam.most)} of them for its judge's exam)" if projection.exam else ""
        raise ConfigError(
            f"Suite '{suite.name}' may cost up to {format_usd(projection.most)} USD{exam}, and {format_usd(most)} USD "
            f"are allowed: raise --cap, evals.budget_usd or the suite's limits.budget_usd, or lower its "
            f"limits.max_samples or max_tokens. Nothing was asked."
        )


def in_vain(suite: Suite, task: Task | None) -> str:
    """Why a pass of the suite would route nothing, empty where it would: the task asks for more, or for other tiers."""
    if task is None:
        return f"there is no task '{suite.task}' in the configuration"
    if suite.bar < float(task.bar):
        return f"the task asks for a bar of {task.bar:f}, the suite for {suite.bar:g}"
    if task.margin is not None and (suite.margin is None or suite.margin > float(task.margin)):
        return f"the task asks for a margin of {task.margin:f} against {task.reference}, the suite does not"
    if task.margin is not None and suite.reference != task.reference:
        return f"the reference of the task is {task.reference}, that of the suite {suite.reference}"
    if not set(suite.candidates) & set(task.candidates):
        return f"no candidate of the suite is one of the task: {', '.join(task.candidates) or 'it has none'}"
    return ""


def deployments(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The deployment ids of every tier, the cheapest tier first."""
    tiers = sorted(settings.catalog.tiers, key=lambda tier: tier.rank)
    return {tier.name: tuple(place.id for place in tier.deployments) for tier in tiers}


def passing(store: ScorecardStore, task: str) -> frozenset[str]:
    """The tiers whose newest decided verdict for the task is a pass."""
    return frozenset(card.tier for card in store.latest(task) if card.verdict is Verdict.PASS)


def suite_named(name: str, settings: Settings) -> Suite:
    """The suite in the configured directory, else in a file, else one that ships with Farthing. Raises ConfigError."""
    path: Path = suite_files(settings.evals.suites).get(name) or find_suite(name)
    return load_suite(path, allow_code=settings.evals.allow_code)


def own_url(settings: Settings) -> str:
    """Where the configuration says that the gateway is, else where it serves, for a client on the same machine."""
    if settings.evals.base_url:
        return settings.evals.base_url
    host = settings.server.host
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{local}:{settings.server.port}/v1"
