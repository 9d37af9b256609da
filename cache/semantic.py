"""The semantic cache: the answer of an earlier question that means the same, or nothing; and what it learns of it.

Eligible, embedded, near within the scope, alive, unvetoed, likely enough for the budget of wrong answers, and kept by
the same key or admitted. All that touches rows and index runs in one thread of its own, off the event loop.
"""

import asyncio
import logging
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar, TypeVarTuple

from cache.answers import answer_text
from cache.deciding import Arbiter, Candidate, Rule, Scorer
from cache.domains import Calibrations, Domain, Domains, domain_of
from cache.eligibility import eligible
from cache.finding import NOTHING, Finding, Near, Pair, Referee, SemanticCounts, SemanticRules
from cache.grading import Grader
from cache.prompts import last_turn
from cache.rows import Sample, SemanticStore
from cache.shelf import Question, Shelf, Vector
from farthing.answer import Hit, StoredAnswer
from farthing.call import Call
from farthing.money import ZERO, Nano
from farthing.ports import Clock, Embedder, VectorIndex
from farthing.record import CacheOutcome

_LOG: Final = logging.getLogger(__name__)
_RECENT: Final = 512  # vectors kept between a miss and the storing of its answer: 0.8 MB
_NS: Final = 1_000_000_000
_FLUSH_EVERY_NS: Final = 5 * _NS
_GRADINGS: Final = 8
"""Misses graded at one time; each may take two texts to embed."""

_Asked = TypeVarTuple("_Asked")
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """What tells right answers from wrong ones."""

    scorer: Scorer
    calibrations: Calibrations
    grader: Grader


class SemanticCache:
    """Finds and keeps answers by meaning, within one scope (`cache.key.semantic_scope`). Never raises.

    `deadline_s` bounds a find, embedding included; later is a miss. A scope keeps its newest `max_entries` rows;
    `max_vectors` of all scopes are loaded at a time (1.5 kB each). The embedder stays the caller's to close.
    """

    def __init__(
        self,
        rows: SemanticStore,
        index: VectorIndex,
        embedder: Embedder,
        clock: Clock,
        *,
        learning: Learning,
        deadline_s: float = 0.05,
        max_entries: int = 50_000,
        max_vectors: int = 100_000,
    ) -> None:
        self._arbiter = Arbiter(learning.scorer)
        self.counts = SemanticCounts(vetoes=self._arbiter.vetoes)
        self._shelf = Shelf(rows, index, dimension=embedder.dimension, max_entries=max_entries, max_vectors=max_vectors)
        self._rows = rows
        self._domains = Domains(rows, learning.calibrations)
        self._grader = learning.grader
        self._embedder = embedder
        self._clock = clock
        self._deadline_s = deadline_s
        self._version = f"{embedder.version}|{learning.scorer.version}"
        self._recent: OrderedDict[str, Vector] = OrderedDict()
        self._sums: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(int))
        self._flushed_ns = self._grading = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="semantic-cache")

    async def find(self, call: Call, scope: bytes, rules: SemanticRules, *, max_age_s: int | None = None) -> Finding:
        """The answer to serve, if there is one."""
        self.counts.finds += 1
        try:
            text = self._matched(call)
            if text is None:
                return NOTHING
            async with asyncio.timeout(self._deadline_s):
                question = await self._question(call, scope, text)
                return await self._in_thread(self._look_up, call, question, rules, max_age_s)
        except TimeoutError:
            self.counts.late += 1
        except Exception as error:  # noqa: BLE001 - caches fail open
            self._failed("find", error)
        return NOTHING

    async def add(self, call: Call, scope: bytes, answer: StoredAnswer, *, ttl_s: int) -> None:
        """Keep an answer under the question of the call for `ttl_s` seconds, if the call is eligible."""
        if ttl_s <= 0 or call.cache_control.no_store:
            return
        try:
            text = self._matched(call)
            if text is not None:
                question = await self._question(call, scope, text)
                await self._in_thread(self._put, question, answer, ttl_s)
        except Exception as error:  # noqa: BLE001 - caches fail open
            self._failed("add", error)

    async def grade(
        self,
        near: Near,
        fresh: StoredAnswer | None,
        *,
        served: bool = False,
        share: float = 1.0,
        cost: Nano = ZERO,
        referee: Referee | None = None,
    ) -> None:
        """Learn from a fresh answer (None: it failed) to what was asked near a kept question.

        `served`: the kept one had been served, and `share` of such are asked anew, at `cost` nano-dollars. `referee`
        is asked where the grader cannot tell.
        """
        if self._grading >= _GRADINGS and not served:
            return  # the others teach as well, and lookups wait for the same embedder
        self._grading += 1
        try:
            pair = None if fresh is None else await self._in_thread(self._pair, near, fresh)
            spent, same = ZERO, None
            if pair is not None:
                same = await self._grader.same(pair.question_a, pair.answer_a, pair.question_b, pair.answer_b)
                if same is None and referee is not None:
                    same, spent = await referee(pair)
            await self._in_thread(
                self._learn, near, same, served, 1 / share, {"shadow_cost": cost, "judge_cost": spent}
            )
        except Exception as error:  # noqa: BLE001 - caches fail open
            self._failed("grade", error)
        finally:
            self._grading -= 1

    async def flush(self) -> None:
        """Write down what was counted."""
        await self._in_thread(self._flush, self._clock.wall_ns())

    async def close(self) -> None:
        """Finish what runs, write down what was learned, and let go of the rows."""
        try:
            await self._in_thread(self._save)
        except Exception as error:  # noqa: BLE001 - there is nobody to tell but the log
            self._failed("close", error)
        await asyncio.to_thread(self._thread.shutdown)
        self._shelf.close()

    def _matched(self, call: Call) -> str | None:
        if reason := eligible(call):
            self.counts.ineligible[reason] += 1
            return None
        turn = last_turn(call.endpoint, call.body)
        return None if turn is None else turn.text

    async def _question(self, call: Call, scope: bytes, text: str) -> Question:
        vector = self._recent.get(text)
        if vector is None:
            vector = (await self._embedder.embed([text]))[0]
            self._recent[text] = vector
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        return Question(scope=scope, text=text, principal=call.tags.key_id, vector=vector, now_ns=self._clock.wall_ns())

    async def _in_thread(self, work: Callable[[*_Asked], _Found], *args: *_Asked) -> _Found:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    def _failed(self, what: str, error: Exception) -> None:
        self.counts.errors += 1
        if self.counts.errors.bit_count() == 1:  # the 1st, 2nd, 4th, 8th … failure: a dead disk is no flood
            name, times = type(error).__name__, self.counts.errors
            _LOG.warning("semantic cache: %s failed (%s), %d failures so far", what, name, times)

    # --- in the thread ---------------------------------------------------------------------------

    def _look_up(self, call: Call, question: Question, rules: SemanticRules, max_age_s: int | None) -> Finding:
        self._flush_now_and_then(question.now_ns)
        neighbours = self._shelf.near(question, rules.floor)
        self.counts.below += not neighbours
        domain = self._domain(call, rules, question.now_ns)
        decision = self._arbiter.decide(question, neighbours, domain)
        served, best = decision.served, decision.best
        self._note_request(domain, best)
        if served is not None:
            answer = self._shelf.answer(question.scope, served.row)
            if answer is not None and _young(answer, question.now_ns, max_age_s):
                self._note_hit(domain, served, answer)
                hit = Hit(kind=CacheOutcome.SEMANTIC, answer=answer, score=served.score)
                return Finding(hit, _near(call, question, rules, served, domain))
        teaches = best is not None and best.teaches
        return Finding(None, _near(call, question, rules, best, domain) if best is not None and teaches else None)

    def _domain(self, call: Call, rules: SemanticRules, now_ns: int) -> Domain:
        return self._domains.get(domain_of(call, self._version), call.tags.feature, rules.max_wrong, now_ns)

    def _note_request(self, domain: Domain, best: Candidate | None) -> None:
        self._sums[domain.feature]["requests"] += 1
        if domain.note_request(best.p if best else 0.0, would=best is not None and best.would):
            self._domains.save(domain)

    def _note_hit(self, domain: Domain, served: Candidate, answer: StoredAnswer) -> None:
        self.counts.hits += 1
        sums = self._sums[domain.feature]
        sums["hits"] += 1
        sums["conservative_hits"] += served.rule is Rule.CONSERVATIVE
        sums["saved"] += answer.cost

    def _put(self, question: Question, answer: StoredAnswer, ttl_s: int) -> None:
        self._shelf.put(question, answer, ttl_s)
        self.counts.stored += 1

    def _pair(self, near: Near, fresh: StoredAnswer) -> Pair | None:
        """What is to be compared; None where the kept answer is gone, or either says nothing in words."""
        row = self._shelf.row(near.scope, near.row_id, self._clock.wall_ns())
        kept = None if row is None else self._shelf.answer(near.scope, row)
        if row is None or kept is None:
            return None
        said = answer_text(near.call.endpoint, kept), answer_text(near.call.endpoint, fresh)
        if said[0] is None or said[1] is None:
            return None
        return Pair(call=near.call, question_a=row.prompt, answer_a=said[0], question_b=near.text, answer_b=said[1])

    def _learn(self, near: Near, same: bool | None, served: bool, weight: float, costs: Mapping[str, Nano]) -> None:
        sums = self._sums[near.call.tags.feature]
        for name, cost in costs.items():
            sums[name] += cost
        if same is None:
            sums["undecided"] += 1
            return
        now_ns = self._clock.wall_ns()
        domain = self._domain(near.call, near.rules, now_ns)
        sample = Sample(entry=near.row_id, score=near.score, same=same, weight=weight, served=served, would=near.would)
        self._domains.keep(domain, sample, now_ns)
        self._note_grade(domain, sample)
        if same:
            self._admit(near, now_ns)
        elif near.would:  # one wrong answer is enough: it is taken away for everybody
            self._shelf.delete(near.scope, [near.row_id])
            sums["evicted"] += 1

    def _admit(self, near: Near, now_ns: int) -> None:
        """A second key was given the same answer to the same question: from now on the row serves all."""
        row = self._shelf.row(near.scope, near.row_id, now_ns)
        if near.would and row is not None and not row.serves(near.call.tags.key_id):
            self._shelf.admit(row.id)
            self._sums[near.call.tags.feature]["admitted"] += 1

    def _note_grade(self, domain: Domain, sample: Sample) -> None:
        sums = self._sums[domain.feature]
        if not sample.served:
            sums["graded_misses"] += 1
            return
        sums["graded"] += 1
        sums["wrong"] += not sample.same
        sums["weight"] += sample.weight
        sums["squares"] += sample.weight**2
        sums["wrong_weight"] += 0 if sample.same else sample.weight

    def _flush_now_and_then(self, now_ns: int) -> None:
        if abs(now_ns - self._flushed_ns) >= _FLUSH_EVERY_NS:
            self._flush(now_ns)

    def _flush(self, now_ns: int) -> None:
        self._flushed_ns = now_ns
        for feature in list(self._sums):
            self._rows.tally(feature, self._sums[feature])
            del self._sums[feature]

    def _save(self) -> None:
        self._flush(self._clock.wall_ns())
        self._domains.save_all()


def _near(call: Call, question: Question, rules: SemanticRules, candidate: Candidate, domain: Domain) -> Near:
    return Near(
        call=call,
        scope=question.scope,
        text=question.text,
        rules=rules,
        row_id=candidate.row.id,
        score=candidate.score,
        rule=candidate.rule,
        would=candidate.would,
        young=domain.young,
    )


def _young(answer: StoredAnswer, now_ns: int, max_age_s: int | None) -> bool:
    return max_age_s is None or now_ns - answer.stored_ns <= max_age_s * _NS
