"""Retention: old records leave the ledger by themselves, and whatever goes wrong with that is told and tried again."""

import logging
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farthing.catalog import Budget, Window
from farthing.errors import ConfigError
from farthing.money import Nano
from farthing.tags import Tags
from gateway.commands.surroundings import CLOCK
from gateway.retention import EVERY_S, RETENTION_GAUGES, Retention, check_retention
from gateway.settings import LedgerSettings
from ledger import reports
from ledger.archive import alone
from ledger.budgets import accounts
from ledger.check import check
from ledger.database import Database
from ledger.restore import restore
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import SQLiteFile
from ledger.testing import ManualClock, example_intent, example_record
from tests.gateway import until

pytest.importorskip("arro3.io", reason="needs the extra archive")
DAY_S = 86_400
DAY_NS = DAY_S * 10**9
NOW_NS = 20_900 * DAY_NS + 5
KEPT = LedgerSettings(retention_s=100 * DAY_S)
BUDGET = Budget(id="quarterly", limit=Nano(10**6), window=Window.QUARTER, where=(), per=())
TAGS = Tags(tenant="acme", key_id="key-1", feature="search")
OLD = [example_record(f"old-{number}", received_ns=NOW_NS - 150 * DAY_NS, cost=Nano(7)) for number in range(3)]
NEW = [example_record(f"new-{number}", received_ns=NOW_NS - 50 * DAY_NS, cost=Nano(11)) for number in range(2)]


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """Five records, each charged to the account of its quarter."""
    made: Database
    if request.param == "sqlite":
        made = SQLiteFile(tmp_path / "ledger.db")
        ledger: Any = await SQLiteLedger.open(made.path, ManualClock(NOW_NS))
    else:
        url = request.getfixturevalue("postgres_url")
        from ledger.postgres import PostgresLedger
        from ledger.postgres_database import PostgresDatabase

        made = PostgresDatabase(url)
        ledger = await PostgresLedger.open(made, ManualClock(NOW_NS))
    for record in [*OLD, *NEW]:
        hold = await ledger.reserve(example_intent(record.id, 20, *accounts([BUDGET], TAGS, record.received_ns)))
        await ledger.settle(hold, record)
    await ledger.close()
    return made


class House:
    """A worker's retention with a clock and settings that a test changes."""

    def __init__(self, database: Database, folder: Path, settings: LedgerSettings = KEPT) -> None:
        self.database, self.settings, self.clock = database, settings, ManualClock(NOW_NS)
        self.retention = Retention(database, self.clock, lambda: self.settings, folder)

    async def tick(self) -> list[str]:
        """Ids of the records that are left."""
        self.retention.tick()
        await self.retention.wait()
        return sorted(record.id for record in reports.recent(self.database, 100))

    @property
    def ok(self) -> list[str]:
        return [line for line in self.retention.lines() if line.startswith("farthing_ledger_retention_ok")]


@pytest.fixture
async def house(database: Database, tmp_path: Path) -> AsyncIterator[House]:
    made = House(database, tmp_path / "archive")
    yield made
    await made.retention.close()


ALL = ["new-0", "new-1", "old-0", "old-1", "old-2"]


async def test_what_is_old_moves_to_files_and_no_total_and_no_balance_changes(house: House, tmp_path: Path) -> None:
    whole = reports.totals(house.database, since_ns=0, until_ns=2**62)
    before = reports.budget_states(house.database, now_ns=0)

    left = await house.tick()

    assert left == ["new-0", "new-1"]
    assert len(list((tmp_path / "archive").glob("*.parquet"))) == 1
    assert reports.totals(house.database, since_ns=0, until_ns=2**62) == whole
    assert reports.budget_states(house.database, now_ns=0) == before
    assert sorted(state.spent for state in before) == [3 * 7, 2 * 11]
    assert check(house.database).differences == ()


async def test_without_a_retention_everything_stays(house: House, tmp_path: Path) -> None:
    house.settings = LedgerSettings()

    assert await house.tick() == ALL
    assert not (tmp_path / "archive").exists()
    assert house.ok == []


async def test_a_run_is_made_at_once_and_then_each_hour(house: House) -> None:
    await house.tick()
    house.clock.advance(51 * DAY_S - EVERY_S)
    await house.tick()
    ledger: Any = reports.recent(house.database, 100)

    house.clock.advance(EVERY_S - 1)
    within_the_hour = await house.tick()
    house.clock.advance(1)
    after_it = await house.tick()

    assert len(ledger) == 2
    assert within_the_hour == ["new-0", "new-1"]
    assert after_it == []


async def test_other_settings_count_at_the_next_second(house: House, tmp_path: Path) -> None:
    house.settings = LedgerSettings()
    await house.tick()

    house.settings = replace(KEPT, archive=tmp_path / "elsewhere")
    left = await house.tick()

    assert left == ["new-0", "new-1"]
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


async def test_another_process_at_it_is_no_problem(house: House) -> None:
    with alone(house.database):
        left = await house.tick()

    assert left == ALL
    assert house.retention.problems() == []
    assert house.ok == ["farthing_ledger_retention_ok 1"]


async def test_a_failure_is_told_once_for_each_reason_and_over_when_it_is(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "archive").touch()
    failed = []
    for _ in range(3):
        failed.append(await house.tick())
        house.clock.advance(EVERY_S)
    (problem,) = house.retention.problems()
    ok_while_failing = house.ok
    (tmp_path / "archive").unlink()

    mended = await house.tick()

    assert failed == [ALL] * 3
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1
    assert (problem.reason, problem.blocking) == ("retention", False)
    assert "ledger.archive" in problem.detail
    assert (ok_while_failing, house.ok) == (["farthing_ledger_retention_ok 0"], ["farthing_ledger_retention_ok 1"])
    assert mended == ["new-0", "new-1"]
    assert house.retention.problems() == []


async def test_restored_records_stay_for_as_long_as_they_were_asked_to(house: House, tmp_path: Path) -> None:
    await house.tick()
    files = list((tmp_path / "archive").iterdir())
    list(restore(house.database, files, keep_until_ns=NOW_NS + DAY_NS))

    house.clock.advance(DAY_S - 1)
    kept = await house.tick()
    house.clock.advance(EVERY_S)
    over = await house.tick()

    assert kept == ALL
    assert over == ["new-0", "new-1"]


async def test_a_stop_in_the_middle_is_quick_and_the_next_start_goes_on(database: Database, tmp_path: Path) -> None:
    folder, whole = tmp_path / "archive", reports.totals(database, since_ns=0, until_ns=2**62)
    first = House(database, folder, replace(KEPT, retention_s=40 * DAY_S))
    first.retention.tick()
    await until(lambda: any(folder.glob("*.parquet")))

    await first.retention.close()
    between = reports.totals(database, since_ns=0, until_ns=2**62)
    second = House(database, folder, first.settings)
    left = await second.tick()
    await second.retention.close()

    assert between == whole == reports.totals(database, since_ns=0, until_ns=2**62)
    assert left == []
    assert len(list(folder.iterdir())) == 2


async def test_the_age_of_the_oldest_record_is_shown(house: House) -> None:
    before = house.retention.lines()
    await house.tick()

    assert f"farthing_ledger_oldest_record_age_seconds {150 * DAY_S}" in before
    assert f"farthing_ledger_oldest_record_age_seconds {50 * DAY_S}" in house.retention.lines()


def test_a_ledger_that_is_not_there_has_no_age(tmp_path: Path) -> None:
    retention = Retention(SQLiteFile(tmp_path / "ledger.db"), CLOCK, LedgerSettings, tmp_path)

    assert retention.lines() == []


def test_a_missing_package_is_found_before_anything_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arro3.io", None)

    check_retention(LedgerSettings())
    with pytest.raises(ConfigError, match=r"`ledger\.retention` is set.*farthing\[archive\]"):
        check_retention(KEPT)


def test_the_gauges_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")

    assert [family.name for family in RETENTION_GAUGES if f"| `{family.name}` |" not in page] == []
