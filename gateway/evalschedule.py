"""Eval schedule: runs the evals that are due in a process of their own, one worker at a time and within a cap."""

import asyncio
import logging
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from evals.cellstore import CellStore
from evals.scorecards import ScorecardStore
from farthing.money import Nano, format_usd
from farthing.ports import Clock
from gateway.adminview import Problem
from gateway.settings import Settings
from gateway.settings.values import EvalSchedule
from gateway.tasks import Background

PREFIX: Final = "due-"
"""Begins the ids of these runs: what they spent is counted by it."""
LOOK_S: Final = 10.0
ASKED_S: Final = 3_600
"""Seconds between two runs where somebody asked for one, such as a demotion."""
NS_PER_S: Final = 10**9
NOTHING_LEFT: Final = (0, 1)
"""Exit codes of `farthing eval due --run`: nothing is due any more, or something still is."""

_LOG: Final = logging.getLogger("farthing.evals")
Launch = Callable[[Sequence[str]], Awaitable[tuple[int, str]]]
"""Runs `farthing` with arguments; its exit code, and what it said on standard error."""


class DueRuns:
    """One worker's part in it: `tick` begins a run where it is time and no other worker has. `path` is the
    configuration's."""

    def __init__(
        self,
        path: Path,
        settings: Callable[[], Settings],
        clock: Clock,
        store: ScorecardStore,
        database: Path,
        launch: Launch | None = None,
    ) -> None:
        self._path, self._settings, self._clock = path, settings, clock
        self._store, self._database = store, database
        self._launch = launch or farthing
        self._background = Background()
        self._running: asyncio.Task[None] | None = None
        self._look = clock.monotonic()
        self._problem = ""

    def tick(self) -> None:
        """Begin a run if one is due; called each second, in the loop."""
        try:
            self._tick()
        except sqlite3.Error as error:
            self._problem = f"evals that are due do not run: the eval results cannot be used ({error})"
            _LOG.error("%s", self._problem)

    def _tick(self) -> None:
        schedule, now = self._settings().evals.schedule, self._clock.monotonic()
        if schedule is None or now < self._look or (self._running and not self._running.done()):
            return
        self._look = now + LOOK_S
        pause_s = min(schedule.every_s, ASKED_S) if self._store.queue() else schedule.every_s
        now_ns = self._clock.wall_ns()
        if self._store.take_turn("due", now_ns=now_ns, pause_ns=pause_s * NS_PER_S):
            self._running = self._background.start(self._run(schedule, now_ns))

    async def wait(self) -> None:
        """Until the run that is under way has ended."""
        if self._running is not None:
            await asyncio.wait((self._running,))

    async def close(self) -> None:
        """End a run that is under way; the next one goes on from there."""
        if self._running is not None:
            self._running.cancel()
        await self._background.settle()

    def problems(self) -> list[Problem]:
        """Why the last run of this worker failed, if it did."""
        return [Problem(reason="evals", detail=self._problem, blocking=False)] if self._problem else []

    async def _run(self, schedule: EvalSchedule, now_ns: int) -> None:
        left = schedule.budget - self._spent(now_ns - schedule.every_s * NS_PER_S)
        if left <= 0:
            _LOG.info("evals are due, but what they may cost has been spent")
            return
        code, said = await self._launch(self._command(schedule, Nano(left)))
        self._problem = "" if code in NOTHING_LEFT else f"evals that are due did not run: {said[-300:] or code}"
        if self._problem:
            _LOG.error("%s", self._problem)
        else:
            _LOG.info("evals that were due have been run%s", "" if code == 0 else "; some are due still")

    def _spent(self, since_ns: int) -> Nano:
        with CellStore(self._database) as cells:
            return cells.spent(PREFIX, since_ns)

    def _command(self, schedule: EvalSchedule, left: Nano) -> list[str]:
        evals = self._settings().evals
        at = ["--base-url", evals.base_url] if evals.base_url else []
        options = ["--cap", format_usd(left), "--prefix", PREFIX, "--api-key-env", schedule.api_key_env]
        return ["eval", "due", "--run", *options, *at, "--config", str(self._path)]


async def farthing(arguments: Sequence[str]) -> tuple[int, str]:
    """The command in a process of its own, ended where this task is cancelled."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await process.communicate()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    return process.returncode or 0, said.decode(errors="replace").strip()
