"""Runner: puts a suite to every tier through the gateway, like any client, within its budget."""

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import httpx

from evals.gateway import Answer, AskFailed, Asking, RunStopped, ask
from evals.graders import grade
from evals.report import EvalReport, ItemOutcome, Role, TierResult, total
from evals.suite import DAY_S, Item, Suite
from evals.verdicts import RULE, decide
from farthing.errors import ConfigError
from farthing.money import ZERO, Nano, nano_from_usd
from farthing.ports import Clock

CONCURRENCY: Final = 2
ERRORS_MAX: Final = 3
"""Failed items after which a tier is given up: one already leaves it undecided."""
VALID_FOR_S: Final = 14 * DAY_S
"""Aliases move: after this long a tier has to pass again."""
NS_PER_S: Final = 10**9


class Progress(Protocol):
    """Somebody who watches a run."""

    def began(self, tier: str, role: Role, items: int) -> None:
        """A tier's turn."""

    def asked(self, outcome: ItemOutcome) -> None:
        """One item is done."""

    def ended(self, result: TierResult) -> None:
        """A tier has its verdict."""


class Unwatched:
    """Progress that nobody looks at."""

    def began(self, tier: str, role: Role, items: int) -> None:
        pass

    def asked(self, outcome: ItemOutcome) -> None:
        pass

    def ended(self, result: TierResult) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How to run. `run_id` names the run, `models` the deployment ids of every tier now, from the catalogue.

    `feature` is the one to which calls are booked. `fresh` refuses stored answers. `keep_outputs` keeps the
    answers' texts. `valid_for_s`: seconds for which a verdict holds where the suite does not say; None: for as
    long as the tier stays as it is.
    """

    run_id: str
    models: Mapping[str, tuple[str, ...]]
    feature: str = "evals"
    fresh: bool = False
    keep_outputs: bool = False
    with_reference: bool = True
    concurrency: int = CONCURRENCY
    valid_for_s: int | None = VALID_FOR_S


async def run_suite(
    suite: Suite, client: httpx.AsyncClient, options: RunOptions, *, clock: Clock, progress: Progress | None = None
) -> EvalReport:
    """Every candidate in the suite's order, then the reference; what a budget cuts off is undecided.

    Raises ConfigError if `options.models` lacks a tier of the suite. Cancelling it asks nothing further.
    """
    turns = _turns(suite, options)
    run = _Run(suite, client, options, clock, progress or Unwatched())
    started_ns = clock.wall_ns()
    tiers = [await run.tier(tier, role) for tier, role in turns]
    decided_ns = clock.wall_ns()
    lasts_s = suite.limits.max_age_s or options.valid_for_s
    return EvalReport(
        run_id=options.run_id,
        suite=suite.name,
        suite_hash=suite.hash,
        task=suite.task,
        bar=suite.bar,
        rule=RULE,
        tiers=tuple(tiers),
        started_ns=started_ns,
        decided_ns=decided_ns,
        valid_until_ns=None if lasts_s is None else decided_ns + lasts_s * NS_PER_S,
        stopped=run.stopped,
    )


def _turns(suite: Suite, options: RunOptions) -> list[tuple[str, Role]]:
    """Candidates come first: where money is short, it goes where a verdict saves some."""
    turns = [(tier, Role.CANDIDATE) for tier in suite.candidates]
    if options.with_reference:
        turns.append((suite.reference, Role.REFERENCE))
    missing = [tier for tier, _ in turns if tier not in options.models]
    if missing:
        raise ConfigError(
            f"Suite '{suite.name}' names tiers that config/routing.yaml does not have: {', '.join(missing)}. "
            f"Known tiers: {', '.join(options.models) or 'none'}."
        )
    return turns


class _Run:
    """One run under way: what it has spent, and why it stopped."""

    def __init__(
        self, suite: Suite, client: httpx.AsyncClient, options: RunOptions, clock: Clock, progress: Progress
    ) -> None:
        self._suite, self._client, self._options = suite, client, options
        self._clock, self._progress = clock, progress
        self._purse = _Purse(suite)
        self._items = suite.sample()
        self._asking = Asking(feature=options.feature, task=suite.task, run_id=options.run_id, fresh=options.fresh)
        self.stopped = ""

    async def tier(self, tier: str, role: Role) -> TierResult:
        """The tier's result; without a single question where the run has stopped."""
        models = self._options.models[tier]
        self._progress.began(tier, role, len(self._items))
        outcomes: list[ItemOutcome] = []
        self._purse.next_tier()
        pending = iter(self._items)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._options.concurrency):
                group.create_task(self._work(tier, pending, outcomes))
        result = self._result(tier, role, models, outcomes)
        self._progress.ended(result)
        return result

    async def _work(self, tier: str, pending: Iterator[Item], outcomes: list[ItemOutcome]) -> None:
        """Take items until there are none, the run has stopped, or the tier keeps failing."""
        for item in pending:
            if not self._may_go_on(outcomes):
                return
            try:
                outcome = await self._outcome(item, tier)
            except RunStopped as stop:
                self.stopped = self.stopped or str(stop)
                return
            outcomes.append(outcome)
            self._progress.asked(outcome)

    def _may_go_on(self, outcomes: Sequence[ItemOutcome]) -> bool:
        if not self.stopped and not self._purse.affords_another():
            self.stopped = f"the budget of {self._suite.limits.budget_usd} USD does not reach further"
        return not self.stopped and sum(bool(outcome.error) for outcome in outcomes) < ERRORS_MAX

    async def _outcome(self, item: Item, tier: str) -> ItemOutcome:
        started = self._clock.monotonic()
        self._purse.opened()
        cost = ZERO
        try:
            answer = await ask(self._client, item, tier, self._asking)
            cost = answer.cost
        except AskFailed as failure:
            return ItemOutcome(
                item_hash=item.hash,
                tier=tier,
                score=None,
                error=failure.code,
                seconds=self._clock.monotonic() - started,
            )
        finally:
            self._purse.closed(cost)
        return _graded(item, tier, answer, self._clock.monotonic() - started, keep=self._options.keep_outputs)

    def _result(self, tier: str, role: Role, models: tuple[str, ...], outcomes: Sequence[ItemOutcome]) -> TierResult:
        decision = decide(self._items, outcomes, bar=self._suite.bar)
        return TierResult(
            tier=tier,
            role=role,
            models=models,
            verdict=decision.verdict,
            reason=decision.reason,
            score=decision.score,
            low=decision.low,
            high=decision.high,
            planned=len(self._items),
            outcomes=tuple(outcomes),
        )


class _Purse:
    """The run's money: each open question is counted at the dearest answer that its tier has given so far."""

    def __init__(self, suite: Suite) -> None:
        usd = suite.limits.budget_usd
        self.budget = None if usd is None else nano_from_usd(usd)
        self._spent: Nano = ZERO
        self._dearest: Nano = ZERO
        self._open = 0

    def next_tier(self) -> None:
        """Forget the last tier's prices."""
        self._dearest = ZERO

    def affords_another(self) -> bool:
        """True while the budget covers what is spent, what is open and one question more."""
        if self.budget is None:
            return True
        likely = self._spent + (self._open + 1) * self._dearest
        return likely <= self.budget and self._spent < self.budget

    def opened(self) -> None:
        self._open += 1

    def closed(self, cost: Nano) -> None:
        self._open -= 1
        self._spent = total((self._spent, cost))
        self._dearest = max(self._dearest, cost)


def _graded(item: Item, tier: str, answer: Answer, seconds: float, *, keep: bool) -> ItemOutcome:
    found = grade(item, answer.text)
    encoded = answer.text.encode("utf-8", "replace")
    return ItemOutcome(
        item_hash=item.hash,
        tier=tier,
        score=found.score,
        reason=found.reason,
        model=answer.model,
        cost=answer.cost,
        seconds=seconds,
        finish_reason=answer.finish_reason,
        cache=answer.cache,
        output_sha256=hashlib.sha256(encoded).hexdigest() if answer.text.strip() else "",
        output=encoded.decode() if keep else "",
    )
