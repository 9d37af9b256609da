"""Streams: the end of a streamed request, with its bytes, its books and its place in the cache."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from cache.assemble import assembler
from cache.feeds import Segment, TooSlow
from cache.storable import storable
from farthing.call import Call
from farthing.catalog import HangUp
from farthing.errors import FarthingError, MoneyError, UpstreamBroken, UpstreamError
from farthing.ports import UpstreamResponse
from farthing.record import Outcome
from farthing.usage import Usage, UsageSource
from farthing.value import changed
from gateway.books import Page
from gateway.cachedesk import Lookup
from gateway.drains import Drains, Pump
from gateway.forward import Forwarded, asks_usage_for_us
from gateway.reading import parse_answer
from gateway.relay import Relay
from gateway.settlement import Settlement
from gateway.tokens import by_length

GRACE_S: Final = 0.5
TOO_SLOW: Final = "The stream was read so slowly that its next part is gone: send the call again."
STOPPED: Final = "The call whose answer this one shared was stopped: send it again."
CLIENT_GONE: Final = 499
"""The status on the books of a request whose client left (as nginx writes it); nobody receives it."""


class StreamEnding:
    """What follows the head of a stream. Settled on every way out: at the end of the stream, before its last byte is
    confirmed to the client; else when the door closes the answer.

    Where others follow the stream, a task of its own reads it for all, so that neither a client that reads slowly nor
    one that leaves holds them up; so it is where the client has left and its feature wants the end. The stream is
    never read by two at a time.
    """

    def __init__(
        self,
        call: Call,
        forwarded: Forwarded,
        settlement: Settlement,
        lookup: Lookup,
        page: Page,
        drains: Drains,
        on_hang_up: HangUp,
    ) -> None:
        self._call = call
        self._settlement = settlement
        self._lookup = lookup
        self._page = page
        self._drains = drains
        self._is_kept = on_hang_up is HangUp.DRAIN
        self._assembler = assembler(call.endpoint, choices=call.choices)
        self._feed = lookup.broadcast(page.stored(b""), self._last_words, self._audience_changed)
        self._response = self._lasting(forwarded)
        self._hides_usage = asks_usage_for_us(call)
        self._relay = Relay(
            self._response,
            call.endpoint,
            hide_usage=self._hides_usage,
            witness=self._assembler,
            read_usage=settlement.read,
            clock=settlement.clock,
            allowance=settlement.allowance,
            tell=self._tell if self._feed is not None else None,
        )
        self._reader: asyncio.Task[None] | None = None
        self._is_read = self._settled = self._has_left = self._left_early = False

    def _lasting(self, forwarded: Forwarded) -> UpstreamResponse:
        """The response, such that another may read on where one was cancelled."""
        response = forwarded.response
        may_change = self._is_kept or self._feed is not None
        lasts = getattr(response, "lasts", False) and self._settlement.allowance is None
        return Pump(response, self._drains) if may_change and not lasts else response

    async def chunks(self) -> AsyncIterator[bytes]:
        """The client's bytes."""
        at, self._is_read = 0, True
        stream = self._relay.chunks()
        if self._reader is None:
            async for data in stream:
                self._is_read = False
                at = self._feed.count if self._feed is not None else 0
                self._audience_changed()
                yield data
                if self._reader is not None:
                    break
                self._is_read = True
        if self._reader is None:
            await self._settle(None)
            return
        await stream.aclose()
        async for data in self._read_along(self._reader, at):
            yield data

    async def _read_along(self, reader: "asyncio.Task[None]", at: int) -> AsyncIterator[bytes]:
        """The rest, as others get it, too."""
        assert self._feed is not None
        try:
            while segments := await self._feed.after(at):
                at += len(segments)
                kept = [one.data for one in segments if not (one.for_others or (one.is_usage and self._hides_usage))]
                if data := b"".join(kept):
                    yield data
        except TooSlow:
            yield self._relay.last_words(UpstreamBroken(TOO_SLOW))
        await asyncio.wait((reader,))
        relay = self._relay
        if relay.farewell or not (relay.complete or relay.failure):
            yield relay.farewell or relay.last_words(UpstreamBroken(STOPPED))

    async def close(self, error: BaseException | None) -> None:
        """Stop the upstream, settle what was delivered, let the followers go; or go on without the client."""
        self._has_left = True
        if self._reader is not None:
            self._left_early = self._left_early or not self._relay.complete
            self._audience_changed()
            return
        if not (self._goes_on(error) and self._go_on()):
            await self._end(error)

    def _goes_on(self, error: BaseException | None) -> bool:
        return (
            isinstance(error, asyncio.CancelledError)
            and not self._settled
            and self._relay.failure is None
            and self._is_wanted
        )

    @property
    def _is_wanted(self) -> bool:
        return not self._has_left or self._is_kept or self._lookup.followers > 0

    def _go_on(self) -> bool:
        self._left_early = not self._relay.complete
        work = self._read_on()
        # A stream with followers goes on for somebody.
        self._reader = self._drains.start(work) if self._lookup.followers else self._drains.drain(work)
        return self._reader is not None

    def _audience_changed(self) -> None:
        """Somebody follows, or nobody does any more."""
        if self._reader is None:
            if self._lookup.followers and not (self._is_read or self._has_left or self._settled):
                self._reader = self._drains.start(self._read_on())
        elif not (self._is_wanted or self._settled):
            self._reader.cancel()

    async def _read_on(self) -> None:
        """Read on to the end for the followers, the books and the cache, for as long as an answer may take."""
        settlement = self._settlement
        try:
            # The wire keeps the time, too, and says what was wrong; so it is asked first.
            seconds = settlement.deployment.provider.timeouts.total - settlement.seconds + GRACE_S
            async with asyncio.timeout(seconds):
                async for _ in self._relay.chunks():
                    await asyncio.sleep(0)  # whoever reads along takes it before the next: a burst makes nobody slow
        except TimeoutError:
            pass  # what has come is settled
        finally:
            await self._end(None)

    # --- what followers get ----------------------------------------------------------------------

    def _tell(self, data: bytes, *, is_usage: bool = False) -> None:
        feed = self._feed
        assert feed is not None
        if self._relay.failure is not None and not feed.count:
            return  # those who have nothing yet go alone
        feed.publish(Segment(data, is_usage))
        if feed.count == 1:
            self._lookup.begin()

    def _last_words(self, error: Exception) -> bytes:
        return self._relay.last_words(error if isinstance(error, FarthingError) else FarthingError())

    def _end_feed(self) -> None:
        """Tell the followers how it ended. What the leader may spend is not their concern: they get another error."""
        feed, failure = self._feed, self._relay.failure
        if feed is None or feed.ended:
            return
        feed.summary = self._page.stored(b"")
        if not self._relay.complete:
            shared = failure if isinstance(failure, UpstreamError) else UpstreamBroken(STOPPED)
            feed.failure = shared.status, shared.code
            told = self._relay.farewell if shared is failure else self._relay.last_words(shared)
            if told and feed.count:
                feed.publish(Segment(told, for_others=True))
        feed.end()

    # --- the end ---------------------------------------------------------------------------------

    async def _end(self, error: BaseException | None) -> None:
        if not self._relay.complete:
            self._lookup.close()  # whoever comes now goes alone
        try:
            await self._settle(error)
        finally:
            self._end_feed()
            self._lookup.close()
            await self._response.close()

    async def _settle(self, error: BaseException | None) -> None:
        if self._settled:
            return
        self._settled = True
        relay, page = self._relay, self._page
        if relay.first_byte is not None:
            page.first_byte_seconds = relay.first_byte - page.request.started
        page.finish_reason = self._assembler.finish_reason
        await self._charge()
        outcome, status, code = self._how_it_ended(error)
        await page.close(outcome, status, code)
        self._end_feed()
        if relay.complete:
            await self._store()

    async def _charge(self) -> None:
        """By the provider's figure where it covers all that was delivered, else by what was delivered."""
        usage, settlement = self._relay.usage, self._settlement
        if usage is None:
            await settlement.estimate(await self._delivered())
        elif self._relay.usage_is_last or (missing := await self._uncounted(usage)) <= 0:
            settlement.charge(usage)
        else:
            settlement.charge(changed(usage, output=usage.output + missing, source=UsageSource.ESTIMATED))

    async def _delivered(self) -> int:
        """Tokens by the tokenizer; but a provider sends one at least with each piece, whatever its own tokenizer is."""
        made = self._assembler
        texts = made.texts()
        unkept = made.output_chars - sum(map(len, texts))
        return max(await self._settlement.count(texts) + by_length(max(unkept, 0)), made.output_deltas)

    async def _uncounted(self, usage: Usage) -> int:
        """Tokens that were delivered after the provider had told this. One that counts as it goes may count otherwise
        than we do: there are none where it has counted a token for every piece that it sent."""
        if usage.output_total >= self._assembler.output_deltas:
            return 0
        return await self._delivered() - usage.output_total

    def _how_it_ended(self, error: BaseException | None) -> tuple[Outcome, int, str]:
        failure = self._relay.failure
        if isinstance(failure, MoneyError):
            return Outcome.ABORTED, failure.status, failure.code
        if failure is not None:
            return Outcome.UPSTREAM_ERROR, failure.status, failure.code
        if self._relay.complete and not self._left_early:
            return Outcome.SUCCESS, 200, ""
        if isinstance(error, FarthingError):
            return Outcome.GATEWAY_ERROR, error.status, error.code
        return Outcome.ABORTED, CLIENT_GONE, "client_gone"

    async def _store(self) -> None:
        body = self._assembler.body()
        parsed = parse_answer(body) if body is not None else None
        if body is not None and parsed is not None:
            await self._lookup.store(
                self._page.stored(body, self._settlement.seconds), storable(self._call.endpoint, parsed)
            )
            if self._page.observer is not None:
                self._page.observer(parsed)
