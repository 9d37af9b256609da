"""Prefix evidence: how often prefixes come again while a provider keeps them, and whether to have it keep them pays."""

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

KEPT_S: Final = 300.0
"""How long providers keep a prefix that nobody reads: five minutes is the shortest that any of them promises."""
_MEMORY: Final = 200
"""Prefixes after which what was seen before counts half."""
_Z: Final = 1.96  # of the two-sided 95 % interval


class Seen:
    """The prefixes of the last minutes, `most` of them; the least recent are forgotten first."""

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def came_again(self, digest: bytes, earlier: tuple[bytes, ...], now: float) -> bool:
        """Whether this prefix, or one of those that it goes on from, would be kept at `now` (monotonic seconds) had
        each been; from now on this one is."""
        known = (digest, *reversed(earlier))
        found = next((one for one in known if self._until.get(one, 0.0) > now), None)
        if found is not None:
            self._note(found, now)  # a read begins the time anew
        self._note(digest, now)
        return found is not None

    def _note(self, digest: bytes, now: float) -> None:
        self._until[digest] = now + KEPT_S
        self._until.move_to_end(digest)
        if len(self._until) > self._most:
            self._until.popitem(last=False)

    def __len__(self) -> int:
        return len(self._until)


@dataclass(slots=True)
class Evidence:
    """How many prefixes of one kind came again, of all. Older ones weigh less."""

    again: float = 0.0
    all: float = 0.0

    def note(self, *, again: bool) -> None:
        """One more."""
        if self.all >= _MEMORY:
            self.again, self.all = self.again / 2, self.all / 2
        self.all += 1
        self.again += again

    @property
    def floor(self) -> float:
        """The share that comes again, as the lower end of its Wilson interval at 95 %: nothing without evidence."""
        n, z2 = self.all, _Z * _Z
        if not n:
            return 0.0
        p = self.again / n
        low = p + z2 / (2 * n) - _Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        return max(low / (1 + z2 / n), 0.0)


def pays(evidence: Evidence, *, uncached: int, read: int, write: int) -> bool:
    """Whether a prefix should be kept, at these rates of a token (of one unit, whichever).

    A prefix that comes again with probability p costs (1 - p) write + p read a token if it is kept, else uncached. So
    it pays above p = (write - uncached) / (write - read): 0.217 where writing costs 1.25 and reading 0.1 times as much,
    which is 0.28 reads for each write. Where writing costs nothing more, something must have come again.
    """
    if read >= uncached:
        return False
    return evidence.floor > max((write - uncached) / (write - read), 0.0)
