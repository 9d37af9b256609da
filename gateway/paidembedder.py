"""Paid embedder: the semantic cache's questions turned into vectors by a model of a provider, on the books.

Each call upstream is booked to the feature `farthing-cache`, whose budget stops it, with the tenant and environment of
those who asked, and their feature in its task: texts of two of any of these never share one.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from cache.embedders.pooled import EmbedderAway, EmbedderBusy, EmbedderClosed
from cache.embeddings import BASE64, read_answer, shares, weights
from farthing.call import CacheControl, Call, Endpoint
from farthing.catalog import Deployment
from farthing.money import Nano
from farthing.ports import Clock, Payer
from farthing.tags import CACHE, Tags
from gateway.asides import EMBEDDING, Serve, aside_task, open_page
from gateway.destination import HONOURED, Destination
from gateway.ids import new_request_id
from gateway.reading import parse_answer
from gateway.runtime import Runtime
from gateway.settings import EmbedderSettings

MAX_BATCH: Final = 32
"""Texts of one call."""
AT_ONCE: Final = 4
"""Calls at a time, of one worker; what is asked for meanwhile goes together into the next ones."""
PAUSE_S: Final = 30.0
"""After a failure: nobody waits for the deadline again and again while a provider is away."""
LATE_IN_A_ROW: Final = 3
_KEPT: Final = 512
"""Vectors whose askers did not wait for them: they are asked for again when the answer is kept."""
_CLOSED: Final = "the embedder was closed"
_LOG: Final = logging.getLogger("farthing")

Vectors = NDArray[np.float32]
Start = Callable[[Coroutine[Any, Any, None]], object]


class _Purse(NamedTuple):
    """Who pays: calls are made for one of these at a time."""

    tenant: str
    environment: str
    feature: str


@dataclass(slots=True, eq=False)
class _Wanted:
    text: str
    payer: Payer
    vector: "asyncio.Future[Vectors]"
    waiting: int = 0


class PaidEmbedder:
    """Port `Embedder` over `settings.place`; `serve` is `gateway.pipeline.serve_aside`, `start` runs a task that is
    waited for at the end.

    At most `max_queue` texts wait. Who does not wait for a text any more still gets it for nothing later, if it was
    sent. Where all calls under way are older than `patience_s` seconds (what a lookup waits), no lookup queues behind
    them: EmbedderBusy. After a call that failed, or three in a row that a lookup gave up on, nothing is queued for half
    a minute: EmbedderAway. `current` are the settings of now: a reload may bring another key.
    """

    def __init__(
        self,
        settings: EmbedderSettings,
        serve: Serve,
        clock: Clock,
        start: Start,
        *,
        runtime: Callable[[], Runtime],
        current: Callable[[], EmbedderSettings | None],
        max_queue: int,
        patience_s: float,
    ) -> None:
        self._settings, self._current = settings, current
        self._serve, self._clock, self._start, self._runtime = serve, clock, start, runtime
        self._max_queue, self._patience_s = max_queue, patience_s
        self._queues: OrderedDict[_Purse, deque[_Wanted]] = OrderedDict()
        self._wanted: dict[tuple[_Purse, str], _Wanted] = {}
        self._kept: OrderedDict[tuple[_Purse, str], _Wanted] = OrderedDict()
        self._sent_at: list[float] = []  # monotonic seconds of the calls under way, oldest first
        self._late = 0
        self._away_until = 0.0
        self._why = ""
        self._closed = False

    @property
    def version(self) -> str:
        """See the port."""
        return self._settings.version

    @property
    def dimension(self) -> int:
        """See the port."""
        return self._settings.dimension

    @property
    def queued(self) -> int:
        """Texts that wait for a call."""
        return sum(len(queue) for queue in self._queues.values())

    async def embed(self, texts: Sequence[str], payer: Payer | None = None, /) -> Vectors:
        """See the port. Raises ValueError where nobody pays."""
        if payer is None:
            raise ValueError("a provider's embeddings cost money: say who pays")
        purse = _Purse(payer.tags.tenant, payer.tags.environment, payer.tags.feature)
        asked = [self._ask(purse, text, payer) for text in texts]
        for wanted in asked:
            wanted.waiting += 1
        try:
            self._send_batches()  # all of them are queued by now, and share a call
            rows = [await asyncio.shield(wanted.vector) for wanted in asked]
        finally:
            for wanted in asked:
                wanted.waiting -= 1
        return np.stack(rows) if rows else np.empty((0, self.dimension), np.float32)

    async def aclose(self) -> None:
        """Refuse what waits; the calls under way belong to whoever `start` gave them to."""
        self._closed = True
        self._queues.clear()
        for wanted in self._wanted.values():
            _settle(wanted, EmbedderClosed(_CLOSED))
        self._wanted.clear()

    # --- the queue -------------------------------------------------------------------------------

    def _ask(self, purse: _Purse, text: str, payer: Payer) -> _Wanted:
        wanted = self._wanted.get((purse, text)) or self._kept.get((purse, text))
        if wanted is None:
            self._check_room(payer)
            wanted = _Wanted(text, payer, asyncio.get_running_loop().create_future())
            self._wanted[purse, text] = wanted
            self._queues.setdefault(purse, deque()).append(wanted)
        return wanted

    def _check_room(self, payer: Payer) -> None:
        if self._closed:
            raise EmbedderClosed(_CLOSED)
        now = self._clock.monotonic()
        if now < self._away_until:
            raise EmbedderAway(self._why)
        if len(self._sent_at) < AT_ONCE:
            return
        stuck = payer.waits and now - self._sent_at[-1] > self._patience_s
        if stuck or self.queued >= self._max_queue:
            raise EmbedderBusy(self.queued, self._max_queue)

    def _send_batches(self) -> None:
        while self._queues and len(self._sent_at) < AT_ONCE:
            purse, queue = self._queues.popitem(last=False)  # tenants take turns
            if batch := self._next_batch(purse, queue):
                sent_at = self._clock.monotonic()
                self._sent_at.append(sent_at)
                self._start(self._run(purse, batch, sent_at))
            if queue:
                self._queues[purse] = queue

    def _next_batch(self, purse: _Purse, queue: deque[_Wanted]) -> list[_Wanted]:
        batch: list[_Wanted] = []
        while queue and len(batch) < MAX_BATCH:
            wanted = queue.popleft()
            if wanted.waiting:
                batch.append(wanted)
            else:  # all who asked have left: it costs nothing
                del self._wanted[purse, wanted.text]
        return batch

    # --- one call --------------------------------------------------------------------------------

    async def _run(self, purse: _Purse, batch: Sequence[_Wanted], sent_at: float) -> None:
        try:
            vectors = await self._vectors(purse, batch)
            self._note_time(self._clock.monotonic() - sent_at, batch)
            self._hand_out(purse, batch, list(vectors))
        except EmbedderAway as error:
            self._rest(str(error))
            self._hand_out(purse, batch, [error] * len(batch))
        except BaseException as error:
            is_end = isinstance(error, asyncio.CancelledError)
            gone = EmbedderClosed(_CLOSED) if is_end else EmbedderAway(f"a call failed ({type(error).__name__})")
            self._hand_out(purse, batch, [gone] * len(batch))
            raise
        finally:
            self._sent_at.remove(sent_at)
            self._send_batches()

    async def _vectors(self, purse: _Purse, batch: Sequence[_Wanted]) -> Vectors:
        """Unit vectors of the batch, whose cost is told to those who pay. Raises EmbedderAway."""
        runtime, texts = self._runtime(), [wanted.text for wanted in batch]
        call = self._call(purse, texts)
        page = open_page(call, runtime)
        answer = await self._serve(call, _destination(self._place), 0, page, runtime)
        for wanted, cost in zip(batch, shares(page.total_cost, weights(texts)), strict=True):
            wanted.payer.spent(Nano(cost))
        if answer.status != 200:
            raise EmbedderAway(f"a call was answered with status {answer.status}")
        found = read_answer(parse_answer(answer.body) or {}, len(texts))
        if found is None or len(found.vectors[0]) != 4 * self.dimension:
            raise EmbedderAway(f"an answer had no vector of {self.dimension} numbers for each text")
        return _unit(np.frombuffer(b"".join(found.vectors), "<f4").reshape(len(texts), -1))

    @property
    def _place(self) -> Deployment:
        current = self._current()
        is_same = current is not None and current.version == self.version
        return current.place if current is not None and is_same else self._settings.place

    def _call(self, purse: _Purse, texts: Sequence[str]) -> Call:
        place, now_ns = self._place, self._clock.wall_ns()
        body: dict[str, Any] = {"model": place.model, "input": texts}
        if self._settings.shorten:
            body["dimensions"] = self.dimension
        if place.provider.quirks.base64_embeddings:
            body["encoding_format"] = BASE64
        raw = orjson.dumps(body)
        return Call(
            id=new_request_id(now_ns),
            endpoint=Endpoint.EMBEDDINGS,
            tags=Tags(
                tenant=purse.tenant,
                key_id=CACHE,
                feature=CACHE,
                task=aside_task(EMBEDDING, purse.feature),
                environment=purse.environment,
            ),
            model=place.model,
            stream=False,
            wants_usage=False,
            raw=raw,
            body=body,
            received_ns=now_ns,
            started=self._clock.monotonic(),
            input_bound=len(raw),
            output_cap=0,
            cache_control=CacheControl(no_store=True),
        )

    def _hand_out(self, purse: _Purse, batch: Sequence[_Wanted], found: Sequence[Vectors | Exception]) -> None:
        for wanted, one in zip(batch, found, strict=True):
            self._wanted.pop((purse, wanted.text), None)
            _settle(wanted, one)
            if not wanted.waiting and not isinstance(one, Exception):
                self._kept[purse, wanted.text] = wanted
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    # --- when it does not pay to ask -------------------------------------------------------------

    def _note_time(self, seconds: float, batch: Sequence[_Wanted]) -> None:
        given_up = any(not wanted.waiting for wanted in batch)
        self._late = self._late + 1 if given_up and seconds > self._patience_s else 0
        if self._late >= LATE_IN_A_ROW:
            self._rest(f"calls take longer than cache.semantic.deadline ({self._patience_s:g} s)")

    def _rest(self, why: str) -> None:
        self._late = 0
        self._away_until, self._why = self._clock.monotonic() + PAUSE_S, why
        _LOG.warning("semantic cache: %s embeds nothing for %d s: %s", self._settings.place.id, PAUSE_S, why)


def _settle(wanted: _Wanted, found: Vectors | Exception) -> None:
    if wanted.vector.done():
        return
    if isinstance(found, Exception):
        wanted.vector.set_exception(found)
        wanted.vector.exception()  # where nobody waits any more, nobody is to be told
    else:
        wanted.vector.set_result(found)


def _unit(vectors: Vectors) -> Vectors:
    """Raises EmbedderAway for a vector of zeros, which has no direction."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not lengths.all():
        raise EmbedderAway("an answer had a vector of zeros")
    unit: Vectors = (vectors / lengths).astype(np.float32)
    return unit


def _destination(place: Deployment) -> Destination:
    return Destination(
        tier="",
        deployments=(place,),
        policy=HONOURED,
        reason="the semantic cache's embedder",
        reference_tier="",
        partition=CACHE,
    )
