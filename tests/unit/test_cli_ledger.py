"""`farthing ledger` and `farthing report inference` through the front door."""

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from farthing.tags import Tags
from gateway import cli
from tests.http.admin_setup import HIT, make_record, write_ledger

RUNNER = CliRunner()
OLD_NS = 1_700_000_000 * 10**9
"""2023-11-14."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    mail = Tags(tenant="acme", key_id="app", feature="mail")
    records = [
        make_record("req-1", received_ns=OLD_NS),
        make_record("req-2", received_ns=OLD_NS, **HIT),
        make_record("req-3", tags=mail, received_ns=OLD_NS + 86_400 * 10**9),
    ]
    asyncio.run(write_ledger(tmp_path / "ledger.db", records))
    return tmp_path


def run(data: Path, *arguments: object, code: int = 0) -> str:
    """What a command that ends with `code` prints."""
    result = RUNNER.invoke(cli.app, [*map(str, arguments), "--data-dir", str(data)])
    assert result.exit_code == code, result.output
    return result.output


def damage(data: Path) -> None:
    with sqlite3.connect(data / "ledger.db") as connection:
        connection.execute("UPDATE rollup_days SET cost = cost + 1")
    connection.close()


def test_a_sound_ledger_passes_its_check(data: Path) -> None:
    assert run(data, "ledger", "check") == "2 days and 0 accounts: 0 differences\n"


def test_a_damaged_ledger_fails_its_check_until_it_is_repaired(data: Path) -> None:
    damage(data)

    found = run(data, "ledger", "check", code=1)
    repaired = run(data, "ledger", "check", "--repair", code=1)

    assert "feature=mail" in found
    assert "cost is 1 more than the sum of its hours" in found
    assert "2 days and 0 accounts: 3 differences" in found
    assert "made the roll-ups of 2 days anew" in repaired
    assert run(data, "ledger", "check").endswith(": 0 differences\n")


@pytest.mark.parametrize("command", [("check",), ("archive", "--before", "1d", "--to", "old")])
def test_a_ledger_that_is_not_there_is_not_taken_for_a_sound_one(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert "There is no ledger at" in run(tmp_path, "ledger", *command, code=2)


def test_archived_records_are_in_files_and_in_the_reports(data: Path) -> None:
    pytest.importorskip("arro3.io", reason="needs the extra archive")
    report = ("report", "spend", "--since", "2023-01-01", "--format", "json")
    before = run(data, *report)

    said = run(data, "ledger", "archive", "--before", "2023-11-15", "--to", data / "old")

    assert (data / "old" / "records-2023-11-14-001.parquet").is_file()
    assert "001.parquet: 2 records\n" in said
    assert said.splitlines()[-1].startswith("2 records of before 2023-11-15 are in ")
    assert run(data, *report) == before
    assert run(data, "ledger", "check") == "2 days and 0 accounts: 0 differences\n"


def test_a_date_to_come_archives_no_record_of_today(data: Path) -> None:
    pytest.importorskip("arro3.io", reason="needs the extra archive")

    said = run(data, "ledger", "archive", "--before", "2999-01-01", "--to", data / "old")

    assert "3 records of before 20" in said
    assert "2999" not in said


def test_an_unreadable_time_is_said_to_be_one(data: Path) -> None:
    assert "is not a time" in run(data, "ledger", "archive", "--before", "soon", "--to", data / "old", code=2)


def test_the_cost_of_an_inference_leaves_hits_out(data: Path) -> None:
    told = json.loads(run(data, "report", "inference", "--since", "2023-01-01", "--by", "feature", "--format", "json"))

    assert {row["feature"]: row["inferences"] for row in told} == {"mail": 1, "search": 1}
    assert all(row["median_usd"] == row["p99_usd"] for row in told)


def test_the_cost_of_an_inference_as_a_table_says_how_exact_it_is(data: Path) -> None:
    text = run(data, "report", "inference", "--since", "2023-01-01", "--by", "feature,tier")

    assert "p99_usd" in text
    assert text.endswith("Exact.\n")


def test_the_cost_of_an_inference_as_csv_is_safe_in_a_spreadsheet(tmp_path: Path) -> None:
    formula = Tags(tenant="acme", key_id="app", feature="=1+1")
    asyncio.run(write_ledger(tmp_path / "ledger.db", [make_record("r", tags=formula, received_ns=OLD_NS)]))

    text = run(tmp_path, "report", "inference", "--since", "2023-01-01", "--format", "csv")

    assert text.splitlines()[0] == "feature,inferences,median_usd,p99_usd"
    assert text.splitlines()[1].startswith("'=1+1,1,")
