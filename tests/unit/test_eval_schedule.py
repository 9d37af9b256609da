"""Runs of evals that the gateway begins by itself."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from evals.cellstore import CellStore
from evals.scorecards import ScorecardStore
from farthing.money import Nano
from gateway.evalschedule import DueRuns
from gateway.settings import EvalSettings
from gateway.settings.values import EvalSchedule

DAY_S = 86_400
NS = 10**9
DAILY = EvalSchedule(every_s=DAY_S, budget=Nano(2 * NS), api_key_env="EVALS_KEY")


@dataclass
class StandingClock:
    seconds: float = 1_000_000.0

    def wall_ns(self) -> int:
        return int(self.seconds * NS)

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class Launched:
    """Remembers the commands; each ends with `code`."""

    code: int = 0
    said: str = ""
    commands: list[list[str]] = field(default_factory=list)

    async def __call__(self, arguments: Sequence[str]) -> tuple[int, str]:
        self.commands.append(list(arguments))
        await asyncio.sleep(0)
        return self.code, self.said


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "evals.db"


@pytest.fixture
def store(database: Path) -> Iterator[ScorecardStore]:
    with ScorecardStore(database) as opened:
        yield opened


def runs(
    store: ScorecardStore,
    database: Path,
    clock: StandingClock,
    launched: Launched,
    schedule: EvalSchedule | None = DAILY,
) -> DueRuns:
    evals = EvalSettings(
        feature="evals", suites=Path("suites"), concurrency=2, allow_code=False, valid_for_s=None, schedule=schedule
    )
    settings = cast(Any, SimpleNamespace(evals=evals))
    return DueRuns(Path("config"), lambda: settings, clock, store, database, launched)


async def later(due: DueRuns, clock: StandingClock, seconds: float) -> None:
    clock.seconds += seconds
    due.tick()
    await due.wait()


async def test_what_is_due_is_run_once_in_each_time_with_the_cap_and_the_key_of_the_schedule(
    store: ScorecardStore, database: Path
) -> None:
    clock, launched = StandingClock(), Launched()
    due = runs(store, database, clock, launched)

    for seconds in (0, 60, DAY_S - 120, 61):
        await later(due, clock, seconds)

    assert len(launched.commands) == 2
    assert launched.commands[0] == [
        *("eval", "due", "--run", "--cap", "2.000000000", "--prefix", "due-"),
        *("--api-key-env", "EVALS_KEY", "--config", "config"),
    ]


async def test_of_several_workers_one_runs(store: ScorecardStore, database: Path) -> None:
    clock, launched = StandingClock(), Launched()
    workers = [runs(store, database, clock, launched) for _ in range(3)]

    for worker in workers:
        await later(worker, clock, 1)

    assert len(launched.commands) == 1


async def test_without_a_schedule_nothing_runs(store: ScorecardStore, database: Path) -> None:
    clock, launched = StandingClock(), Launched()

    await later(runs(store, database, clock, launched, schedule=None), clock, DAY_S)

    assert launched.commands == []


async def test_what_was_asked_for_is_run_within_the_hour(store: ScorecardStore, database: Path) -> None:
    clock, launched = StandingClock(), Launched()
    due = runs(store, database, clock, launched)
    await later(due, clock, 0)

    store.enqueue("faq", "tiny", reason="drift", asked_ns=clock.wall_ns())
    await later(due, clock, 1_800)
    await later(due, clock, 1_801)

    assert len(launched.commands) == 2


async def test_what_was_spent_in_this_time_is_no_longer_there_to_spend(store: ScorecardStore, database: Path) -> None:
    clock, launched = StandingClock(), Launched()
    due = runs(store, database, clock, launched, replace(DAILY, every_s=7 * DAY_S))
    with CellStore(database) as cells:
        cells.note_paid("due-1", clock.wall_ns(), Nano(1_500_000_000))
        cells.note_paid("by-hand", clock.wall_ns(), Nano(1_500_000_000))
    store.enqueue("faq", "tiny", reason="drift", asked_ns=1)

    await later(due, clock, 60)
    with CellStore(database) as cells:
        cells.note_paid("due-2", clock.wall_ns(), Nano(1_500_000_000))
    await later(due, clock, 7_200)

    assert [command[4] for command in launched.commands] == ["0.500000000"]


async def test_a_run_that_cannot_begin_is_told_until_one_does(store: ScorecardStore, database: Path) -> None:
    clock, launched = StandingClock(), Launched(code=2, said="farthing: EVALS_KEY is not set")
    due = runs(store, database, clock, launched)

    await later(due, clock, 0)
    told = due.problems()
    launched.code = 1
    await later(due, clock, DAY_S)

    assert "EVALS_KEY is not set" in told[0].detail and not told[0].blocking
    assert due.problems() == []
