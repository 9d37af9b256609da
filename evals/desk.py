"""Desk: one tier's graded answers to a suite in one run, those that are kept and those that are asked for now."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import httpx

from evals.answers import GradedAnswer
from evals.cells import Question, question
from evals.cellstore import CellStore
from evals.gateway import Answer, AskFailed, Asking, RunStopped, ask
from evals.graders import ASKING
from evals.grading import GraderTools, grade_answer
from evals.purse import Purse
from evals.report import ItemOutcome, Role
from evals.suite import Item, digest
from evals.verdicts import flaw_of
from farthing.money import ZERO, Nano
from farthing.ports import Clock

TRIES: Final = 3
"""How often an item is asked that fails: without its answer nothing after it counts."""
AGAIN: Final = "run again to ask it again"
ERRORS_MAX: Final = 10
"""Failed calls after which a tier is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What the desks of a run share. `started_ns` is the run's beginning, wall ns; `keep_outputs` keeps texts."""

    client: httpx.AsyncClient
    asking: Asking
    cells: CellStore
    clock: Clock
    purse: Purse
    run_id: str
    started_ns: int
    keep_outputs: bool
    tools: GraderTools


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """What a tier's answers are kept for: `key` as `check_key` makes it, `grader` as `grader_key`.

    Answers older than `not_before_ns` never count, and once one is older than `max_age_ns` all are asked again.
    `keeps_texts`: another run needs them to compare with.
    """

    key: str
    grader: str
    task: str
    suite: str
    not_before_ns: int
    max_age_ns: int
    keeps_texts: bool = False


class Desk:
    """A tier's answers, by the hash of their item. `since_ns` is from when on they count. `beside`
    are the reference's, with which graders may compare."""

    def __init__(
        self,
        tier: str,
        role: Role,
        models: Sequence[str],
        items: Iterable[Item],
        room: Room,
        test: Test,
        *,
        beside: "Desk | None" = None,
    ) -> None:
        self.tier, self.role, self.models = tier, role, tuple(models)
        self._room, self._test, self._beside = room, test, beside
        asked = {item.hash: question(item, models, test.grader) for item in items}
        self._questions: Mapping[str, Question] = asked
        self._failures: dict[str, list[ItemOutcome]] = {}
        self._known: set[str] = set()
        self.answered: dict[str, ItemOutcome] = {}
        self.texts: dict[str, str] = {}
        self.since_ns = self._begin()

    async def regrade(self) -> None:
        """Grade the kept texts of answers that other graders graded, within the budget. Raises RunStopped."""
        cells, purse = self._room.cells, self._room.purse
        for item, asked in self._questions.items():
            if item not in self.answered and (kept := cells.text(asked, self.since_ns)) is not None:
                if _costs_to_grade(asked.item) and not purse.affords_grade:
                    raise RunStopped(purse.refusal)
                former = kept.outcome
                answer = GradedAnswer(
                    text=kept.text,
                    tool_calls=kept.tool_calls,
                    finish_reason=former.finish_reason,
                    cost=former.cost,
                    latency_s=former.seconds,
                    reference_text=self._text_beside(item, kept.text),
                )
                await self._take(asked, answer, former, is_kept=True)

    def lacks(self, item: Item) -> bool:
        """True where the item has no graded answer yet."""
        return item.hash not in self.answered

    def failures(self, item: Item) -> int:
        """How often it was asked in vain."""
        return len(self._failures.get(item.hash, ()))

    def outcomes(self) -> tuple[ItemOutcome, ...]:
        """What is known of each item, in the suite's order; of one that failed, its last failure."""
        known = {item: failed[-1] for item, failed in self._failures.items()} | self.answered
        return tuple(known[item] for item in self._questions if item in known)

    def trouble(self, item: Item) -> str:
        """Why the item is not asked again; empty where it may be."""
        failed = [failure for failures in self._failures.values() for failure in failures]
        if self.failures(item) < TRIES and len(failed) < ERRORS_MAX:
            return ""
        ((code, count),) = Counter(failure.error for failure in failed).most_common(1)
        return f"an item got no answer ({count} times {code}); {AGAIN}"

    def begin_anew(self) -> None:
        """Let only answers count that this run has asked for."""
        self.since_ns = self._record(self._room.started_ns)
        self.answered = {item: found for item, found in self.answered.items() if not found.is_kept}

    async def ask(self, item: Item) -> ItemOutcome:
        """Ask for the item's answer, grade and keep it. Raises RunStopped."""
        room, asked = self._room, self._questions[item.hash]
        if (kept := self._find(asked, self.since_ns)) is not None:
            room.purse.closed(self.tier, ZERO)
            return self._count(item, kept)
        started, cost = room.clock.monotonic(), ZERO
        try:
            answer = await ask(room.client, item, self.tier, room.asking)
            cost = answer.cost
        except AskFailed as failure:
            cost = failure.cost
            return self._failed(item, failure.code, room.clock.monotonic() - started, cost)
        finally:
            room.purse.closed(self.tier, cost)
        seconds = room.clock.monotonic() - started
        graded = GradedAnswer(
            text=storable(answer.text),
            tool_calls=answer.tool_calls,
            finish_reason=answer.finish_reason,
            cost=answer.cost,
            latency_s=seconds,
            reference_text=self._text_beside(item.hash, answer.text),
        )
        made = self._made(item, answer, seconds)
        self._note_revision(made)
        return await self._take(asked, graded, made)

    async def _take(
        self, asked: Question, answer: GradedAnswer, made: ItemOutcome, *, is_kept: bool = False
    ) -> ItemOutcome:
        """Grade an answer and keep it with its grade; one that cannot be graded counts as none."""
        room, item = self._room, asked.item
        found = await grade_answer(item, answer, room.tools)
        room.purse.graded(found.cost)
        if found.score is None:
            return self._failed(
                item, found.error, made.seconds, found.cost if is_kept else Nano(made.cost + found.cost)
            )
        outcome = replace(
            made,
            item_hash=item.hash,
            tier=self.tier,
            score=found.score,
            reason=found.reason,
            cost=Nano(made.cost + found.cost),
            flaw=flaw_of(item, answer.text, answer.tool_calls),
            output=answer.text if room.keep_outputs else "",
        )
        text = answer.text if room.keep_outputs or is_kept or self._test.keeps_texts else None
        room.cells.keep(asked, outcome, run_id=room.run_id, text=text, tool_calls=answer.tool_calls)
        first = self._find(asked, self.since_ns)
        if first is not None and (first.made_ns, first.output_sha256) != (outcome.made_ns, outcome.output_sha256):
            return self._count(item, first)  # another run of the suite was first: a second draw does not count
        self.answered[item.hash] = outcome
        self.texts[item.hash] = answer.text
        return outcome

    def _count(self, item: Item, kept: ItemOutcome) -> ItemOutcome:
        """Let an answer count that another run asked for meanwhile."""
        outcome = self.answered[item.hash] = replace(kept, tier=self.tier, item_hash=item.hash)
        if kept.output:
            self.texts[item.hash] = kept.output
        return outcome

    def _text_beside(self, item: str, own: str) -> str | None:
        """What the reference answered; beside the reference it is the answer itself."""
        if self.role is Role.REFERENCE:
            return own
        return None if self._beside is None else self._beside.texts.get(item)

    def _begin(self) -> int:
        """From when on answers count, with those that do."""
        test, now_ns = self._test, self._room.started_ns
        oldest_ns = now_ns - test.max_age_ns
        since_ns = self._room.cells.since(test.key)
        if since_ns is None or since_ns < test.not_before_ns:
            since_ns = self._record(max(oldest_ns, test.not_before_ns))
        self.answered = self._kept(since_ns)
        if self.answered and min(found.made_ns for found in self.answered.values()) < oldest_ns:
            since_ns, self.answered = self._record(now_ns), {}
        self._known = {outcome.fingerprint for outcome in self.answered.values() if outcome.fingerprint}
        self.texts = {item: found.output for item, found in self.answered.items() if found.output}
        return since_ns

    def _record(self, since_ns: int) -> int:
        test = self._test
        self._room.cells.begin(test.key, task=test.task, tier=self.tier, suite=test.suite, since_ns=since_ns)
        return since_ns

    def _kept(self, since_ns: int) -> dict[str, ItemOutcome]:
        found = {item: self._find(asked, since_ns) for item, asked in self._questions.items()}
        return {
            item: replace(outcome, tier=self.tier, item_hash=item)
            for item, outcome in found.items()
            if outcome is not None
        }

    def _find(self, asked: Question, since_ns: int) -> ItemOutcome | None:
        return self._room.cells.find(asked, since_ns, with_text=self._test.keeps_texts)

    def _note_revision(self, outcome: ItemOutcome) -> None:
        """The first new answer tells whether the model is still the one whose answers are kept."""
        known, self._known = self._known, set()
        if known and outcome.fingerprint and outcome.fingerprint not in known:
            self.begin_anew()

    def _failed(self, item: Item, code: str, seconds: float, cost: Nano = ZERO) -> ItemOutcome:
        outcome = ItemOutcome(item_hash=item.hash, tier=self.tier, score=None, error=code, seconds=seconds, cost=cost)
        self._failures.setdefault(item.hash, []).append(outcome)
        return outcome

    def _made(self, item: Item, answer: Answer, seconds: float) -> ItemOutcome:
        """The answer's outcome before it is graded."""
        text = storable(answer.text)
        is_empty = not text.strip() and not answer.tool_calls
        return ItemOutcome(
            item_hash=item.hash,
            tier=self.tier,
            score=None,
            model=answer.model,
            cost=answer.cost,
            seconds=seconds,
            finish_reason=answer.finish_reason,
            cache=answer.cache,
            output_sha256="" if is_empty else _digest_of(text, answer),
            fingerprint=answer.fingerprint,
            made_ns=self._room.clock.wall_ns(),
        )


def _costs_to_grade(item: Item) -> bool:
    return any(each.type in ASKING for one in item.assertions for each in one.each())


def storable(text: str) -> str:
    """The text as UTF-8 can hold it."""
    return text.encode("utf-8", "replace").decode()


def _digest_of(text: str, answer: Answer) -> str:
    """That of the text, with the calls of tools where there are any."""
    if answer.tool_calls:
        return digest([text, list(answer.tool_calls)])
    return hashlib.sha256(text.encode()).hexdigest()
