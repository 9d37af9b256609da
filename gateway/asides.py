"""Asides: calls that the gateway makes on its own account, to know how often its caches and its routing are wrong.

They are booked to the feature `farthing-shadow`, whose budget stops them; without that feature there are none.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import orjson

from cache.storable import Storable, storable
from farthing.answer import StoredAnswer
from farthing.call import CacheControl, Call
from farthing.money import ZERO, Nano
from farthing.ports import Clock
from farthing.tags import MOST_TAG, SHADOW
from farthing.value import changed
from gateway.answer import Answer
from gateway.books import Page
from gateway.destination import Destination
from gateway.ids import new_request_id
from gateway.reading import parse_answer
from gateway.request import Request
from gateway.runtime import Runtime

PER_MINUTE: Final = 60
AT_ONCE: Final = 4
SHADOWING: Final = "shadow"
JUDGING: Final = "judge"
EMBEDDING: Final = "embed"
CANDIDATE: Final = "candidate"
GRADING: Final = "live"
"""What calls are for."""
OF_CACHES: Final = frozenset({SHADOWING, JUDGING, EMBEDDING})
"""Purposes whose cost a cache bears; that of any other one is what it costs to find out which tier is good enough."""
_PAUSE_S: Final = 60.0
"""After a refusal, which is the budget's more often than not."""
_NO_STREAM: Final = ("stream", "stream_options")
_UNSAID: Final = CacheControl(no_store=True)

Serve = Callable[[Call, Destination, int, Page, Runtime], Awaitable[Answer]]


def aside_task(purpose: str, feature: str) -> str:
    """The task of a call of the gateway's own, such as `shadow:search`."""
    return f"{purpose}:{feature}"[:MOST_TAG]


def feature_of(task: str) -> str:
    """The feature in such a task, empty where there is none."""
    return task.partition(":")[2]


class Aside(NamedTuple):
    """What came of a call: an answer worth keeping, or None; and what it cost, nano-dollars."""

    answer: StoredAnswer | None
    cost: Nano


NOTHING: Final = Aside(None, ZERO)


class Asides:
    """At most `per_minute` calls a minute and `at_once` at a time, of one worker; what is beyond that is not made."""

    def __init__(self, serve: Serve, clock: Clock, *, per_minute: int = PER_MINUTE, at_once: int = AT_ONCE) -> None:
        self._serve = serve
        self._clock = clock
        self._at_once = at_once
        self._running = 0
        self._begun: deque[float] = deque(maxlen=per_minute)
        self._paused_until = 0.0

    def may(self, runtime: Runtime) -> bool:
        """True where a call would be made now."""
        if SHADOW not in runtime.generation.catalog.features or self._running >= self._at_once:
            return False
        now = self._clock.monotonic()
        full = len(self._begun) == self._begun.maxlen and now - self._begun[0] < 60
        return not full and now >= self._paused_until

    async def ask(
        self,
        call: Call,
        destination: Destination,
        cap: int,
        runtime: Runtime,
        *,
        least: Storable = Storable.SEMANTIC,
    ) -> Aside:
        """Send a call of which `aside_of` made it, if one may be sent; its answer must be worth keeping for `least`."""
        if not self.may(runtime):
            return NOTHING
        self._begun.append(self._clock.monotonic())
        self._running += 1
        try:
            return await self._ask(call, destination, cap, runtime, least)
        finally:
            self._running -= 1

    async def _ask(self, call: Call, destination: Destination, cap: int, runtime: Runtime, least: Storable) -> Aside:
        page = open_page(call, runtime)
        answer = await self._serve(call, destination, cap, page, runtime)
        if answer.status != 200:
            self._paused_until = self._clock.monotonic() + _PAUSE_S
            return Aside(None, page.total_cost)
        parsed = parse_answer(answer.body)
        worth = parsed is not None and storable(call.endpoint, parsed) >= least
        return Aside(page.stored(answer.body) if worth else None, page.total_cost)


def open_page(call: Call, runtime: Runtime) -> Page:
    """The page of a call of the gateway's own, which no request has brought."""
    request = Request(
        id=call.id, endpoint=call.endpoint, body=call.raw, received_ns=call.received_ns, started=call.started
    )
    return runtime.books.open(request)


def aside_of(call: Call, body: dict[str, Any], clock: Clock, purpose: str) -> Call:
    """A plain call of the gateway's own in place of a client's, of the same tenant, with another body. Its task is what
    it is for, and the feature of that call: whose cache is to bear its cost."""
    said = {name: value for name, value in body.items() if name not in _NO_STREAM}
    now_ns, raw = clock.wall_ns(), orjson.dumps(said)
    tags = changed(
        call.tags, key_id=SHADOW, feature=SHADOW, task=aside_task(purpose, call.tags.feature), run="", team=""
    )
    return changed(
        call,
        id=new_request_id(now_ns),
        tags=tags,
        model=str(said["model"]),
        stream=False,
        wants_usage=False,
        raw=raw,
        body=said,
        received_ns=now_ns,
        started=clock.monotonic(),
        input_bound=len(raw),
        cache_control=_UNSAID,
    )
