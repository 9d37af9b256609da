"""Flights: many calls for one key at one time share a single call upstream."""

import asyncio
from types import TracebackType
from typing import Self

from farthing.answer import StoredAnswer


class Flight:
    """One caller's place in a shared upstream call: the first one leads, the others follow.

    Whoever leads lands, also on failure; leaving the `with` block of a leader lands it without an answer.
    """

    __slots__ = ("_flights", "_key", "_landing", "leads")

    def __init__(
        self, flights: "Flights", key: bytes, landing: asyncio.Future[StoredAnswer | None], leads: bool
    ) -> None:
        self._flights = flights
        self._key = key
        self._landing = landing
        self.leads = leads

    async def landed(self, timeout_s: float) -> StoredAnswer | None:
        """The leader's answer; None if there is none to share or it took longer than `timeout_s` seconds.

        The caller then goes alone. A follower that leaves disturbs nobody.
        """
        await asyncio.wait((self._landing,), timeout=timeout_s)
        return self._landing.result() if self._landing.done() else None

    def land(self, answer: StoredAnswer | None) -> None:
        """Give the answer, or None for a failure, to all who wait; only a leader's first call counts."""
        if self.leads and not self._landing.done():
            self._flights.end(self._key)
            self._landing.set_result(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.land(None)


class Flights:
    """The flights in the air, by exact key. Belongs to one event loop."""

    def __init__(self) -> None:
        self._landings: dict[bytes, asyncio.Future[StoredAnswer | None]] = {}

    def join(self, key: bytes) -> Flight:
        """Lead a new flight, or follow the one that is in the air."""
        landing = self._landings.get(key)
        if landing is not None:
            return Flight(self, key, landing, leads=False)
        landing = self._landings[key] = asyncio.get_running_loop().create_future()
        return Flight(self, key, landing, leads=True)

    def end(self, key: bytes) -> None:
        """The next to join leads anew."""
        self._landings.pop(key, None)

    def __len__(self) -> int:
        return len(self._landings)
