"""Eval record: what evals have found as routing goes by it, from rows or files, with the suites as they are now."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from evals.cardfiles import CardFiles
from evals.scorecards import ScorecardStore
from evals.shelf import Looked, Shelf
from farthing.routing import Demotion, Scorecard
from gateway.adminview import Problem
from gateway.settings import EvalSettings

REASON: Final = "evals"
_LOG: Final = logging.getLogger("farthing.evals")


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRecord:
    """The standing cards of all tasks and the newest demotions."""

    scorecards: tuple[Scorecard, ...] = ()
    demotions: tuple[Demotion, ...] = ()


class EvalRecord:
    """The evidence of one worker. `settings` are those of now; what they name may change under it.

    While the file of the results cannot be read, what was read of it last goes on to count.
    """

    def __init__(self, store: ScorecardStore, settings: Callable[[], EvalSettings]) -> None:
        self._store, self._settings = store, settings
        self._files: CardFiles | None = None
        self._shelf: Shelf | None = None
        self.looked = Looked()
        self._looks = self._version = 0
        self._known = OnRecord()
        self._unreadable = ""

    def version(self) -> Hashable:
        """Something that is another whenever the evidence is; a few microseconds, with files some more."""
        files = self._card_files()
        try:
            self._version, self._unreadable = self._store.version(), ""
        except sqlite3.Error as error:
            self._miss(error)
        return self._version, files.version() if files else (), self._looks

    def now(self) -> OnRecord:
        """The evidence now."""
        files = self._card_files()
        try:
            cards = files.latest() if files else self._store.latest()
            self._known = OnRecord(scorecards=cards, demotions=self._store.demotions())
        except sqlite3.Error as error:
            self._miss(error)
        return self._known

    def _miss(self, error: sqlite3.Error) -> None:
        """Say, in the log once, that the results cannot be read."""
        if not self._unreadable:
            _LOG.error("the eval results cannot be read: %s", error)
        self._unreadable = f"the eval results cannot be read ({error}): routes go by what was read before"

    async def look(self) -> None:
        """See whether the suites on disk have changed, in a thread."""
        settings = self._settings()
        if self._shelf is None or not self._shelf.is_of(settings.suites, allow_code=settings.allow_code):
            self._shelf = Shelf(settings.suites, allow_code=settings.allow_code)
        looked = await asyncio.to_thread(self._shelf.look)
        if looked is not self.looked:
            self.looked = looked
            self._looks += 1

    def problems(self) -> list[Problem]:
        """Suites and scorecards that cannot be used; routing goes on with what was valid before."""
        unreadable = [self._unreadable] if self._unreadable else []
        found = [*unreadable, *self.looked.problems, *(self._files.problems if self._files else ())]
        return [Problem(reason=REASON, detail=detail, blocking=False) for detail in found]

    def _card_files(self) -> CardFiles | None:
        directory = self._settings().scorecards_dir
        if directory is None:
            self._files = None
        elif self._files is None or self._files.directory != directory:
            self._files = CardFiles(directory)
        return self._files
