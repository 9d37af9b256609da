"""Wiring: Settings in, a running gateway out; the only module that names an adapter."""

import asyncio
import logging
import secrets
import sqlite3
import sys
from collections.abc import Callable, Hashable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from cache.epochs import Epochs
from cache.exact import ExactCache
from evals.driftbook import DriftBook
from evals.scorecards import ScorecardStore
from farthing.catalog import OutputBound, Step, VirtualKey
from farthing.errors import ConfigError, FarthingError
from farthing.ports import Clock, Upstream
from farthing.record import Record
from gateway.admin import admin_app
from gateway.adminview import AdminView, Problem
from gateway.admission import authenticate
from gateway.alerts import Alerts
from gateway.asides import Asides
from gateway.balancing import Balancer
from gateway.books import Books
from gateway.budget_gauges import budget_lines
from gateway.budgetdesk import BudgetDesk
from gateway.cachebooks import caching_of
from gateway.cachedesk import CacheDesk
from gateway.candidates import CandidateShadows
from gateway.chargesapi import ChargeDesk
from gateway.demotions import Demotions
from gateway.deployment_gauges import deployment_lines
from gateway.drains import Drains
from gateway.drift_gauges import drift_lines
from gateway.evalrecord import EvalRecord
from gateway.evalschedule import DueRuns
from gateway.explaindesk import ExplainDesk
from gateway.facts import FactDesk
from gateway.feature_gauges import feature_lines
from gateway.files import Files, made_once
from gateway.forward import Forwarder
from gateway.generations import cache_rules_of, needs_restart, new_generation, vanished
from gateway.healthchecks import HealthChecks, health_client
from gateway.http import Door, Limits
from gateway.ledger_gauges import LedgerCounts, ledger_lines
from gateway.ledgers import LedgerEngine
from gateway.livegrading import Alarm, LiveGrading
from gateway.logs import Level, LogFormat, RequestLog
from gateway.meanings import open_semantic
from gateway.metrics import Metrics
from gateway.outputbounds import OutputBounds
from gateway.paidembedder import PaidEmbedder
from gateway.pipeline import serve_aside
from gateway.promptcaches import PromptCaches
from gateway.referee import ModelReferee
from gateway.retention import Retention, check_retention
from gateway.runtime import Generation, Runtime
from gateway.settings import EmbedderSettings, Settings
from gateway.settings.watch import Watcher
from gateway.shadows import SampledShadows
from gateway.stores import MEBIBYTE, open_stores
from gateway.taskdesk import TaskDesk
from gateway.tasks import Background
from gateway.upstreams.chosen import native, upstreams
from gateway.version import own_version
from ledger import tokens
from ledger.charges import charged_accounts
from ledger.outputs import latest_outputs
from ledger.prices import published_ns
from router_policies.registry import LATENCY, kinds_in, rule_of

_LOG: Final = logging.getLogger("farthing")
LAST_PAGES_S: Final = 2.0
LOG_DELAY_S: Final = 0.05
MINUTE_S: Final = 60.0


def installation_secret(path: Path) -> bytes:
    """32 random bytes, made once for each installation; cache keys and sessions hang on them."""
    return made_once(path, secrets.token_bytes(32))


class House:
    """One worker's gateway: `open` it in the loop that serves, `tick` it each second, `close` it at the end."""

    def __init__(
        self, settings: Settings, clock: Clock, *, watcher: Watcher | None = None, tallies: Path | None = None
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.files = Files.below(settings.data_dir)
        self.secret = installation_secret(self.files.secret)
        self._watcher = watcher
        self._open_things = AsyncExitStack()
        self._background = Background()
        self._drains = Drains()
        self._asides = Asides(serve_aside, clock)
        self._referee = ModelReferee(self._asides, lambda: self.runtime)
        self._outputs = OutputBounds()
        self._prompts = PromptCaches(self.secret, clock, lambda: self.runtime.generation)
        upstream = settings.upstream
        self._balancer = Balancer(clock, upstream.breaker, upstream.max_attempts, self._prompts.affinity)
        self._health = HealthChecks(clock, self._balancer, lambda: health_client(upstream))
        self._telling = Background()
        self._tasks = TaskDesk(self.files.prompts, self.files.classifier)
        self._upstreams = upstreams(self._open_wire)
        self._evidence_version: Hashable = None
        self._shares_files = tallies is not None
        self._minute = clock.monotonic()  # wall time may be set back, and then a minute lasts for hours
        self._number = 1
        self._unusable = self._problem = ""
        self._alarms: list[Alarm] = []
        self.files.scorecards.touch(mode=0o600)  # eval items may name people's features
        self.engine = LedgerEngine(settings.ledger, self.files.ledger)
        self.retention = Retention(self.engine.database, clock, lambda: self.settings.ledger, self.files.archive)
        try:
            self._scorecards = ScorecardStore(self.files.scorecards)
            self._driftbook = DriftBook(self.files.scorecards)
        except sqlite3.Error as error:
            raise ConfigError(
                f"The eval results in {self.files.scorecards} cannot be used ({error}): put a copy back, or "
                "remove it; tasks then go to their reference tier until an eval has run again."
            ) from error
        self._live = LiveGrading(self._driftbook, self._asides, clock, self._background, lambda: self._referee)
        self.facts = FactDesk(clock, self._live.evidence)
        self._evals = EvalRecord(self._scorecards, lambda: self.settings.evals)
        self.due_runs = (
            DueRuns(watcher.path, lambda: self.settings, clock, self._scorecards, self.files.scorecards)
            if watcher
            else None
        )
        self.metrics = Metrics(clock=clock, version=own_version(), directory=tallies)
        self.metrics.note_prices(published_ns())
        self.metrics.add_source(self._budget_lines)
        self.metrics.add_source(self._feature_lines)
        logging_ = settings.logging
        self.log = RequestLog(sys.stderr.buffer, Level[logging_.level.upper()], LogFormat(logging_.format), self._soon)

    async def open(self) -> None:
        """Open the files and build every room. Raises FarthingError where the gateway cannot serve."""
        settings, clock, later = self.settings, self.clock, self._open_things
        later.callback(self.metrics.close)
        later.callback(self._scorecards.close)
        later.callback(self._driftbook.close)
        later.callback(self.log.flush)
        self._prepare_adapters(settings)
        self.ledger = await self.engine.open(clock, self._witness)
        later.push_async_callback(self.ledger.close)
        self._budgets = await self._open_budgets()
        await self._learn_outputs()
        await self._load_encodings()
        await self._evals.look()
        caches = await self._open_caches()
        later.push_async_callback(self._upstreams.close)
        later.push_async_callback(self._background.settle)
        later.push_async_callback(self._drains.settle)
        later.push_async_callback(self._telling.settle)
        later.push_async_callback(self._health.close)
        later.push_async_callback(self._look_at_answers)
        later.push_async_callback(self.retention.close)
        if self.due_runs:
            later.push_async_callback(self.due_runs.close)
        later.push_async_callback(self._tasks.close)
        self.runtime = Runtime(
            generation=self._generation(settings),
            books=Books(
                self.ledger,
                clock,
                self._budgets.accounts,
                (self._witness,),
                know=self._budgets.know,
                on_hold=self._budgets.on_hold,
                on_refusal=self._budgets.on_refusal,
            ),
            caches=caches,
            forwarder=Forwarder(self._upstreams, clock, self._balancer, self._prompts.changes),
            clock=clock,
            drains=self._drains,
            outputs=self._outputs,
            thresholds=self._budgets.thresholds,
            paces=self._budgets.paces,
            facts=lambda: self.facts.now,
            on_lowered=lambda feature, step: self.metrics.note_decision(feature, step.value),
            on_escalated=self.metrics.note_escalation,
            shadows=SampledShadows(self._asides),
            live=self._live,
            candidates=CandidateShadows(self._asides, clock, self._background, self._live.grade_candidate),
            tasks=self._tasks,
        )
        self.metrics.add_source(self._ledger_lines)
        self.metrics.add_source(self.retention.lines)
        self.metrics.add_source(self._tasks.lines)
        self.metrics.add_source(self._meanings.lines)
        self.metrics.add_source(lambda: deployment_lines(self._balancer.lines.values(), clock.monotonic()))
        self.metrics.add_source(lambda: drift_lines(self._live.standings()))
        limits = Limits(
            body_bytes=settings.server.max_body_bytes,
            header_bytes=settings.server.max_header_bytes,
            headers=settings.server.max_headers,
        )
        self._note_config()
        self.door = Door(self.runtime, limits, admin_app(self._view()))

    async def tick(self) -> None:
        """Once a second: take up changed files and new evidence; once a minute look for holds of dead workers."""
        await self._epochs.refresh()
        if self._leases is not None:
            await self._leases.renew()
        await self._look_at_answers()
        settings = await self._watcher.poll() if self._watcher else None
        if settings is not None:
            self._take_up(settings)
        elif self._evals.version() != self._evidence_version or self._tasks.is_stale(self.settings):
            await self._evals.look()  # a new card may be that of a new suite
            self._refresh()
        if self.clock.monotonic() - self._minute > MINUTE_S:
            self._minute = self.clock.monotonic()
            await self._evals.look()
            self._refresh()
            await self.ledger.recover()
        elif self.ledger.recovery_is_due:
            await self.ledger.recover()
        self.facts.tick()
        self._note_config()
        self.retention.tick()
        if self.due_runs:
            self.due_runs.tick()
        self._health.tick()
        await self._tasks.tick()
        await self._budgets.look()

    async def _look_at_answers(self) -> None:
        """Act on what live answers have shown: before scorecards are looked at, so that routes follow in this tick. An
        alarm is raised once, so one that cannot be acted on now is kept for the next time."""
        try:
            self._alarms += await self._live.flush()
        except sqlite3.Error as error:
            _LOG.error("live grades could not be kept: %s", error)
        try:
            while self._alarms:
                self._demotions.act(self._alarms[0])
                del self._alarms[0]
        except sqlite3.Error as error:
            _LOG.error("a tier could not be demoted, which is tried again: %s", error)

    async def close(self) -> None:
        """Finish what was promised, then let go of every file and connection, the last opened first."""
        deadline = self.clock.monotonic() + LAST_PAGES_S
        while self.runtime.books.open_pages and self.clock.monotonic() < deadline:  # noqa: ASYNC110 - twice a run
            await asyncio.sleep(0.005)  # calls that the server has just cancelled are writing their records
        await self._open_things.aclose()

    # --- one generation --------------------------------------------------------------------------

    def _take_up(self, settings: Settings) -> None:
        """Swap to new settings as one value; what only a restart can change is said in the log."""
        try:
            self._prepare_adapters(settings)
            generation = self._generation(settings)
        except FarthingError as error:
            self._unusable = error.message
            return
        for name in vanished(self.settings, settings):
            _LOG.warning("%s is no longer in the configuration", name)
        for name in needs_restart(self.settings, settings):
            _LOG.warning("`%s` changed: it takes effect at the next start", name)
        self._unusable = ""
        self.settings, self.runtime.generation = settings, generation
        self._number += 1
        _LOG.info("configuration %d is in use", self._number)

    def _refresh(self) -> None:
        """New scorecards or demotions, or passes that may have expired, under the same settings."""
        self.runtime.generation = self._generation(self.settings)

    def _generation(self, settings: Settings) -> Generation:
        catalog, places = settings.catalog, settings.deployments
        self.metrics.register(
            features=catalog.features,
            tiers=(tier.name for tier in catalog.tiers),
            models={place.model for place in places},
            providers={place.provider.name for place in places},
        )
        self._evidence_version, evidence = self._evals.version(), self._evals.now()
        generation = new_generation(
            settings,
            evidence.scorecards,
            now_ns=self.clock.wall_ns(),
            demotions=evidence.demotions,
            suites=self._evals.looked.versions(),
            amendments=self._budgets.amendments,
            resolver=self._tasks.resolver(settings),
        )
        self._balancer.take_up(catalog)
        self.facts.needs_latencies = any(LATENCY in kinds_in(rule_of(one)) for one in catalog.features.values())
        self._live.take_up(catalog, evidence.scorecards, evidence.demotions)
        return generation

    def _prepare_adapters(self, settings: Settings) -> None:
        """Make the adapters that are needed now, so that a missing package is found at once. Raises ConfigError."""
        check_retention(settings.ledger)
        for adapter in {place.provider.adapter for place in settings.deployments}:
            self._upstreams.prepare(adapter)

    def _note_config(self) -> None:
        """Show whether the files on disk are in use, and say it in the log whenever the reason changes."""
        finding = self._watcher.finding.message if self._watcher is not None and self._watcher.finding else ""
        problem = finding or self._unusable
        if problem != self._problem:
            self._problem = problem
            if problem:
                _LOG.error("the changed configuration is not in use: %s", problem)
            else:
                _LOG.info("the files of the configuration are in use again")
        self.metrics.note_config(ok=not problem, generation=self._number)

    def _soon(self, work: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(LOG_DELAY_S, work)

    def _witness(self, record: Record) -> None:
        """Metrics and log line of a record that is on the books, a lost one's included."""
        self.metrics.observe(record)
        self.log.write(record)
        self._outputs.learn(record)
        self.facts.note(record)

    def _ledger_lines(self) -> list[str]:
        ledger = self.ledger
        counts = LedgerCounts(
            recovered=ledger.recovered,
            overages=ledger.overages,
            late=ledger.late_settlements,
            failures=ledger.failures,
            unwritten=self.runtime.books.unwritten - ledger.made_up,
            dropped=ledger.dropped,
        )
        return ledger_lines(self.engine.database, counts)

    def _budget_lines(self) -> list[str]:
        return budget_lines(self.engine.database, self.settings.budgets, self.clock.wall_ns())

    def _feature_lines(self) -> list[str]:
        return feature_lines(self.settings.catalog.features.values(), cache_rules_of(self.settings.cache))

    async def _learn_outputs(self) -> None:
        """Begin with what earlier answers were like, where a feature bounds its output by them."""
        features = self.settings.catalog.features.values()
        learned = [feature.name for feature in features if feature.output_bound is OutputBound.LEARNED]
        if learned:
            self._outputs.seed(await asyncio.to_thread(latest_outputs, self.engine.database, learned))

    async def _load_encodings(self) -> None:
        """Before anything is served: the first estimate would wait for it, and building them in the midst of calls
        would hold up all of these for 0.1 s, thread or not."""
        try:
            await asyncio.to_thread(tokens.load)
        except FarthingError as error:
            _LOG.warning("%s Until then what providers do not count is estimated by its length.", error.message)

    # --- rooms -----------------------------------------------------------------------------------

    def _open_wire(self) -> Upstream:
        return native(self.settings.upstream)

    async def _open_budgets(self) -> BudgetDesk:
        alerts = Alerts(
            database=self.engine.database,
            clock=self.clock,
            background=self._telling,
            settings=lambda: self.settings.alerts,
            on_told=lambda feature: self.metrics.note_decision(feature, Step.NOTIFY.value),
        )
        self._demotions = Demotions(self._scorecards, self.engine.database, self.clock, self._telling, alerts)
        desk = BudgetDesk(
            self.engine.database,
            await self.engine.open_amendments(self.clock),
            self._telling,
            book=lambda: self.runtime.generation.budgets,  # so that a reload changes the budgets of the next call
            tell=alerts.tell,
        )
        self._open_things.push_async_callback(desk.amendments.close)
        await desk.take_up()
        return desk

    async def _open_caches(self) -> CacheDesk:
        meanings = self._meanings = await open_semantic(
            self.settings.cache.semantic, self.files.meanings, self.clock, self._open_things, self._paid_embedder
        )
        shared = open_stores(self.settings, self.clock, self._background.start, workers=self._shares_files)
        self._open_things.push_async_callback(shared.close)
        self._epochs, self._leases = Epochs(shared.epochs, self.clock), shared.leases
        await self._epochs.refresh()
        self.metrics.add_source(shared.lines)
        memory = self.settings.cache.exact.memory_mb * MEBIBYTE
        return CacheDesk(
            exact=ExactCache(shared.store, self.clock, memory_bytes=memory),
            semantic=meanings.cache,
            secret=self.secret,
            embedder_version=meanings.version,
            background=self._background,
            epochs=self._epochs,
            leases=self._leases,
            referee=self._referee,
        )

    def _paid_embedder(self, settings: EmbedderSettings) -> PaidEmbedder:
        return PaidEmbedder(
            settings,
            serve_aside,
            self.clock,
            self._background.start,
            runtime=lambda: self.runtime,
            current=lambda: self.settings.cache.semantic.embedder,
            max_queue=self.settings.cache.semantic.max_queue,
            patience_s=self.settings.cache.semantic.deadline_ms / 1000,
        )

    # --- what the admin pages may see ------------------------------------------------------------

    def _view(self) -> AdminView:
        return AdminView(
            clock=self.clock,
            secret=self.secret,
            database=self.engine.database,
            authenticate=lambda key: authenticate(self.runtime.generation.keys, key, self.clock.wall_ns()),
            find_key=self._find_key,
            metrics_access=lambda: self.settings.server.metrics_access,
            render_metrics=self.metrics.render,
            problems=self._problems,
            budgets=lambda: self.settings.budgets,
            features=lambda: tuple(self.settings.catalog.features),
            on_amended=self._budgets.take_up,
            prompts=self._tasks.unclaimed,
            caches=self.runtime.caches,
            explain=ExplainDesk(
                database=self.engine.database,
                clock=self.clock,
                generation=lambda: self.runtime.generation,
                facts=self.runtime.facts,
            ),
            semantic=self._meanings.figures,
            caching=lambda: caching_of(self.settings.catalog.features.values(), self.runtime.generation.cache_rules),
            charges=ChargeDesk(
                ledger=self.ledger,
                database=self.engine.database,
                clock=self.clock,
                catalog=lambda: self.runtime.generation.catalog,
                know=self._budgets.know,
                accounts=lambda tags, at_ns: charged_accounts(
                    self.settings.budgets, self._budgets.amendments, tags, at_ns
                ),
                prices=lambda: self.runtime.generation.pricing.book,
                witness=self._witness,
                body_bytes=self.settings.server.max_body_bytes,
            ),
        )

    def _find_key(self, key_id: str) -> VirtualKey | None:
        return next((key for key in self.runtime.generation.keys.values() if key.id == key_id), None)

    def _problems(self) -> list[Problem]:
        found = []
        if problem := self.engine.database.problem():
            found.append(Problem(reason="ledger", detail=problem))
        if self._watcher is not None and self._watcher.finding is not None:
            found.append(Problem(reason="config", detail=self._watcher.finding.message, blocking=False))
        if self._unusable:
            found.append(Problem(reason="config", detail=self._unusable, blocking=False))
        if self._tasks.problem:
            found.append(Problem(reason="tasks", detail=self._tasks.problem, blocking=False))
        due_runs = self.due_runs.problems() if self.due_runs else []
        return [*found, *self._evals.problems(), *due_runs, *self.retention.problems()]
