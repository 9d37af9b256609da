"""`farthing ledger restore`, and what commands say of days that are archived."""

import asyncio
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from farthing.errors import InvalidParameter
from gateway import cli
from ledger.booked import read_booked
from ledger.sqlite_file import SQLiteFile
from tests.gateway import write_tree
from tests.http.admin_setup import make_record, write_ledger

pytest.importorskip("arro3.io", reason="needs the extra archive")
OLD_NS = 1_700_000_000 * 10**9
"""2023-11-14."""
DAY_NS = 86_400 * 10**9


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three days with a record each, of which the first two are archived."""
    records = [make_record(f"req-{number}", received_ns=OLD_NS + number * DAY_NS) for number in range(3)]
    asyncio.run(write_ledger(tmp_path / "ledger.db", records))
    run("ledger", "archive", "--before", "2023-11-16", "--to", tmp_path / "old", "--data-dir", tmp_path)
    return tmp_path


def run(*arguments: object, code: int = 0) -> str:
    """What a command that ends with `code` prints."""
    result = CliRunner().invoke(cli.app, [*map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def test_a_restored_request_can_be_explained_again(data: Path) -> None:
    gone = run("explain", "req-1", "--data-dir", data, code=2)

    said = run("ledger", "restore", data / "old" / "records-2023-11-15-001.parquet", "--data-dir", data)

    assert "has no request 'req-1'" in gone
    assert "if it was made before 2023-11-16, it may be archived" in gone
    assert "1 records, 1 of them were not in the ledger" in said
    assert said.splitlines()[-1] == "Not every record of before 2023-11-15 is in the ledger."
    assert "asked chat/completions" in run("explain", "req-1", "--data-dir", data)


def test_a_request_is_looked_for_in_the_archive_of_its_day_or_it_is_under_way(data: Path) -> None:
    archived, later = (f"req-{ms:012x}{'0' * 16}" for ms in (1_700_000_000_000, 1_700_300_000_000))

    gone, not_yet = (run("explain", one, "--data-dir", data, code=2) for one in (archived, later))

    assert "It was made on 2023-11-14, so it may be archived: look for records-2023-11-14-*.parquet" in gone
    assert "It may still be under way." in not_yet
    assert "archived" not in not_yet


def test_when_every_file_is_back_it_says_so(data: Path) -> None:
    said = run("ledger", "restore", *sorted((data / "old").iterdir()), "--data-dir", data, "--keep-days", 1)

    assert said.splitlines()[-1] == "Every record is in the ledger."
    assert run("ledger", "check", "--data-dir", data).endswith(": 0 differences\n")


def test_a_file_that_is_none_is_one_sentence(data: Path) -> None:
    assert "is no whole Parquet file" in run("ledger", "restore", data / "ledger.db", "--data-dir", data, code=2)


@pytest.mark.parametrize(("since", "told"), [("2023-11-01", True), ("2023-11-16", False)])
def test_pricing_anew_says_which_days_it_could_not_see(data: Path, since: str, *, told: bool) -> None:
    config = write_tree(data, "http://127.0.0.1:9")

    said = run("prices", "reprice", "--since", since, "--config", config, "--data-dir", data)

    assert ("Records of before 2023-11-16 are in an archive" in said) is told


def test_reconciling_archived_days_says_which_they_are_and_what_to_do(data: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"before 2023-11-16 are in an archive.*farthing ledger restore"):
        read_booked(SQLiteFile(data / "ledger.db"), ["openai"], date(2023, 11, 14), date(2023, 11, 17))
