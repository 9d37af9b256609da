"""`farthing check` reads the suites too, before anybody runs one."""

from pathlib import Path

import pytest

from tests.unit.test_cli_commands import CONFIG, run

SUITE = """\
task: faq
bar: 0.5
reference: large
candidates: [small]
prompts: ["{{q}}"]
tests:
""" + "".join(f"  - {{vars: {{q: q{n}}}, assert: [{{type: contains, value: a{n}}}]}}\n" for n in range(24))


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "farthing.yaml").write_text(CONFIG + "evals: {feature: search, suites: suites}\n", encoding="utf-8")
    (tmp_path / "suites").mkdir()
    return tmp_path / "suites" / "faq.yaml"


def test_a_good_suite_is_no_finding_and_neither_are_the_files_beside_it(suite: Path) -> None:
    suite.write_text(SUITE, encoding="utf-8")
    (suite.parent / "gold.jsonl").write_text("{}", encoding="utf-8")

    assert "is fine" in run("check", "--config", "farthing.yaml")


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (SUITE.replace("contains, value: a7", "contain, value: a7"), "faq.yaml:14: tests[7].assert[0].type: unknown"),
        (SUITE.replace("bar: 0.5", "bar: 0.99"), "faq.yaml:2: bar: 24 items cannot promote anybody"),
        (SUITE.replace("task: faq", "task: fax"), "faq.yaml:1: task: 'fax' is no task of config/routing.yaml"),
        (
            SUITE.replace("[small]", "[tiny]"),
            "faq.yaml:4: candidates: 'tiny' is no tier of config/routing.yaml; known: ",
        ),
    ],
)
def test_a_suite_that_cannot_be_used_is_a_finding(suite: Path, text: str, finding: str) -> None:
    suite.write_text(text, encoding="utf-8")

    [line] = run("check", "--config", "farthing.yaml", code=1).splitlines()

    assert f"suites/{finding}" in line
