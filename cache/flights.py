"""Flights: many calls for one key at one time share a single call upstream."""

import asyncio
from types import TracebackType
from typing import Self

from farthing.answer import StoredAnswer


class _Course:
    """What leader and followers share. The future is made only where somebody waits: most flights have no follower."""

    __slots__ = ("answer", "landed", "waiting")

    def __init__(self) -> None:
        self.landed = False
        self.answer: StoredAnswer | None = None
        self.waiting: asyncio.Future[None] | None = None


class Flight:
    """One caller's place in a shared upstream call: the first one leads, the others follow.

    Whoever leads lands, also on failure; leaving the `with` block of a leader lands it without an answer.
    """

    __slots__ = ("_course", "_flights", "_key", "leads")

    def __init__(self, flights: "Flights", key: bytes, course: _Course, leads: bool) -> None:
        self._flights = flights
        self._key = key
        self._course = course
        self.leads = leads

    async def landed(self, timeout_s: float) -> StoredAnswer | None:
        """The leader's answer; None if there is none to share or it took longer than `timeout_s` seconds.

        The caller then goes alone. A follower that leaves disturbs nobody.
        """
        course = self._course
        if not course.landed:
            if course.waiting is None:
                course.waiting = asyncio.get_running_loop().create_future()
            await asyncio.wait((course.waiting,), timeout=timeout_s)
        return course.answer

    def land(self, answer: StoredAnswer | None) -> None:
        """Give the answer, or None for a failure, to all who wait; only a leader's first call counts."""
        course = self._course
        if not self.leads or course.landed:
            return
        course.landed, course.answer = True, answer
        self._flights.end(self._key)
        if course.waiting is not None:
            course.waiting.set_result(None)

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

    def end(self, key: bytes) -> None:
        """The next to join leads anew."""
        self._courses.pop(key, None)

    def __len__(self) -> int:
        return len(self._courses)
