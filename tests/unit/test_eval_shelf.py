"""The suites of a directory, read while they are edited."""

import json
from pathlib import Path

import pytest

from evals.shelf import Shelf

SUITE = """
task: faq
bar: 0.6
reference: large
candidates: [small]
prompts: ["{{q}}"]
defaultTest:
  assert: [{type: equals, value: "{{want}}"}]
tests: file://tests.jsonl
"""


def rows_of(count: int) -> str:
    return "".join(f'{{"vars": {{"q": "question {number}", "want": "{number}"}}}}\n' for number in range(count))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "faq.yaml").write_text(SUITE, encoding="utf-8")
    (tmp_path / "tests.jsonl").write_text(rows_of(40), encoding="utf-8")
    (tmp_path / "prompts.yaml").write_text("- not a suite\n", encoding="utf-8")
    return tmp_path


def test_a_shelf_has_the_suites_and_passes_over_what_lies_beside_them(place: Path) -> None:
    looked = Shelf(place).look()

    assert list(looked.suites) == ["faq"]
    assert looked.problems == ()
    assert [suite.name for suite in looked.of_task("faq")] == ["faq"]
    assert looked.of_task("other") == ()


def test_nothing_is_read_again_until_a_file_changes_and_tests_are_files_too(place: Path) -> None:
    shelf = Shelf(place)
    first = shelf.look()
    second = shelf.look()

    (place / "tests.jsonl").write_text(rows_of(41), encoding="utf-8")
    third = shelf.look()

    assert second is first
    assert third.versions()["faq"].hash != first.versions()["faq"].hash
    assert third.versions()["faq"].grader == first.versions()["faq"].grader


def test_a_suite_that_breaks_stays_as_it_was_and_is_told_of_with_its_line(place: Path) -> None:
    shelf = Shelf(place)
    before = shelf.look().versions()

    (place / "faq.yaml").write_text(SUITE.replace("bar: 0.6", "bar: 6"), encoding="utf-8")
    broken = shelf.look()

    assert broken.versions() == before
    assert "faq.yaml:3: bar" in broken.problems[0]


@pytest.mark.parametrize("spoilt", ["", "bar: 0.6\n", "\0", "[", SUITE.split("task", maxsplit=1)[0]])
def test_a_suite_that_is_half_saved_stays_as_it_was(place: Path, spoilt: str) -> None:
    shelf = Shelf(place)
    before = shelf.look().versions()

    (place / "faq.yaml").write_text(spoilt, encoding="utf-8")
    saving = shelf.look()
    (place / "faq.yaml").write_text(SUITE.replace("0.6", "0.65"), encoding="utf-8")
    saved = shelf.look()

    assert saving.versions() == before
    assert "faq.yaml:1" in saving.problems[0]
    assert (saved.problems, saved.suites["faq"].bar) == ((), 0.65)


def test_a_suite_that_cannot_be_opened_any_more_stays_as_it_was(place: Path) -> None:
    shelf = Shelf(place)
    before = shelf.look().versions()

    (place / "faq.yaml").unlink()
    (place / "faq.yaml").mkdir()
    looked = shelf.look()

    assert looked.versions() == before
    assert "faq.yaml" in looked.problems[0]


def test_suites_may_be_json_or_json_lines_and_their_tests_are_no_suites(place: Path) -> None:
    head = {"description": "d", "task": "sums", "bar": 0.6, "reference": "large", "candidates": ["small"]}
    head |= {"prompts": ["{{q}}"], "defaultTest": {"assert": [{"type": "equals", "value": "{{want}}"}]}}
    (place / "lines.jsonl").write_text(f"{json.dumps(head)}\n{rows_of(40)}", encoding="utf-8")
    (place / "whole.json").write_text(json.dumps(head | {"tests": "file://tests.jsonl"}), encoding="utf-8")
    (place / "faq.json").write_text(json.dumps(head), encoding="utf-8")
    (place / "broken.jsonl").write_text(json.dumps(head)[:-1], encoding="utf-8")

    looked = Shelf(place).look()

    assert {name: suite.task for name, suite in looked.suites.items()} == {
        "faq": "faq",
        "lines": "sums",
        "whole": "sums",
    }
    assert [problem.count("broken.jsonl:1: is not valid JSON") for problem in looked.problems] == [1]


def test_a_directory_that_is_not_there_has_no_suites(tmp_path: Path) -> None:
    assert Shelf(tmp_path / "none").look().suites == {}
