"""Runner: puts a suite to the reference and its candidates through the gateway, until the gate has decided on each."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, Protocol

import httpx

from evals.asker import CappedAsker, GatewayAsker
from evals.cells import check_key, prompt_hash
from evals.cellstore import CellStore
from evals.desk import Desk, Room, Test
from evals.gate import RULE, Evidence, Gate, Pace, Rule
from evals.gateway import AskFailed, Asking, RunStopped
from evals.graders import MEASURED, grader_key, graders_of
from evals.grading import tools_for
from evals.judges import admit_judge, graded_by
from evals.options import (
    KEPT_FOR_S,
    NS_PER_S,
    STOPPED,
    RunOptions,
    budget_of,
    check_tiers,
    compares,
    is_pairwise,
    ladder,
    max_age_ns,
    standing_age_ns,
)
from evals.purse import Purse
from evals.report import EvalReport, ItemOutcome, Role, TierResult
from evals.suite import Item, Suite
from evals.trial import Trial, mean_of
from evals.verdicts import broken, mean_score, monotonous
from farthing.money import Nano
from farthing.ports import Clock
from farthing.routing import Verdict


class Progress(Protocol):
    """Somebody who watches a run."""

    def began(self, tier: str, role: Role, items: int) -> None:
        """A tier's turn."""

    def asked(self, outcome: ItemOutcome) -> None:
        """One call is done."""

    def stands(self, tier: str, pace: Pace, spent: Nano) -> None:
        """Where a candidate stands after its answers so far, and what the run has spent in all."""

    def ended(self, result: TierResult) -> None:
        """A tier has its verdict."""


class Unwatched:
    """Progress that nobody looks at."""

    def began(self, tier: str, role: Role, items: int) -> None:
        pass

    def asked(self, outcome: ItemOutcome) -> None:
        pass

    def stands(self, tier: str, pace: Pace, spent: Nano) -> None:
        pass

    def ended(self, result: TierResult) -> None:
        pass


async def run_suite(
    suite: Suite,
    client: httpx.AsyncClient,
    options: RunOptions,
    *,
    cells: CellStore,
    clock: Clock,
    progress: Progress | None = None,
) -> EvalReport:
    """The reference's answers, then the candidates, the cheapest first, until one is promoted.

    What a budget or a failure cuts off is undecided. Raises ConfigError if `options.models` lacks a tier of the suite,
    or where its judge may not decide.
    Cancelling it asks nothing further; what was answered is in `cells`, and the same call goes on from there.
    """
    check_tiers(suite, options.models)
    started_ns = clock.wall_ns()
    cells.forget(started_ns - KEPT_FOR_S * NS_PER_S)
    run = _Run(suite, client, options, cells, clock, progress or Unwatched(), started_ns)
    await run.admit_judge()
    tiers = await run.results()
    tried = {result.tier for result in tiers}
    return EvalReport(
        run_id=options.run_id,
        suite=suite.name,
        suite_hash=suite.hash,
        task=suite.task,
        bar=suite.bar,
        margin=suite.margin,
        reference=suite.reference,
        rule=RULE,
        prompt_hash=prompt_hash(suite),
        grader=grader_key(suite),
        graded_by=run.graded_by,
        tiers=tuple(tiers),
        untried=tuple(tier for tier in suite.candidates if tier not in tried),
        started_ns=started_ns,
        decided_ns=clock.wall_ns(),
        cost=run.spent,
        stopped=run.stopped,
        refused=run.refused,
    )


class _Run:
    """One run under way, and why it stopped."""

    def __init__(
        self,
        suite: Suite,
        client: httpx.AsyncClient,
        options: RunOptions,
        cells: CellStore,
        clock: Clock,
        progress: Progress,
        started_ns: int,
    ) -> None:
        self._suite, self._options, self._progress = suite, options, progress
        self._pieces = suite.clusters()[: options.first]
        self._items = [item for piece in self._pieces for item in piece]
        self._lasts_s = suite.limits.max_age_s or options.valid_for_s
        used = graders_of(suite)
        fresh = options.fresh or not MEASURED.isdisjoint(used)
        asking = Asking(feature=options.feature, task=suite.task, run_id=options.run_id, fresh=fresh)
        self._asker = GatewayAsker(client, asking)
        self._room = Room(
            client=client,
            asking=asking,
            cells=cells,
            clock=clock,
            purse=Purse(budget_of(suite, options.budget), self._note_paid),
            run_id=options.run_id,
            started_ns=started_ns,
            keep_outputs=options.keep_outputs,
            tools=tools_for(suite, self._asker),
        )
        self._is_pairwise = is_pairwise(suite)
        self._compares = compares(suite)
        self.stopped = ""
        self.refused = self._unadmitted = ""
        self.graded_by = graded_by(suite, None)

    def _note_paid(self, spent: Nano) -> None:
        self._room.cells.note_paid(self._options.run_id, self._room.clock.wall_ns(), spent)

    @property
    def spent(self) -> Nano:
        """What the run has spent."""
        return self._room.purse.spent

    async def results(self) -> list[TierResult]:
        """The candidates that were tried, then the reference."""
        self._reference = await self._desk(self._suite.reference, Role.REFERENCE)
        await self._look_at_the_reference()
        tried = []
        for tier in self._ladder():
            tried.append(await self._candidate(tier))
            if tried[-1].verdict is Verdict.PASS and self._options.first is None:
                break
        reference = self._result(self._reference, self._reference_evidence(), self._unadmitted or self.refused)
        self._progress.ended(reference)
        return [*tried, reference]

    def _ladder(self) -> list[str]:
        return ladder(self._suite, self._options.models, self._options.only)

    async def _desk(self, tier: str, role: Role, beside: Desk | None = None) -> Desk:
        """A tier's answers; `beside` the reference's, where the pairs are what counts."""
        models, suite, options = self._options.models, self._suite, self._options
        grader = grader_key(suite)
        key = check_key(suite, models[tier], models[suite.reference], grader)
        test = Test(
            key=key,
            grader=grader,
            task=suite.task,
            suite=suite.name,
            not_before_ns=max(options.not_before_ns.get(tier, 0), beside.since_ns if beside else 0),
            keeps_texts=self._is_pairwise and role is Role.REFERENCE,
            max_age_ns=max_age_ns(suite, options),
        )
        desk = Desk(tier, role, models[tier], self._items, self._room, test, beside=beside)
        try:
            await desk.regrade()
        except RunStopped as stop:
            self.stopped = self.stopped or str(stop)
        return desk

    async def admit_judge(self) -> None:
        """Raises ConfigError where the suite's judge may not decide."""
        room = self._room
        oldest_ns = room.started_ns - standing_age_ns(self._suite, self._options)
        judges = room.cells.judges(now_ns=room.started_ns, oldest_ns=oldest_ns)
        try:
            asker = CappedAsker(self._asker, room.purse)
            standing = await admit_judge(self._suite, asker, self._options.models, judges)
            self.graded_by = graded_by(self._suite, standing)
        except RunStopped as stop:
            self.stopped = str(stop)
        except AskFailed as failure:
            self.stopped = f"the judge gave no answer: {failure.code}"
        if self.stopped:  # kept answers may be those that an earlier standing let decide
            self._unadmitted = f"the judge has not shown that it may decide, {STOPPED}"

    # --- the reference ---------------------------------------------------------------------------

    async def _look_at_the_reference(self) -> None:
        """Its first answers: against a broken reference anything looks good, and that shows before others are paid."""
        desk, first = self._reference, self._pieces[: self._suite.rule.items_min]
        self._progress.began(desk.tier, desk.role, len(self._items))
        trouble = ""
        while not self.stopped and not trouble:
            lacking = [item for piece in first for item in piece if desk.lacks(item)]
            trouble = next(filter(None, (desk.trouble(item) for item in lacking)), "")
            if not lacking or trouble:
                break
            await self._ask([(desk, item) for item in lacking[: self._options.concurrency]])
        evidence = self._reference_evidence()
        self.refused = trouble or self._reference_fault()
        if not self.refused and evidence.verdict is Verdict.FAIL:
            self.refused = f"it does not reach the bar of {self._suite.bar:g} itself: {evidence.reason}"

    def _reference_fault(self) -> str:
        outcomes = self._reference.outcomes()
        return broken(outcomes) or monotonous(self._items, outcomes)

    def _reference_evidence(self) -> Evidence:
        """How it stands by itself, against the bar alone."""
        rule = replace(self._suite.rule, margin=None, bar=self._suite.bar or _NO_BAR, gives_up=False)
        gate = Gate(rule)
        for piece in self._pieces:
            if any(self._reference.lacks(item) for item in piece):
                break
            gate.see(mean_of(self._reference, piece))
        found = gate.evidence()
        if self._suite.bar:
            return replace(found, reason=f"the reference, against the bar alone: {found.reason}")
        reason = f"the reference, which has no bar to reach: scored {found.score:.3f} on {found.items} items"
        return replace(found, verdict=Verdict.UNDECIDED, reason=reason, e_value=0.0)

    # --- a candidate -----------------------------------------------------------------------------

    async def _candidate(self, tier: str) -> TierResult:
        beside = self._reference if self._compares else None
        desk = await self._desk(tier, Role.CANDIDATE, beside)
        self._progress.began(tier, desk.role, len(self._items))
        trial = Trial(self._rule(tier), self._pieces, desk, beside)
        doubt = self._unadmitted or self._refusal()
        while not doubt and not trial.advance() and not self.stopped:
            self._progress.stands(tier, trial.pace, self._room.purse.spent)
            doubt = trial.trouble()
            if not doubt:
                await self._ask(trial.wanted(self._options.concurrency))
        evidence = trial.evidence
        doubt = doubt or self._doubt(evidence, desk)
        result = self._result(desk, evidence, doubt)
        self._progress.ended(result)
        return result

    def _rule(self, tier: str) -> Rule:
        return replace(self._suite.rule, gives_up=tier not in self._options.passing)

    def _refusal(self) -> str:
        return f"the reference tier {self._reference.tier} is refused: {self.refused}" if self.refused else ""

    def _doubt(self, evidence: Evidence, desk: Desk) -> str:
        """Why the verdict does not stand; empty where it does."""
        outcomes = desk.outcomes()
        found = broken(outcomes)
        if found or evidence.verdict is not Verdict.PASS:
            return found
        self.refused = self._reference_fault()
        if not self.refused and self._suite.margin is not None:
            self.refused = _below(self._suite.bar, self._reference.outcomes())
        return monotonous(self._items, outcomes) or self._refusal()

    def _result(self, desk: Desk, evidence: Evidence, doubt: str) -> TierResult:
        reason = f"undecided: {doubt}" if doubt else evidence.reason
        if self.stopped and evidence.verdict is Verdict.UNDECIDED and not doubt:
            reason = f"{evidence.reason}, {STOPPED}"
        outcomes = desk.outcomes()
        made = [outcome.made_ns for outcome in (*outcomes, *self._reference.outcomes()) if outcome.made_ns]
        oldest_ns = min(made, default=self._room.started_ns)
        return TierResult(
            tier=desk.tier,
            role=desk.role,
            models=desk.models,
            verdict=Verdict.UNDECIDED if doubt else evidence.verdict,
            reason=reason,
            evidence=evidence,
            planned=len(self._items),
            outcomes=outcomes,
            valid_until_ns=None if self._lasts_s is None else oldest_ns + self._lasts_s * NS_PER_S,
        )

    # --- asking ----------------------------------------------------------------------------------

    async def _ask(self, wanted: Sequence[tuple[Desk, Item]]) -> None:
        """Put these questions at the same time, as far as the budget reaches."""
        if any(desk.failures(item) for desk, item in wanted):
            await asyncio.sleep(self._options.retry_pause_s)
        async with asyncio.TaskGroup() as group:
            for desk, item in wanted:
                if not self._room.purse.affords(desk.tier):
                    self.stopped = self.stopped or self._room.purse.refusal
                    break
                self._room.purse.opened(desk.tier)
                group.create_task(self._put(desk, item))

    async def _put(self, desk: Desk, item: Item) -> None:
        try:
            self._progress.asked(await desk.ask(item))
        except RunStopped as stop:
            self.stopped = self.stopped or str(stop)


_NO_BAR: Final = 0.5
"""For a gate whose verdict is not looked at."""


def _below(bar: float, outcomes: Iterable[ItemOutcome]) -> str:
    score = mean_score(outcomes)
    return f"it scored {score:.3f}, below the bar of {bar:g}" if score < bar else ""
