"""Retention of a running gateway: switched on by a reload, seen from outside, in the way of nothing."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from farthing.errors import ConfigError
from farthing.money import Nano
from gateway import cli
from gateway.commands.surroundings import CLOCK
from gateway.generations import needs_restart
from gateway.server import Application
from gateway.settings import SettingsError, load
from ledger.testing import example_record
from tests.gateway import ADMIN_KEY, RunningGateway, running_gateway, write_tree
from tests.processes import edit

pytest.importorskip("arro3.io", reason="needs the extra archive")
OLD_NS = CLOCK.wall_ns() - 500 * 86_400 * 10**9
DATA = "logging: {level: error}\n"


async def switch_on(gateway: RunningGateway, folder: Path | None = None) -> None:
    """By a reload, and see the run that follows to its end."""
    where = "" if folder is None else f", archive: {folder}"
    edit(gateway.config, (DATA, f"{DATA}ledger: {{retention: 400d{where}}}\n"))
    house = gateway.application.house
    for _ in range(3):
        await house.tick()
        await house.retention.wait()


async def settle_old(gateway: RunningGateway) -> None:
    house = gateway.application.house
    await house.ledger.settle(None, example_record("old", received_ns=OLD_NS, cost=Nano(5)))


async def test_a_reload_switches_it_on_and_calls_go_on(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await settle_old(gateway)
        age_before = await gateway.metric("farthing_ledger_oldest_record_age_seconds")

        await switch_on(gateway)

        served = await gateway.chat("after it")
        assert served.status_code == 200
        assert [record.id for record in gateway.records()] == [served.headers["x-farthing-request-id"]]
        assert len(list((tmp_path / "data" / "archive").glob("*.parquet"))) == 1
        assert age_before >= 500 * 86_400
        assert await gateway.metric("farthing_ledger_oldest_record_age_seconds") < 3_600
        assert await gateway.metric("farthing_ledger_retention_ok") == 1


async def test_an_archive_that_cannot_be_written_is_reported_and_does_not_make_it_unready(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with running_gateway(tmp_path) as gateway:
        await settle_old(gateway)

        await switch_on(gateway, tmp_path / "file")

        answer = await gateway.client.get("/readyz", headers={"authorization": f"Bearer {ADMIN_KEY}"})
        assert (answer.status_code, answer.json()["reasons"]) == (200, ["retention"])
        assert "ledger.archive" in answer.json()["problems"][0]["detail"]
        assert await gateway.metric("farthing_ledger_retention_ok") == 0
        assert [record.id for record in gateway.records()] == ["old"]


async def test_without_the_package_check_has_a_finding_and_nothing_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_tree(tmp_path, "http://127.0.0.1:9", extra="ledger: {retention: 400d}\n")
    fine = CliRunner().invoke(cli.app, ["check", "--config", str(config)])
    monkeypatch.setitem(sys.modules, "arro3.io", None)

    found = CliRunner().invoke(cli.app, ["check", "--config", str(config)])

    assert (fine.exit_code, found.exit_code) == (0, 1), fine.output + found.output
    assert "ledger.retention" in found.output
    assert "farthing[archive]" in found.output
    application = Application(config, {}, load(config, {}))
    with pytest.raises(ConfigError, match=r"farthing\[archive\]"):
        await application.house.open()
    await application.house._open_things.aclose()


@pytest.mark.parametrize("written", ["34d", "0s", "4000d", "-1d", "400", "forever", "true", "[]"])
def test_a_retention_that_is_too_short_or_no_duration_is_a_finding(tmp_path: Path, written: str) -> None:
    config = write_tree(tmp_path, "http://127.0.0.1:9", extra=f"ledger: {{retention: {written}}}\n")

    with pytest.raises(SettingsError, match=r"ledger\.retention") as error:
        load(config, {})

    assert len(error.value.findings) == 1


@pytest.mark.parametrize(
    ("written", "seconds"), [("none", None), ("~", None), ("35d", 35 * 86_400), ("52w", 364 * 86_400)]
)
def test_a_retention_is_whole_seconds_or_none(tmp_path: Path, written: str, seconds: int | None) -> None:
    config = write_tree(tmp_path, "http://127.0.0.1:9", extra=f"ledger: {{retention: {written}, archive: old}}\n")

    ledger = load(config, {}).ledger

    assert (ledger.retention_s, ledger.archive) == (seconds, Path("old"))


def test_only_where_and_how_the_ledger_is_kept_needs_a_restart(tmp_path: Path) -> None:
    def loaded(name: str, ledger: str) -> object:
        (tmp_path / name).mkdir()
        return load(write_tree(tmp_path / name, "http://127.0.0.1:9", extra=f"ledger: {{{ledger}}}\n"), {})

    before = loaded("a", "synchronous: normal")
    names = needs_restart(before, loaded("b", "synchronous: full, retention: 40d, archive: x"))  # type: ignore[arg-type]

    assert [name for name in names if name.startswith("ledger")] == ["ledger.synchronous"]
