"""The file of the eval results fails while the gateway serves: routes, budgets and settings go on, and nothing is lost
that was decided."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from evals.scorecards import ScorecardStore
from farthing.errors import ConfigError
from gateway.clock import SystemClock
from gateway.settings import load
from gateway.wiring import House
from tests.gateway import RunningGateway, change, running_gateway, write_tree
from tests.http.test_live_grading import CARD, FEATURE, PLAIN, ROUTED, TASK, demotions, promote, watched

CHANGES = ((TASK, watched("grader: none")), (FEATURE, PLAIN))


def execute(running: RunningGateway, statement: str) -> None:
    with closing(sqlite3.connect(running.application.house.files.scorecards, isolation_level=None)) as database:
        database.execute(statement)


async def test_a_damaged_file_leaves_routes_as_they_were_and_the_watch_goes_on(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, changes=CHANGES) as running:
        house = running.application.house
        await promote(running, CARD)

        execute(running, "ALTER TABLE demotions RENAME TO gone")
        execute(running, "ALTER TABLE drift RENAME TO gone_too")
        await house.tick()
        change(running.config, ("team: web, task: triage", "team: shop, task: triage"))
        await house.tick()  # the watcher waits until a file stays as it is
        await house.tick()
        answer = await running.chat("hello", headers=ROUTED)
        metrics = await running.client.get("/metrics")
        ready = (await running.client.get("/readyz")).json()

        assert answer.headers["x-farthing-tier"] == "small"
        assert house.settings.catalog.features["routed"].team == "shop"
        assert metrics.status_code == 200
        assert ready == {"status": "ready", "reasons": ["evals"]}


async def test_after_a_repair_the_file_counts_again(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, changes=CHANGES) as running:
        await promote(running, CARD)
        execute(running, "ALTER TABLE demotions RENAME TO gone")
        await running.application.house.tick()

        execute(running, "ALTER TABLE gone RENAME TO demotions")
        execute(running, "DELETE FROM scorecards")
        with ScorecardStore(running.application.house.files.scorecards) as store:
            store.add(replace(CARD, tier="large"))
        await running.application.house.tick()
        answer = await running.chat("hello", headers=ROUTED)

        assert answer.headers["x-farthing-tier"] == "large"
        assert "eval results" not in (await running.client.get("/readyz")).json()


async def test_an_alarm_that_could_not_be_acted_on_is_acted_on_later(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, changes=CHANGES) as running:
        house = running.application.house
        await promote(running, CARD)
        running.mock.broken["small-model"] = "I'm sorry, but I can't help with that."
        execute(running, "CREATE TRIGGER full BEFORE INSERT ON demotions BEGIN SELECT raise(ABORT, 'disk full'); END")
        for number in range(40):
            await running.chat(f"item {number}", headers=ROUTED)
        await house.tick()
        before = demotions(running)

        execute(running, "DROP TRIGGER full")
        await house.tick()
        after = await running.chat("afterwards", headers=ROUTED)

        assert before == ()
        assert [one.tier for one in demotions(running)] == ["small"]
        assert after.headers["x-farthing-tier"] == "large"


def test_a_file_that_is_none_of_ours_is_told_at_the_start(tmp_path: Path) -> None:
    settings = load(write_tree(tmp_path, "http://127.0.0.1:1/v1"), {})
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    (settings.data_dir / "evals.db").write_bytes(b"garbage" * 1000)

    with pytest.raises(ConfigError, match=r"evals\.db cannot be used \(file is not a database\): put a copy"):
        House(settings, SystemClock())
