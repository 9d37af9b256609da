"""The page of results shows every result file, and is current."""

import json
from pathlib import Path

from bench.results import DIRECTORY, PAGE, page, write_result


def test_the_page_shows_rows_and_named_values(tmp_path: Path) -> None:
    write_result(tmp_path / "rows.json", name="rows", command="do rows", figures=[{"what": "a", "us": 1.5}])
    write_result(tmp_path / "named.json", name="named", command="do named", figures={"speed": 12345.6}, note="Mind it.")

    text = page(tmp_path)

    assert "| a | 1.5 |" in text
    assert "| speed | 12,346 |" in text
    assert "Mind it." in text


def test_the_committed_page_is_that_of_the_committed_files() -> None:
    assert (DIRECTORY / PAGE).read_text() == page(), "run python -m bench.results"


def test_every_result_names_its_command_machine_and_date() -> None:
    for path in DIRECTORY.glob("*.json"):
        result = json.loads(path.read_text())
        assert {"name", "date", "machine", "command", "figures"} <= set(result), path.name
