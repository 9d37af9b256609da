"""Live grading: what the answers of routed calls show of the tiers that give them, all checked and a part graded.

Nothing of any answer is kept: a score each, in the order in which they came, goes to the driftbook once a second.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from cache.answers import answer_text
from cache.finding import Pair, Referee
from cache.prompts import last_turn
from cache.storable import Storable
from evals.agreement import agreement
from evals.drift import Promise
from evals.driftbook import DriftBook, Series, Standing
from evals.revisions import Tested, read_tested, revision_of
from farthing.answer import StoredAnswer
from farthing.call import Call, Endpoint
from farthing.catalog import Catalog, LiveGrader, LiveRule, Task
from farthing.errors import FarthingError
from farthing.ports import Clock
from farthing.routing import Demotion, LiveEvidence, Scorecard, Verdict
from farthing.value import changed
from gateway.asides import GRADING, Asides, aside_of
from gateway.books import Page
from gateway.destination import TIER_PREFIX
from gateway.forward import output_cap
from gateway.reading import parse_answer
from gateway.runtime import Observer, Runtime
from gateway.tasks import Background
from router_policies.checks import fault_of

_LOG: Final = logging.getLogger("farthing.live")
GRADES: Final = "grades"
CHECKS: Final = "checks"
REVISION: Final = "revision"
IN_A_ROW: Final = 3
"""Answers of a new revision, one after the other in a worker, until it counts: one may come from a trial of theirs."""
LEARNED: Final = 50
"""Answers that show which revisions are usual, where the scorecard does not know them."""
EAGER: Final = 10
"""By so much the share that is graded is larger until a period is over."""
FEW_TOKENS: Final = 32
PENDING_MAX: Final = 10_000
CHECKS_MARGIN: Final = 0.02
CHECKS_PERIOD: Final = 500
Place = tuple[str, str]
"""Task and tier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A tier whose live answers got worse, or that is another model than was tested. `signal`: grades, checks or
    revision; `detail` completes "TIER was demoted: "; `card` is the pass that no longer holds, None where it has none
    to lose; `evidence`, `bound` and `graded` are those of the detector (zeros for a revision)."""

    task: Task
    tier: str
    signal: str
    detail: str
    card: Scorecard | None
    evidence: float = 0.0
    bound: float = 0.0
    graded: int = 0


@dataclass(slots=True)
class Post:
    """Where one tier is watched at one task, from one pass on; `tested` None: the usual revisions are being learned."""

    task: Task
    rule: LiveRule
    tier: str
    card: Scorecard | None
    floor: float
    tested: Tested | None
    graded: int = 0
    checked: int = 0
    in_a_row: dict[str, int] = field(default_factory=dict)
    change: str = ""
    grades: list[float] = field(default_factory=list)
    checks: list[float] = field(default_factory=list)
    revisions: set[str] = field(default_factory=set)

    @property
    def basis(self) -> str:
        """The pass that counts."""
        return "" if self.card is None else f"{self.card.run_id}@{self.card.decided_ns}"

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes it another one."""
        return self.basis, self.rule, self.floor, self.task.reference

    @property
    def share(self) -> float:
        """Of the answers so many are graded now. Those of the reference agree with themselves."""
        if self.rule.grader is LiveGrader.NONE or self.tier == self.task.reference:
            return 0.0
        return self.rule.share if self.graded >= self.rule.period else min(1.0, EAGER * self.rule.share)

    def series(self, signal: str) -> Series:
        """What is kept of a signal."""
        promise = Promise(floor=self.floor, margin=self.rule.margin, period=self.rule.period)
        if signal == CHECKS:
            promise = Promise(floor=1 - self.rule.most_faulty, margin=CHECKS_MARGIN, period=CHECKS_PERIOD)
        return Series(task=self.task.name, tier=self.tier, signal=signal, basis=self.basis, promise=promise)


class LiveGrading:
    """Port `LiveWatch`. `take_up` what counts, let calls be observed, `flush` once a second; all on one loop."""

    def __init__(
        self, book: DriftBook, asides: Asides, clock: Clock, background: Background, referee: Callable[[], Referee]
    ) -> None:
        self._book, self._asides, self._clock, self._background = book, asides, clock, background
        self._referee = referee
        self._posts: dict[Place, Post] = {}
        self._evidence: tuple[LiveEvidence, ...] = ()
        self._raised: list[Alarm] = []  # and not handed out yet: the book raises each of them once

    def take_up(self, catalog: Catalog, cards: Iterable[Scorecard], demotions: Iterable[Demotion]) -> None:
        """What the settings and the evidence of now say is to be watched; what goes on as it was keeps its place."""
        passes = {(card.task, card.tier): card for card in cards if card.verdict is Verdict.PASS}
        lost = {(one.task, one.tier): one.at_ns for one in demotions}
        passes = {place: card for place, card in passes.items() if card.decided_ns > lost.get(place, -1)}
        old, self._posts = self._posts, {}
        for task in catalog.tasks.values():
            if task.live is not None:
                for tier in (*task.candidates, task.reference):
                    self._take_up(task, task.live, tier, passes, old.get((task.name, tier)))
        if self._posts or old:
            self._look()

    def _take_up(
        self, task: Task, rule: LiveRule, tier: str, passes: Mapping[Place, Scorecard], old: Post | None
    ) -> None:
        card = passes.get((task.name, tier))
        reference = passes.get((task.name, task.reference))
        floor = agreement_floor(task, card, reference, rule.margin)
        prints = card.fingerprints if card is not None else ()
        post = Post(task, rule, tier, card, floor, read_tested(prints) if prints else None)
        self._posts[task.name, tier] = old if old is not None and old.identity == post.identity else post

    def observer(self, page: Page, call: Call, task: Task, runtime: Runtime) -> Observer | None:
        """See the port."""
        post = self._posts.get((task.name, page.tier))
        if post is None:
            return None

        seen: list[str] = []

        def observe(answer: Mapping[str, Any]) -> None:
            try:
                if page.tier == post.tier and not seen:  # else another one stood in for it, or it was shown already
                    seen.append(page.model)
                    self._see(post, call, answer, page.model, runtime)
            except Exception as error:  # noqa: BLE001 - whoever watches must not break what is watched
                _LOG.warning("an answer could not be observed: %s", type(error).__name__)

        return observe

    def _see(self, post: Post, call: Call, answer: Mapping[str, Any], model: str, runtime: Runtime) -> None:
        if call.endpoint is Endpoint.EMBEDDINGS:
            return
        if len(post.checks) < PENDING_MAX:
            post.checks.append(0.0 if _is_faulty(post.task, call, answer) else 1.0)
        if post.rule.revisions:
            self._note_revision(post, answer, model)
        if _draw(call) < post.share and self._asides.may(runtime):
            self._background.spawn(self._grade(post, call, answer, runtime))

    def _note_revision(self, post: Post, answer: Mapping[str, Any], model: str = "") -> None:
        """`model` is what was asked for: each of a tier's has a row of its own, for the others may be as ever."""
        revision = revision_of(answer)
        if post.tested is None:
            post.revisions.add(revision.text)
            return
        change = post.tested.change(revision)
        row = post.in_a_row[model] = post.in_a_row.get(model, 0) + 1 if change else 0
        if row >= IN_A_ROW:
            post.change = change

    # --- grading ---------------------------------------------------------------------------------

    async def _grade(self, post: Post, call: Call, answer: Mapping[str, Any], runtime: Runtime) -> None:
        """Ask the reference the same, and compare. What cannot be compared is no grade."""
        reference = await self._ask_reference(post.task, call, runtime)
        parsed = None if reference is None else parse_answer(reference.body)
        if reference is not None and parsed is not None:
            await self._compare(post, call, reference, parsed, answer)

    async def _compare(
        self, post: Post, call: Call, reference: StoredAnswer, meant: Mapping[str, Any], answer: Mapping[str, Any]
    ) -> None:
        """Take up the grade of an answer beside that of the reference, which is `meant` once it is parsed."""
        score = agreement(meant, answer)
        if post.rule.grader is LiveGrader.JUDGE and not score:
            score = await self._judge(call, reference, answer)
        if score is not None and len(post.grades) < PENDING_MAX:
            post.grades.append(score)

    async def grade_candidate(
        self, task: Task, tier: str, call: Call, reference: Mapping[str, Any], answer: StoredAnswer
    ) -> None:
        """Take up what a candidate answered that was asked besides, as an answer of its own: checked, and compared with
        the one that the reference gave. One that fails its check is wrong, whatever the reference said."""
        post, parsed = self._posts.get((task.name, tier)), parse_answer(answer.body)
        if post is None or post.rule.grader is LiveGrader.NONE or len(post.checks) >= PENDING_MAX:
            return
        is_faulty = parsed is None or _is_faulty(task, call, parsed)
        post.checks.append(0.0 if is_faulty else 1.0)
        if parsed is None or is_faulty:
            post.grades.append(0.0)
            return
        if post.rule.revisions:
            self._note_revision(post, parsed)
        meant = changed(answer, body=orjson.dumps(reference))
        await self._compare(post, call, meant, reference, parsed)

    async def _ask_reference(self, task: Task, call: Call, runtime: Runtime) -> StoredAnswer | None:
        generation = runtime.generation
        aside = aside_of(call, dict(call.body), self._clock, GRADING)
        feature = generation.feature(call.tags.feature)
        try:
            named = changed(aside, model=TIER_PREFIX + task.reference)
            destination = generation.destinations.find(named, generation.feature(aside.tags.feature), None)
        except FarthingError:
            return None  # a reload took the tier away
        cap = output_cap(call, feature)
        return (await self._asides.ask(aside, destination, cap, runtime, least=Storable.EXACT)).answer

    async def _judge(self, call: Call, reference: StoredAnswer, answer: Mapping[str, Any]) -> float | None:
        turn = last_turn(call.endpoint, call.body)
        meant = answer_text(call.endpoint, reference)
        found = answer_text(call.endpoint, changed(reference, body=orjson.dumps(answer)))
        if turn is None or not meant:
            return None
        if not found:
            return 0.0  # nothing was said where the reference has an answer
        pair = Pair(call=call, question_a=turn.text, answer_a=found, question_b=turn.text, answer_b=meant)
        same = (await self._referee()(pair)).same
        return None if same is None else float(same)

    # --- what it comes to ------------------------------------------------------------------------

    async def flush(self) -> tuple[Alarm, ...]:
        """Write down what came since the last time; the alarms that it raises. A tier that raised one is watched no
        more until `take_up`. Raises sqlite3.Error, and then what came is lost, but for alarms."""
        work = [(post, *_taken(post)) for post in self._posts.values() if post.checks or post.grades]
        if work:
            await asyncio.to_thread(self._write, work, self._clock.wall_ns())
            self._know(await asyncio.to_thread(self._book.standings))
        alarms, self._raised = self._raised, []
        for alarm in alarms:
            self._posts.pop((alarm.task.name, alarm.tier), None)
        return tuple(alarms)

    def _write(self, work: Sequence[tuple[Post, Sequence[float], Sequence[float], set[str]]], now_ns: int) -> None:
        """In a thread: the book waits for other workers."""
        for post, checks, grades, revisions in work:
            if revisions:
                self._book.learn(post.task.name, post.tier, post.basis, revisions, now_ns=now_ns)
            new = ((CHECKS, checks), (GRADES, grades))
            standings = [self._book.add(post.series(name), values, now_ns=now_ns) for name, values in new if values]
            if post.change:
                standings.append(self._book.alarm(post.series(REVISION), now_ns=now_ns))
            if (alarm := _alarm_of(post, standings)) is not None:
                self._raised.append(alarm)

    def _look(self) -> None:
        """The same as is on record; where that cannot be read, what was known of it goes on to count."""
        try:
            self._know(self._book.standings())
        except sqlite3.Error as error:
            _LOG.error("live grades cannot be read: %s", error)

    def _know(self, standings: Iterable[Standing]) -> None:
        """How far the posts have come, in all workers together."""
        evidence = []
        for one in standings:
            post = self._posts.get((one.task, one.tier))
            if post is None or one.basis != post.basis:
                continue
            if one.signal == GRADES:
                post.graded = one.watch.graded
                found = LiveEvidence(task=one.task, tier=one.tier, graded=post.graded, e_worse=one.watch.e_worse)
                evidence.append(found)
            elif one.signal == CHECKS:
                post.checked = one.watch.graded
                self._learned(post)
        self._evidence = tuple(evidence)

    def _learned(self, post: Post) -> None:
        if post.tested is None and post.checked >= LEARNED:
            post.tested = read_tested(self._book.revisions(post.task.name, post.tier, post.basis))

    def evidence(self) -> tuple[LiveEvidence, ...]:
        """What grades have shown of each tier since its pass, as of the last flush of any worker that this one saw."""
        return self._evidence

    def standings(self) -> tuple[Standing, ...]:
        """Everything that is on record, nothing where that cannot be read; blocks."""
        try:
            return self._book.standings()
        except sqlite3.Error:
            return ()


def agreement_floor(task: Task, card: Scorecard | None, reference: Scorecard | None, margin: float) -> float:
    """The least share of calls in which a tier agrees with the reference, if both are as good as their evals say and
    the tier has not lost more than `margin` since.

    Two that are right in shares a and b of the calls are both right in a + b - 1 at least. The score of the reference
    is that of the tier's own card, where it was compared; else its own, else the tier's.
    """
    score = max(float(task.bar), 0.5) if card is None else card.score
    other = score
    if card is not None and card.difference is not None:
        other = card.score - card.difference
    elif reference is not None:
        other = reference.score
    return max(0.0, score + min(other, 1.0) - 1.0 - margin)


def _taken(post: Post) -> tuple[list[float], list[float], set[str]]:
    """What is pending, which is then pending no more."""
    taken = post.checks, post.grades, post.revisions
    post.checks, post.grades, post.revisions = [], [], set()
    return taken


def _alarm_of(post: Post, standings: Iterable[Standing]) -> Alarm | None:
    loud = next((one for one in standings if one.is_alarm), None)
    if loud is None:
        return None
    if loud.signal == REVISION:
        detail = f"its provider answers with {post.change}"
        return Alarm(task=post.task, tier=post.tier, signal=REVISION, detail=detail, card=post.card)
    watch = loud.watch
    what = f"live answers agree with {post.task.reference} in less than {watch.bound:.0%} of the calls"
    if loud.signal == CHECKS:
        what = f"more than {1 - watch.bound:.0%} of its live answers are empty, cut, refused or in the wrong form"
    return Alarm(
        task=post.task,
        tier=post.tier,
        signal=loud.signal,
        detail=f"{what} (evidence {watch.level:,.0f} of 1,000 after {watch.graded} answers)",
        card=post.card,
        evidence=watch.level,
        bound=watch.bound,
        graded=watch.graded,
    )


def _is_faulty(task: Task, call: Call, answer: Mapping[str, Any]) -> bool:
    """Whether anything is wrong with the answer that can be seen without a model. Where the client wants a few tokens
    only, such as those of a label, they are expected to be cut there."""
    fault = fault_of(task.check, call.body, answer)
    return bool(fault) and not (fault == "length" and (call.output_cap or FEW_TOKENS) < FEW_TOKENS)


def _draw(call: Call) -> float:
    """From 0 to 1, at random: the last digits of a request's id are, and nobody knows them before."""
    return int(call.id[-8:], 16) / 16**8
