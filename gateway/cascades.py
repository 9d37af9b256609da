"""Cascades: a cheap answer is looked at as a whole, then given, or replaced by that of a better tier."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from cache.replay import stream as replay_stream
from cache.storable import storable
from farthing.answer import StoredAnswer
from farthing.call import Call
from farthing.errors import MoneyError, UpstreamBroken, UpstreamError, UpstreamTimeout
from farthing.record import Outcome
from farthing.routing import Route
from farthing.value import changed
from gateway.answer import Answer
from gateway.books import Page
from gateway.cachedesk import Lookup
from gateway.holds import Holds
from gateway.jsonbody import with_changes
from gateway.reading import parse_answer
from gateway.replies import EVENT_STREAM, JSON, explain, read_plain, read_whole
from gateway.runtime import Runtime
from gateway.settlement import Settlement
from router_policies.checks import FAULTS, fault_of

NO_ANSWER: Final = "error"
"""What is noted where the first tier gave none."""
CHECKS: Final = (*FAULTS, NO_ANSWER)


class Escalated(NamedTuple):
    """The call as it goes on to the tier that its page names now, and who prices it there."""

    call: Call
    settlement: Settlement


class _Got(NamedTuple):
    """A whole answer of the first tier, charged."""

    status: int
    raw: bytes
    parsed: Mapping[str, Any]


def plain_call(call: Call) -> Call:
    """The same call for an answer that comes as a whole."""
    if not call.stream:
        return call
    said: dict[str, Any] = {"stream": False}
    if "stream_options" in call.body:
        said["stream_options"] = None
    return changed(call, stream=False, wants_usage=False, raw=with_changes(call.raw, said), body={**call.body, **said})


class Cascade:
    """The first step of a call, which is plain here (see `plain_call`) and held. Its page knows the call as the client
    sent it, and a route with a `then`."""

    def __init__(
        self, call: Call, cap: int, settlement: Settlement, lookup: Lookup, page: Page, runtime: Runtime
    ) -> None:
        assert page.call is not None
        assert page.route is not None
        assert page.route.then is not None
        self._call, self._asked, self._cap = call, page.call, cap
        self._route, self._then = page.route, page.route.then
        self._settlement, self._lookup, self._page, self._runtime = settlement, lookup, page, runtime

    async def first(self) -> Answer | Escalated:
        """The answer of the first tier where it passes its check, or where no better one can be paid for; else the call
        for the next. Raises MoneyError where there is nothing to give and no money for more, InvalidParameter."""
        page = self._page
        got = await self._ask()
        page.meter = None  # what this one has cost is on the page
        if got is not None and page.observer is not None:
            page.observer(got.parsed)
        fault = self._fault(got)
        if not fault and got is not None:
            return await self._give(got, "")
        if page.is_unheard:
            raise asyncio.CancelledError
        try:
            holds = Holds(self._settlement.pricing, self._runtime.outputs)
            call, then = await holds.hold_next(page, self._asked, self._then, self._cap)
        except MoneyError:
            if got is None:
                raise
            page.refused_by = ""
            return await self._give(got, fault)
        return self._escalate(call, then, fault)

    async def _ask(self) -> _Got | None:
        """The answer of the first tier, None where none came. What it billed is on the page in any case."""
        settlement, page = self._settlement, self._page
        try:
            forwarded = await self._runtime.forwarder.send(
                self._call, self._route, self._cap, page.attempts, settlement
            )
            settlement.begin(forwarded)
            response = forwarded.response
            if response.status >= 400:
                body = await read_whole(response)
                settlement.charge_stated(parse_answer(body) or {})
                return None
            raw, parsed = await read_plain(forwarded, settlement, page)
        except UpstreamTimeout:
            await settlement.presume()
        except UpstreamBroken:
            await settlement.estimate(0)
        except UpstreamError:
            pass  # nothing was sent, or a refusal broke off that told of nothing billed
        else:
            return _Got(response.status, raw, parsed)
        return None

    def _fault(self, got: _Got | None) -> str:
        if got is None:
            return NO_ANSWER
        assert self._route.check is not None
        fault = fault_of(self._route.check, self._asked.body, got.parsed)
        return fault or ("" if not self._asked.stream or self._frames(got) else "shape")

    def _frames(self, got: _Got) -> list[bytes]:
        """The answer as the stream that it might have come as; none where it cannot be told as one."""
        stored = self._page.stored(got.raw)
        try:
            return replay_stream(
                self._asked.endpoint,
                stored,
                new_id=self._asked.id,
                created=self._asked.received_ns // 1_000_000_000,
                include_usage=self._asked.wants_usage,
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return []

    async def _give(self, got: _Got, fault: str) -> Answer:
        """Give the answer. One with a fault is marked, and kept nowhere."""
        page, asked = self._page, self._asked
        page.failed_check = fault
        page.route = changed(self._route, then=None, reason=self._told(fault))
        stored: StoredAnswer = page.stored(got.raw, self._settlement.seconds)
        page.first_byte_seconds = self._runtime.clock.monotonic() - page.request.started
        frames = self._frames(got) if asked.stream else []
        await page.close(Outcome.SUCCESS, got.status)
        if not fault:
            await self._lookup.store(stored, storable(asked.endpoint, got.parsed))
        if frames:
            headers = [EVENT_STREAM, (b"cache-control", b"no-cache"), *explain(page, with_cost=False)]
            return Answer(200, headers, b"".join(frames))
        return Answer(got.status, [JSON, *explain(page, with_cost=True)], got.raw)

    def _told(self, fault: str) -> str:
        tier = self._page.tier
        if not fault:
            return f"cascade: {tier} answered first, and passed its check"
        return f"cascade: {tier} failed its check ({fault}), and {self._then.tier} cannot be paid for"

    def _escalate(self, call: Call, then: Route, fault: str) -> Escalated:
        page, tier = self._page, self._page.tier
        what = "gave no answer" if fault == NO_ANSWER else f"failed its check ({fault})"
        page.set_aside(f"check_{fault}")
        page.route = changed(then, reason=f"cascade: {tier} {what}, escalated to {then.tier}")
        page.tier = then.tier
        settlement = self._settlement.again(call)
        page.meter = settlement.open(then.deployments[0], self._cap)
        self._runtime.on_escalated(page.tags.task, tier, fault)
        return Escalated(call, settlement)
