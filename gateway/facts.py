"""Facts: what policies look at that changes between two generations, as one worker knows it."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf
from typing import Final

from farthing.ports import Clock
from farthing.record import Outcome, Record
from farthing.routing import Latency, LiveEvidence

WINDOW: Final = 500
"""Calls of a tier that its percentiles are taken from, the latest."""
WINDOW_S: Final = 600.0
"""Calls before that say nothing of now: so a tier that was too slow, and is called no more, is tried again."""
REFRESH_S: Final = 5.0
P95: Final = 0.95

Evidence = Callable[[], tuple[LiveEvidence, ...]]
_Taken = tuple[float, float, float]
"""When an answer ended, in monotonic seconds; and what it took to the first byte and to the end."""


class Latencies:
    """A sliding window of each tier's answers: exact percentiles of the latest, in bounded memory, since tiers are
    declared."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._taken: dict[str, deque[_Taken]] = {}

    def note(self, record: Record) -> None:
        """Take up a finished call, if a model of a tier has answered it."""
        if record.outcome is not Outcome.SUCCESS or not record.tier or not record.attempts:
            return
        window = self._taken.get(record.tier)
        if window is None:
            window = self._taken[record.tier] = deque(maxlen=WINDOW)
        total_s = record.attempts[-1].seconds
        first_s = total_s if record.first_byte_seconds is None else min(record.first_byte_seconds, total_s)
        window.append((self._clock.monotonic(), first_s, total_s))

    def now(self) -> tuple[Latency, ...]:
        """The percentiles of the calls that count."""
        oldest = self._clock.monotonic() - WINDOW_S
        for window in self._taken.values():
            while window and window[0][0] < oldest:
                window.popleft()
        return tuple(_latency(tier, window) for tier, window in self._taken.items() if window)


def _latency(tier: str, window: deque[_Taken]) -> Latency:
    first, total = sorted(one[1] for one in window), sorted(one[2] for one in window)
    place = ceil(P95 * len(window)) - 1
    return Latency(tier=tier, samples=len(window), first_byte_s=first[place], total_s=total[place])


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Latencies of all tiers and live evidence of all tasks, as of one moment."""

    latencies: tuple[Latency, ...] = ()
    evidence: tuple[LiveEvidence, ...] = ()


NO_FACTS: Final = Facts()


class FactDesk:
    """Gathers them; `now` is what policies go by, and the same value for as long as nothing changes. Latencies are
    gathered only while `needs_latencies`."""

    def __init__(self, clock: Clock, evidence: Evidence = tuple) -> None:
        self._clock = clock
        self._evidence = evidence
        self._latencies = Latencies(clock)
        self._fresh_until = -inf
        self.needs_latencies = False
        self.now = NO_FACTS

    def note(self, record: Record) -> None:
        """A call has ended."""
        if self.needs_latencies:
            self._latencies.note(record)

    def tick(self) -> None:
        """Refresh, every REFRESH_S."""
        time = self._clock.monotonic()
        if time >= self._fresh_until:
            self._fresh_until = time + REFRESH_S
            self.refresh()

    def refresh(self) -> None:
        """Take up what was learned since the last time."""
        latencies = self._latencies.now() if self.needs_latencies else ()
        found = Facts(latencies=latencies, evidence=self._evidence())
        if found != self.now:
            self.now = found
