"""Followers: calls that read the stream of an identical call along, each with a record of its own, at no cost."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import orjson

from cache.feeds import Segment, TooSlow
from farthing.answer import Hit
from farthing.call import Call
from farthing.errors import UpstreamBroken
from farthing.ports import Clock
from farthing.record import CacheOutcome, Outcome
from gateway.books import Page
from gateway.cachedesk import Following
from gateway.streams import CLIENT_GONE, TOO_SLOW


class FollowEnding:
    """A follower's stream: what the leader has got so far, then the rest as it comes, under an id of its own."""

    def __init__(self, call: Call, following: Following, page: Page, clock: Clock) -> None:
        self._call = call
        self._feed, self._flight = following
        self._page = page
        self._clock = clock
        self._renamed: tuple[bytes, bytes] | None = None
        self._has_all = self._settled = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """The client's bytes."""
        at = 0
        try:
            while segments := await self._feed.after(at):
                at += len(segments)
                if self._page.first_byte_seconds is None:
                    self._page.first_byte_seconds = self._clock.monotonic() - self._page.request.started
                yield self._own(segments)
            self._has_all = True
        except TooSlow:
            yield self._feed.last_words(UpstreamBroken(TOO_SLOW))
        await self._settle()

    async def close(self, error: BaseException | None) -> None:
        """Follow no more, and write the record; the stream goes on for the others."""
        del error
        self._flight.leave()
        await self._settle()

    def _own(self, segments: Sequence[Segment]) -> bytes:
        data = b"".join([one.data for one in segments if self._call.wants_usage or not one.is_usage])
        if self._renamed is None:
            self._renamed = renaming(data, self._call.id)
        return data.replace(*self._renamed) if self._renamed else data

    async def _settle(self) -> None:
        if self._settled:
            return
        self._settled = True
        feed, page = self._feed, self._page
        if not self._has_all:
            await page.close(Outcome.ABORTED, CLIENT_GONE, "client_gone")
        elif feed.failure is not None:
            await page.close(Outcome.UPSTREAM_ERROR, *feed.failure)
        else:
            page.know_hit(Hit(kind=CacheOutcome.COALESCED, answer=feed.summary or feed.about))
            await page.close(Outcome.HIT, 200)


def renaming(data: bytes, new_id: str) -> tuple[bytes, bytes] | None:
    """What stands for the id of the stream that begins with these frames, and for the new one; None where no frame
    tells it yet. A text in quotes is a whole JSON text: within one the quotes would be escaped. A response that the
    provider keeps keeps its id, as in a replay."""
    for line in data.split(b"\n"):
        if line.startswith(b"data:"):
            try:
                event = orjson.loads(line[5:])
            except orjson.JSONDecodeError:
                continue
            told = _identity(event)
            if told is not None:
                old = b'"%b"' % told
                return old, old if _is_kept_there(event) else b'"%b"' % new_id.encode()
    return None


def _identity(event: Any) -> bytes | None:
    holder = event.get("response", event) if isinstance(event, dict) else None
    name = holder.get("id") if isinstance(holder, dict) else None
    return name.encode() if isinstance(name, str) and name and name.isascii() and name.isprintable() else None


def _is_kept_there(event: Mapping[str, Any]) -> bool:
    response = event.get("response")
    return isinstance(response, dict) and response.get("store") is True
