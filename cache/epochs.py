"""Epochs: what was purged, and when, as a number that is part of every cache key.

A purge costs the same whatever it hits: it writes one row. From then on the calls that it names have other keys, in
every cache, and in the flights of this moment too; the entries under the old keys are never found again, and leave
as they expire. A call that began before a purge keeps its answer under the key of then.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, Protocol

from farthing.ports import Clock

_LOG: Final = logging.getLogger(__name__)
MOST: Final = 10_000
"""Purges that are told apart; the next one purges everything, which is more than was asked and never less."""
_STAMPS: Final = 4096
EVERYTHING: Final = "||"


class EpochRows(Protocol):
    """Numbers by name which all gateways of an installation share; they only grow.

    Whoever finds no number at all writes the present one for EVERYTHING first: where the rows are lost, with them is
    the knowledge what was purged.
    """

    async def newer(self, than: int) -> Sequence[tuple[str, int]]:
        """The names whose number is greater than this, with it."""

    async def advance(self, name: str, at_us: int) -> int:
        """Give the name a number greater than all there are, `at_us` (wall microseconds) if that is; returns it."""

    async def close(self) -> None:
        """Let go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """Answers to be served no more: of a tenant, a feature, a cache tag, or of all of these together. What is empty
    is not looked at; `Purge()` is everything."""

    tenant: str = ""
    feature: str = ""
    tag: str = ""

    @property
    def name(self) -> str:
        """As the rows have it; no tag holds a bar."""
        return f"{self.tenant}|{self.feature}|{self.tag}"

    def __str__(self) -> str:
        given = {"tenant": self.tenant, "feature": self.feature, "tag": self.tag}
        return " ".join(f"{name}={value}" for name, value in given.items() if value) or "everything"


class Epochs:
    """The purges as this process knows them; `refresh` once a second. `errors` counts refreshes that failed: then
    what is known goes on to hold."""

    def __init__(self, rows: EpochRows, clock: Clock) -> None:
        self.errors = 0
        self._rows = rows
        self._clock = clock
        self._newest = 0
        self._numbers: dict[str, int] = {}
        self._stamps: dict[tuple[str, str, tuple[str, ...]], str] = {}

    def stamp(self, tenant: str, feature: str, tags: tuple[str, ...]) -> str:
        """What the keys of such a call have to hold: another text after each purge that names it. Calls with other
        cache tags have other keys, for a purge by tag must find all that was kept under it."""
        asked = tenant, feature, tags
        stamp = self._stamps.get(asked)
        if stamp is None:
            names = map("|".join, product((tenant, ""), (feature, ""), (*tags, "")))
            number = max(self._numbers.get(name, 0) for name in names)
            if len(self._stamps) >= _STAMPS:
                self._stamps.clear()
            stamp = self._stamps[asked] = ",".join((str(number), *tags))
        return stamp

    async def refresh(self) -> None:
        """Take up what was purged elsewhere."""
        try:
            if rows := await self._rows.newer(self._newest):
                self._newest = max(number for _, number in rows)
                self._learn(rows)
        except Exception as error:  # noqa: BLE001 - caches fail open
            self.errors += 1
            if self.errors.bit_count() == 1:
                _LOG.warning("cache purges: not read (%s), %d failures so far", type(error).__name__, self.errors)

    async def purge(self, what: Purge) -> Purge:
        """Serve these answers no more, here at once, elsewhere after the next refresh; returns what was purged.

        Raises what the rows raise: then nothing was purged.
        """
        await self.refresh()
        if len(self._numbers) >= MOST and what.name not in self._numbers:
            what = Purge()
        number = await self._rows.advance(what.name, self._clock.wall_ns() // 1000)
        self._learn([(what.name, number)])  # not `newest`: somebody's purge of a moment ago may have a lower number
        return what

    async def close(self) -> None:
        """Let go of the rows."""
        await self._rows.close()

    @property
    def purges(self) -> int:
        """How many names have a number."""
        return len(self._numbers)

    def _learn(self, rows: Sequence[tuple[str, int]]) -> None:
        self._numbers.update(rows)
        everything = self._numbers.get(EVERYTHING, 0)
        self._numbers = {name: number for name, number in self._numbers.items() if number >= everything}
        self._stamps.clear()
