"""Retention: what is older than `ledger.retention` moves from the ledger to Parquet files, beside the calls."""

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from farthing.errors import ConfigError, FarthingError, LedgerUnavailable
from farthing.ports import Clock
from gateway.adminview import Problem
from gateway.exposition import Family, Kind, value_lines
from gateway.periods import NS, moment_of
from gateway.settings.values import LedgerSettings
from gateway.tasks import Background
from ledger.archive import BESIDE_CALLS, ArchiveBusy, archive, oldest_record
from ledger.archivefiles import need_arro3
from ledger.database import Database
from ledger.restore import kept_until

EVERY_S: Final = 3_600.0
"""Between the beginnings of two runs."""
PAUSE_S: Final = 0.02
"""After each transaction, so that those of the calls come first."""

OLDEST: Final = Family(
    name="farthing_ledger_oldest_record_age_seconds",
    kind=Kind.GAUGE,
    help="Age of the oldest record that is in the ledger and not in an archive.",
)
OK: Final = Family(
    name="farthing_ledger_retention_ok",
    kind=Kind.GAUGE,
    help="1 unless the last run of this worker that archives old records failed; only with ledger.retention.",
)
RETENTION_GAUGES: Final = (OLDEST, OK)

_LOG: Final = logging.getLogger("farthing.retention")


def check_retention(settings: LedgerSettings) -> None:
    """Raises ConfigError where records are to be archived and the package for it is missing."""
    if settings.retention_s is not None:
        try:
            need_arro3()
        except ConfigError as error:
            raise ConfigError(f"`ledger.retention` is set. {error.message}") from None


class Retention:
    """One worker's part in it: a run at the first `tick`, at one that finds other settings, and hourly, in a thread.

    Of all workers and machines one runs at a time; the others come back an hour later. `folder` is where files go
    unless the settings name another.
    """

    def __init__(self, database: Database, clock: Clock, settings: Callable[[], LedgerSettings], folder: Path) -> None:
        self._database, self._clock, self._settings, self._folder = database, clock, settings, folder
        self._background = Background()
        self._running: asyncio.Task[None] | None = None
        self._leave_off = threading.Event()
        self._due = clock.monotonic()
        self._applied: LedgerSettings | None = None
        self._problem = ""

    def tick(self) -> None:
        """Begin a run if one is due; called each second, in the loop."""
        now, settings = self._clock.monotonic(), self._settings()
        if (now < self._due and settings == self._applied) or (self._running and not self._running.done()):
            return
        self._due, self._applied = now + EVERY_S, settings
        self._running = self._background.start(self._run(settings))

    async def wait(self) -> None:
        """Until the run that is under way has ended."""
        if self._running is not None:
            await asyncio.wait((self._running,))

    async def close(self) -> None:
        """Let a run that is under way end after its transaction; the next one goes on from there."""
        self._leave_off.set()
        await self._background.settle()

    def problems(self) -> list[Problem]:
        """Why the last run failed, if it did."""
        found = self._problem if self._is_on else ""
        return [Problem(reason="retention", detail=found, blocking=False)] if found else []

    def lines(self) -> list[str]:
        """The gauges, for `Metrics.add_source`. Blocks."""
        samples = []
        try:
            oldest = oldest_record(self._database)
        except LedgerUnavailable:
            oldest = None
        if oldest is not None:
            samples.append((OLDEST, max(self._clock.wall_ns() - oldest, 0) // NS))
        if self._is_on:
            samples.append((OK, 0 if self._problem else 1))
        return [line for family, number in samples for line in value_lines(family, [((), number)])]

    @property
    def _is_on(self) -> bool:
        return self._settings().retention_s is not None

    async def _run(self, settings: LedgerSettings) -> None:
        problem = ""
        try:
            await asyncio.to_thread(self._move, settings)
        except ArchiveBusy:
            return  # what the other one meets is told by the other one
        except FarthingError as error:
            problem = error.message
        except OSError as error:
            problem = f"The archive cannot be written: {error}. Check the disk and `ledger.archive`."
        if problem and problem != self._problem:
            _LOG.error("old records stay in the ledger: %s", problem)
        self._problem = problem

    def _move(self, settings: LedgerSettings) -> None:
        now_ns = self._clock.wall_ns()
        if settings.retention_s is None or kept_until(self._database) > now_ns:
            return
        before_ns = now_ns - settings.retention_s * NS
        folder = settings.archive or self._folder
        files = archive(self._database, before_ns=before_ns, folder=folder, sizes=BESIDE_CALLS, pause=self._pause)
        moved = sum(file.records for file in files)
        if moved:
            _LOG.info("%d records of before %s are in %s", moved, moment_of(before_ns).date(), folder)

    def _pause(self) -> bool:
        return self._leave_off.wait(PAUSE_S)
