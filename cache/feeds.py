"""Feeds: one stream, read by many while it comes, each at its own pace."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final, NamedTuple

from farthing.answer import StoredAnswer

WINDOW_BYTES: Final = 512 * 1024
"""What a feed keeps of its stream: for those who come late, and for those who read slowly."""


class Segment(NamedTuple):
    """Whole frames of a stream. `is_usage`: the chunk that only some asked for. `for_others`: not for the leader."""

    data: bytes
    is_usage: bool = False
    for_others: bool = False


class TooSlow(Exception):
    """The reader is so far behind that what it would read next is gone."""


class Feed:
    """What a leader's stream has brought so far, at most `window_bytes` of it. Belongs to one event loop.

    `about` says who answers. Before `end`, the leader leaves in `summary` what the stream cost, and in `failure` the
    status and code with which it failed. `last_words` makes the frame that tells an error to a reader.
    """

    def __init__(
        self, about: StoredAnswer, last_words: Callable[[Exception], bytes], *, window_bytes: int = WINDOW_BYTES
    ) -> None:
        self.about = about
        self.last_words = last_words
        self.summary: StoredAnswer | None = None
        self.failure: tuple[int, str] | None = None
        self.count = 0
        """Segments published so far."""
        self.ended = False
        self._kept: deque[Segment] = deque()
        self._bytes = 0
        self._window_bytes = window_bytes
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def is_whole(self) -> bool:
        """True where it still has its beginning, so that one may join."""
        return 0 < self.count == len(self._kept)

    def publish(self, segment: Segment) -> None:
        """Give more to all readers; what no longer fits in the window goes."""
        self._kept.append(segment)
        self.count += 1
        self._bytes += len(segment.data)
        while self._bytes > self._window_bytes and len(self._kept) > 1:
            self._bytes -= len(self._kept.popleft().data)
        if self._waiting:
            self._wake()

    def end(self) -> None:
        """No more will come."""
        self.ended = True
        self._wake()

    async def after(self, at: int) -> Sequence[Segment]:
        """All segments from number `at` on, waiting for one where there is none yet; none at all is the end.

        Raises TooSlow.
        """
        while at >= self.count:
            if self.ended:
                return ()
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting
        new = self.count - at
        if new > len(self._kept):
            raise TooSlow
        return [*islice(reversed(self._kept), new)][::-1]

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)
