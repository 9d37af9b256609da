"""Flights: many calls for one key at one time share a single call upstream."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from cache.feeds import Feed
from farthing.answer import StoredAnswer


class _Course:
    """What leader and followers share. A future is made only where somebody waits: most flights have no follower."""

    __slots__ = ("answer", "departed", "feed", "followers", "landed", "on_change", "waiting")

    def __init__(self) -> None:
        self.landed = self.departed = False
        self.answer: StoredAnswer | None = None
        self.feed: Feed | None = None
        self.followers = 0
        self.on_change: Callable[[], None] | None = None
        self.waiting: list[asyncio.Future[None]] = []

    def wake(self) -> None:
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    def count(self, change: int) -> None:
        self.followers += change
        if self.on_change is not None:
            self.on_change()


class Flight:
    """One caller's place in a shared upstream call: the first one leads, the others follow.

    Whoever leads lands, also on failure; leaving the `with` block of a leader lands it without an answer. A follower
    counts from `landed` or `joined` until that ends, or, with a feed, until it leaves.
    """

    __slots__ = ("_course", "_flights", "_follows", "_key", "leads")

    def __init__(self, flights: "Flights", key: bytes, course: _Course, leads: bool) -> None:
        self._flights = flights
        self._key = key
        self._course = course
        self._follows = False
        self.leads = leads

    # --- followers -------------------------------------------------------------------------------

    async def landed(self, timeout_s: float) -> StoredAnswer | None:
        """The leader's answer; None if there is none to share or it took longer than `timeout_s` seconds.

        The caller then goes alone. A follower that leaves disturbs nobody.
        """
        course = self._course
        self._follow()
        try:
            async with asyncio.timeout(timeout_s):
                while not course.landed:
                    await self._news()
        except TimeoutError:
            pass
        finally:
            self.leave()
        return course.answer

    async def joined(self, timeout_s: float) -> Feed | None:
        """The leader's stream, once it has begun; the caller follows until it leaves. None where there is none to
        share, or it took longer than `timeout_s` seconds: `landed` tells whether there is an answer."""
        course = self._course
        self._follow()
        try:
            async with asyncio.timeout(timeout_s):
                while not course.landed and (course.feed is None or not course.feed.count):
                    await self._news()
        except TimeoutError:
            pass
        except BaseException:
            self.leave()
            raise
        if course.feed is not None and course.feed.is_whole:
            return course.feed
        self.leave()
        return None

    @property
    def was_called_off(self) -> bool:
        """True where the leader landed before anything was sent upstream: one of those who waited may lead."""
        return self._course.landed and not self._course.departed

    def leave(self) -> None:
        """Follow no more; idempotent."""
        if self._follows:
            self._follows = False
            self._course.count(-1)

    def _follow(self) -> None:
        if not (self._follows or self._course.landed):
            self._follows = True
            self._course.count(1)

    async def _news(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._course.waiting.append(waiting)
        await waiting

    # --- the leader ------------------------------------------------------------------------------

    @property
    def followers(self) -> int:
        """How many wait for this flight, or read its stream."""
        return self._course.followers

    def depart(self) -> None:
        """The call is about to be sent upstream."""
        self._course.departed = True

    def broadcast(self, feed: Feed, on_change: Callable[[], None]) -> None:
        """Have followers read along; `on_change` is called when one comes or leaves."""
        self._course.feed, self._course.on_change = feed, on_change

    def begin(self) -> None:
        """The stream has its first segment."""
        self._course.wake()

    def land(self, answer: StoredAnswer | None) -> None:
        """Give the answer, or None for a failure, to all who wait; only a leader's first call counts."""
        course = self._course
        if not self.leads or course.landed:
            return
        course.landed, course.answer = True, answer
        self._flights.end(self._key)
        course.wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.land(None)


class Flights:
    """The flights in the air, by exact key. Belongs to one event loop."""

    def __init__(self) -> None:
        self._courses: dict[bytes, _Course] = {}

    def join(self, key: bytes) -> Flight:
        """Lead a new flight, or follow the one that is in the air."""
        course = self._courses.get(key)
        if course is not None:
            return Flight(self, key, course, leads=False)
        course = self._courses[key] = _Course()
        return Flight(self, key, course, leads=True)

    def follow(self, key: bytes) -> Flight | None:
        """Follow the flight that is in the air, if there is one."""
        course = self._courses.get(key)
        return None if course is None else Flight(self, key, course, leads=False)

    def end(self, key: bytes) -> None:
        """The next to join leads anew."""
        self._courses.pop(key, None)

    def __len__(self) -> int:
        return len(self._courses)
