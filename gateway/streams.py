"""Streams: the end of a streamed request, with its bytes, its books and its place in the cache."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from cache.assemble import assembler
from cache.storable import storable
from farthing.call import Call
from farthing.errors import FarthingError, MoneyError
from farthing.record import Outcome
from farthing.usage import UsageSource
from farthing.value import changed
from gateway.books import Page
from gateway.cachedesk import Lookup
from gateway.drains import Drains, Pump
from gateway.forward import Forwarded, asks_usage_for_us
from gateway.reading import CHARACTERS_PER_TOKEN, parse_answer
from gateway.relay import Relay
from gateway.settlement import Settlement

CLIENT_GONE: Final = 499
"""The status on the books of a request whose client left (as nginx writes it); nobody receives it."""


class StreamEnding:
    """What follows the head of a stream. Settled on every way out: at the end of the stream, before its last byte is
    confirmed to the client; else when the door closes the answer."""

    def __init__(
        self,
        call: Call,
        forwarded: Forwarded,
        settlement: Settlement,
        lookup: Lookup,
        page: Page,
        drains: Drains | None,
    ) -> None:
        self._call = call
        self._response = Pump(forwarded.response, drains) if drains else forwarded.response
        self._settlement = settlement
        self._lookup = lookup
        self._page = page
        self._assembler = assembler(call.endpoint, choices=call.choices)
        self._relay = Relay(
            self._response,
            call.endpoint,
            hide_usage=asks_usage_for_us(call),
            witness=self._assembler,
            read_usage=settlement.read,
            clock=settlement.clock,
            allowance=settlement.allowance,
        )
        self._drains = drains
        self._settled = self._left_early = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """The client's bytes."""
        async for data in self._relay.chunks():
            yield data
        await self._settle(None)

    async def close(self, error: BaseException | None) -> None:
        """Stop the upstream, settle what was delivered, let the followers go; or go on without the client."""
        if not (self._goes_on(error) and self._drains is not None and self._drains.drain(self._drain())):
            await self._end(error)

    def _goes_on(self, error: BaseException | None) -> bool:
        return isinstance(error, asyncio.CancelledError) and not self._settled and self._relay.failure is None

    async def _drain(self) -> None:
        """Read on to the end for the books and the cache, for as long as an answer may take."""
        self._left_early = not self._relay.complete
        settlement = self._settlement
        try:
            async with asyncio.timeout(settlement.deployment.provider.timeouts.total - settlement.seconds):
                async for _ in self._relay.chunks():
                    pass
        except TimeoutError:
            pass  # what has come is settled
        finally:
            await self._end(None)

    async def _end(self, error: BaseException | None) -> None:
        try:
            await self._settle(error)
        finally:
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
        self._charge()
        outcome, status, code = self._how_it_ended(error)
        await page.close(outcome, status, code)
        if relay.complete:
            await self._store()

    def _charge(self) -> None:
        """By the provider's figure where it covers all that was delivered, else by what was delivered."""
        usage, delivered = self._relay.usage, self._delivered_tokens()
        if usage is None:
            self._settlement.estimate(delivered)
        elif self._relay.usage_is_last or usage.output_total >= delivered:
            self._settlement.charge(usage)
        else:
            missing = delivered - usage.output_total
            self._settlement.charge(changed(usage, output=usage.output + missing, source=UsageSource.ESTIMATED))

    def _delivered_tokens(self) -> int:
        """Providers send about a token a delta; where they send more, the text tells."""
        return max(self._assembler.output_deltas, -(-self._assembler.output_chars // CHARACTERS_PER_TOKEN))

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
            await self._lookup.store(self._page.stored(body), storable(self._call.endpoint, parsed))
