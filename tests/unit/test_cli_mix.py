"""`farthing report mix` through its front door."""

import asyncio
import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway import cli
from gateway.commands.surroundings import CLOCK
from tests.http.admin_setup import HIT, make_record, write_ledger

RUNNER = CliRunner()
CONFIG = """
providers:
  local: {kind: llamacpp, base_url: "http://127.0.0.1:1/v1"}
tiers:
  - name: small
    deployments: [{provider: local, model: smol}]
  - name: large
    deployments: [{provider: local, model: big}]
default_tier: large
tasks:
  faq: {bar: 0.8, reference: large, candidates: [small]}
features:
  search: {task: faq}
  evals: {}
prices:
  - {provider: local, model: smol, input_per_mtok: 0.1, output_per_mtok: 0.2}
  - {provider: local, model: big, input_per_mtok: 1, output_per_mtok: 2}
keys: []
evals: {suites: suites}
data_dir: .
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration, and the traffic of a minute ago: one call of 1,000 tokens in and 200 out on large, one hit."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "farthing.yaml").write_text(CONFIG, encoding="utf-8")
    at = {"received_ns": CLOCK.wall_ns() - 60 * 10**9, "tier": "large"}
    asyncio.run(write_ledger(tmp_path / "ledger.db", [make_record("a", **at), make_record("b", **(HIT | at))]))
    return tmp_path


def run(*arguments: str, code: int = 0) -> str:
    result = RUNNER.invoke(cli.app, ["report", "mix", *arguments])
    assert result.exit_code == code, result.output
    return result.stdout or result.stderr


def test_the_mix_is_told_with_what_an_eval_would_be_worth(folder: Path) -> None:
    output = run("--since", "1d")

    [search] = [line.split() for line in output.splitlines() if line.startswith(("search", " search"))]
    assert search == [
        *("search", "faq", "2", "1", "1,000", "200", "0.002000000", "0.001400000", "0.000140000", "0.001400000")
    ]
    [small] = [line for line in output.splitlines() if line.split()[:3] == ["faq", "small", "large"]]
    assert "0.037800000" in small  # 0.00126 USD a day
    assert "has no eval on record for faq" in small
    assert "Routing has saved 0.005000000 USD net" in output
    assert "the same are assumed, and models differ in tokenizer" in output


def test_the_mix_comes_as_json_and_csv(folder: Path) -> None:
    found = json.loads(run("--since", "1d", "--format", "json"))
    lines = list(csv.DictReader(io.StringIO(run("--since", "1d", "--format", "csv"))))

    assert found["actual_usd"] == "0.002000000"
    assert found["lines"][0]["tiers"]["small"] == {"cost_usd": "0.000140000", "saving_usd": "0.001260000"}
    assert found["proposals"][0]["saving_a_month_usd"] == "0.037800000"
    assert found["net"] == {
        "saved_usd": "0.005000000",
        "avoided_usd": "0.005000000",
        "spent_usd": {},
    }
    assert [line["feature"] for line in lines] == ["search", "total"]
    assert lines[1]["all on small"] == "0.000140000"


def test_a_suite_that_cannot_be_read_is_told_and_what_lies_beside_suites_is_not(folder: Path) -> None:
    (folder / "suites").mkdir()
    (folder / "suites" / "broken.yaml").write_text("task: [", encoding="utf-8")
    (folder / "suites" / "vars.yaml").write_text("- {question: a}", encoding="utf-8")

    result = RUNNER.invoke(cli.app, ["report", "mix", "--since", "1d"])

    assert result.exit_code == 0
    assert "broken.yaml" in result.stderr
    assert "vars.yaml" not in result.stderr


def test_the_suite_of_the_task_is_named_with_its_size(folder: Path) -> None:
    tests = "\n".join(
        f"  - {{vars: {{q: '{number}'}}, assert: [{{type: equals, value: a{number}}}]}}" for number in range(60)
    )
    (folder / "suites").mkdir()
    (folder / "suites" / "faqs.yaml").write_text(
        f"task: faq\nbar: 0.8\nreference: large\ncandidates: [small]\nprompts: ['{{{{q}}}}']\ntests:\n{tests}\n",
        encoding="utf-8",
    )

    [proposal] = json.loads(run("--since", "1d", "--format", "json"))["proposals"]

    assert (proposal["eval"]["suite"], proposal["eval"]["items_at_most"]) == ("faqs", 60)
    assert 20 <= proposal["eval"]["items_at_least"] <= 60


def test_without_a_ledger_there_is_no_review(folder: Path) -> None:
    assert "There is no ledger at" in run("--data-dir", "nowhere", code=2)
