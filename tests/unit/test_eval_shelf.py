"""The suites of a directory, read while they are edited."""

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


def test_a_directory_that_is_not_there_has_no_suites(tmp_path: Path) -> None:
    assert Shelf(tmp_path / "none").look().suites == {}
