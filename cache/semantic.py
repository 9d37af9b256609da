"""The semantic cache: the answer of an earlier question that means the same, or nothing; and what it learns of it.

Eligible, embedded, near within the scope, alive, unvetoed, likely enough for the budget of wrong answers, and kept by
the same key or admitted. All that touches rows and index runs in one thread of its own, off the event loop.
"""

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar, TypeVarTuple

from cache.deciding import Scorer
from cache.domains import Calibrations
from cache.eligibility import eligible
from cache.embedders.pooled import EmbedderAway, EmbedderBusy
from cache.finding import NOTHING, Finding, Near, Pair, Referee, Ruling, SemanticRules
from cache.grading import Grader
from cache.prompts import last_turn
from cache.rows import Nearby, RowsAway, SemanticStore
from cache.semantic_work import SemanticWork
from cache.shelf import Question, Shelf, Vector
from farthing.answer import StoredAnswer
from farthing.call import Call
from farthing.money import ZERO, Nano
from farthing.ports import Clock, Embedder, Payer

_LOG: Final = logging.getLogger(__name__)
_RECENT: Final = 512  # vectors kept between a miss and the storing of its answer: 0.8 MB
_FILLED: Final = 4096
"""Scopes that had entries lately, so that nobody has to look whether they have."""
_GRADINGS: Final = 8
"""Misses graded at one time; each may take two texts to embed."""

_Asked = TypeVarTuple("_Asked")
_Found = TypeVar("_Found")


class WrongVector(Exception):
    """The embedder gave a vector of another length than it said: what is kept cannot be compared with it."""

    def __init__(self, length: int, embedder: Embedder) -> None:
        super().__init__(
            f"the embedder {embedder.version} gave a vector of {length} numbers in place of {embedder.dimension}: does "
            "another model answer under its name? Restart the gateway"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """What tells right answers from wrong ones."""

    scorer: Scorer
    calibrations: Calibrations
    grader: Grader


class SemanticCache:
    """Finds and keeps answers by meaning, within one scope (`cache.key.semantic_scope`). Never raises.

    `deadline_s` bounds a find, embedding included; later is a miss. A scope keeps its newest `max_entries` rows.
    The embedder stays the caller's to close.
    """

    def __init__(
        self,
        rows: SemanticStore,
        nearby: Nearby,
        embedder: Embedder,
        clock: Clock,
        *,
        learning: Learning,
        deadline_s: float = 0.05,
        max_entries: int = 50_000,
    ) -> None:
        shelf = Shelf(rows, nearby, max_entries=max_entries)
        self._nearby = nearby
        self._work = SemanticWork(rows, shelf, learning.scorer, learning.calibrations, clock, embedder.version)
        self.counts = self._work.counts
        self._grader = learning.grader
        self._embedder = embedder
        self._clock = clock
        self._deadline_s = deadline_s
        self._recent: OrderedDict[tuple[str, str], Vector] = OrderedDict()
        self._filled: OrderedDict[bytes, None] = OrderedDict()
        self._skipped: Counter[tuple[str, str]] = Counter()
        self._telling: Future[None] | None = None
        self._grading = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="semantic-cache")

    async def find(self, call: Call, scope: bytes, rules: SemanticRules, *, max_age_s: int | None = None) -> Finding:
        """The answer to serve, if there is one."""
        self.counts.finds += 1
        try:
            text = self._matched(call)
            if text is None:
                return NOTHING
            if not self._nearby.ready():  # before anything is spent on an embedding
                raise RowsAway
            until = self._clock.monotonic() + self._deadline_s
            async with asyncio.timeout(self._deadline_s):
                if await self._is_empty(call, scope, rules):
                    found = NOTHING
                else:
                    question = await self._question(call, scope, text, waits=True)
                    found = await self._in_thread(self._work.look_up, call, question, rules, max_age_s, until)
            if self._work.due:
                self._thread.submit(self._work.save_due)
            return found
        except TimeoutError:
            self.counts.late += 1
            self._skip(call, "lookup_late")
        except EmbedderBusy:
            self.counts.busy += 1
            self._skip(call, "lookup_busy")
        except (EmbedderAway, RowsAway):
            self.counts.away += 1
            self._skip(call, "lookup_away")
        except Exception as error:  # noqa: BLE001 - caches fail open
            self._failed("find", error)
            self._skip(call, "lookup_failed")
        return NOTHING

    async def add(
        self,
        call: Call,
        scope: bytes,
        answer: StoredAnswer,
        *,
        ttl_s: int,
        near: Near | None = None,
        referee: Referee | None = None,
    ) -> None:
        """Keep an answer under the question of the call for `ttl_s` seconds, if the call is eligible; and learn from it
        what its lookup found `near`, which was not served. `referee` is asked where the grader cannot tell."""
        if call.cache_control.no_store or not self._nearby.ready():
            return
        try:
            # Before it is kept: it may replace what it is to be compared with.
            pair = await self._in_thread(self._work.pair, near, answer) if near is not None else None
            text = self._matched(call) if ttl_s > 0 else None
            kept = None
            if text is not None:
                question = await self._question(call, scope, text, waits=False)
                kept = await self._in_thread(self._work.put, question, answer, ttl_s)
                self._note_filled(scope)
            if near is not None and self._grading < _GRADINGS:  # others teach as well, and use the same embedder
                same, spent = await self._same(pair, referee)
                await self._in_thread(self._work.learn, near, same, None, kept, {"judge_cost": spent})
        except EmbedderBusy:
            self.counts.busy += 1
            self._skip(call, "keeping_busy")
        except (EmbedderAway, RowsAway):
            self.counts.away += 1
            self._skip(call, "keeping_away")
        except Exception as error:  # noqa: BLE001 - caches fail open
            self._failed("add", error)
            self._skip(call, "keeping_failed")

    async def grade_hit(
        self, near: Near, fresh: StoredAnswer | None, *, cost: Nano, referee: Referee | None = None
    ) -> None:
        """Learn from a fresh answer (None: it failed) to what a hit has answered; it cost `cost` nano-dollars, and
        `near.share` of such are asked for."""
        try:
            pair = None if fresh is None else await self._in_thread(self._work.pair, near, fresh)
            same, spent = await self._same(pair, referee)
            costs = {"shadow_cost": cost, "judge_cost": spent}
            await self._in_thread(self._work.learn, near, same, near.share, None, costs)
        except Exception as error:  # noqa: BLE001 - caches fail open
            self._failed("grade", error)

    async def _same(self, pair: Pair | None, referee: Referee | None) -> Ruling:
        if pair is None:
            return Ruling(None, ZERO)
        self._grading += 1
        try:
            same = await self._grader.same(pair.question_a, pair.answer_a, pair.question_b, pair.answer_b)
            return Ruling(same, ZERO) if same is not None or referee is None else await referee(pair)
        finally:
            self._grading -= 1

    async def flush(self) -> None:
        """Write down what was counted."""
        self._tell_skipped()
        await self._in_thread(self._work.flush, self._clock.wall_ns())

    async def close(self) -> None:
        """Finish what runs, write down what was learned, and let go of the rows."""
        try:
            self._tell_skipped()
            await self._in_thread(self._work.save)
        except Exception as error:  # noqa: BLE001 - there is nobody to tell but the log
            self._failed("close", error)
        try:
            await self._in_thread(self._work.close)
        except Exception as error:  # noqa: BLE001 - the same
            self._failed("close", error)
        await asyncio.to_thread(self._thread.shutdown)

    def _matched(self, call: Call) -> str | None:
        if reason := eligible(call):
            self.counts.ineligible[reason] += 1
            return None
        turn = last_turn(call.endpoint, call.body)
        return None if turn is None else turn.text

    async def _is_empty(self, call: Call, scope: bytes, rules: SemanticRules) -> bool:
        """Nothing is embedded to look among nothing: the scope of a conversation is new with every turn, and embedding
        it to be kept can wait until it is answered."""
        if scope in self._filled:
            return False
        empty = await self._in_thread(self._work.find_none, call, scope, rules, self._clock.wall_ns())
        if not empty:
            self._note_filled(scope)
        return empty

    def _note_filled(self, scope: bytes) -> None:
        self._filled[scope] = None
        if len(self._filled) > _FILLED:
            self._filled.popitem(last=False)

    async def _question(self, call: Call, scope: bytes, text: str, *, waits: bool) -> Question:
        # By tenant: that another has asked the very same must not be told by how fast the answer comes.
        key = (call.tags.tenant, text)
        vector = self._recent.get(key)
        if vector is None:
            payer = Payer(call.tags, partial(self._note_embedded, call.tags.feature), waits)
            vector = (await self._embedder.embed([text], payer))[0]
            if len(vector) != self._embedder.dimension:
                raise WrongVector(len(vector), self._embedder)
            self._recent[key] = vector
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        return Question(scope=scope, text=text, principal=call.tags.key_id, vector=vector, now_ns=self._clock.wall_ns())

    async def _in_thread(self, work: Callable[[*_Asked], _Found], *args: *_Asked) -> _Found:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    def _note_embedded(self, feature: str, cost: Nano) -> None:
        with suppress(RuntimeError):  # it was closed meanwhile: the cost is on the books in any case
            self._thread.submit(self._work.note_embedded, feature, cost)

    def _skip(self, call: Call, name: str) -> None:
        self._skipped[call.tags.feature, name] += 1
        if self._telling is None or self._telling.done():  # one at a time, however long the thread is held up
            self._tell_skipped()

    def _tell_skipped(self) -> None:
        if self._skipped:
            skipped, self._skipped = self._skipped, Counter()
            with suppress(RuntimeError):  # it is closed
                self._telling = self._thread.submit(self._work.note_skipped, skipped)

    def _failed(self, what: str, error: Exception) -> None:
        self.counts.errors += 1
        if self.counts.errors.bit_count() == 1:  # the 1st, 2nd, 4th, 8th … failure: a dead disk is no flood
            name = str(error) if isinstance(error, WrongVector) else type(error).__name__
            _LOG.warning("semantic cache: %s failed (%s), %d failures so far", what, name, self.counts.errors)
