"""`farthing explain` of rows, names and whole bodies, through its front door."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evals.scorecards import ScorecardStore
from farthing.routing import Scorecard, Verdict
from gateway import cli
from gateway.commands.surroundings import CLOCK
from tests.http.admin_setup import make_record, write_ledger
from tests.unit.test_cli_policy import CONFIG

RUNNER = CliRunner()
RULES = CONFIG.replace("candidates: [small]", "candidates: [small], match: [{user_prefix: Where is}]")
BODY = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "Where is my parcel?"}]})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration whose task is told by a rule, a call of a minute ago on large, and a pass of small."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOBODY_SETS_THIS", "secret")
    now_ns = CLOCK.wall_ns()
    (tmp_path / "config").mkdir()
    text = RULES.replace("search: {task: faq}", "search: {}")
    (tmp_path / "config" / "farthing.yaml").write_text(text, encoding="utf-8")
    asyncio.run(write_ledger(tmp_path / "ledger.db", [make_record("a", received_ns=now_ns - 60 * 10**9, tier="large")]))
    card = Scorecard(
        task="faq",
        tier="small",
        verdict=Verdict.PASS,
        score=0.9,
        bar=0.8,
        items=100,
        suite="faq",
        suite_hash="h",
        models=("local/smol",),
        run_id="r1",
        decided_ns=now_ns,
    )
    with ScorecardStore(tmp_path / "evals.db") as store:
        store.add(card)
    return tmp_path


def run(*arguments: str, code: int = 0, said: str | None = None) -> str:
    result = RUNNER.invoke(cli.app, ["explain", *arguments], input=said)
    assert result.exit_code == code, result.output
    return result.stdout or result.stderr


def test_a_row_is_told_with_its_alternatives_and_their_evidence(folder: Path) -> None:
    lines = run("a").splitlines()

    assert "Policy 'cheapest_passing' chose tier 'large'" in lines[1]
    assert "cost for 1,000 tokens in and 200 out, those that the row has:" in lines
    assert "   small local/smol: 0.000140000 USD" in lines
    assert "-> large local/big: 0.001400000 USD" in lines
    assert any(line.startswith("   small: pass: score 0.900") and "run r1" in line for line in lines)
    assert "now such a call would go to large: reference: no task given" in lines


def test_a_row_is_told_without_any_configuration(folder: Path) -> None:
    (folder / "config" / "farthing.yaml").unlink()
    (folder / "config").rmdir()

    output = run("a", "--data-dir", ".")

    assert "It cost 0.002000000 USD" in output
    assert "What else there was is not known: there is no configuration here" in output
    assert "there is no configuration here" in run("a", "--data-dir", ".", "--json", code=2)


def test_a_body_from_standard_input_is_routed_by_the_rule_that_it_fits(folder: Path) -> None:
    lines = run("--body", "-", "--feature", "search", said=BODY).splitlines()

    assert lines[0] == "feature search, task faq (rule 1 of faq: user_prefix), policy cheapest_passing"
    assert "-> small: scored 0.90 of bar 0.80 on faq (100 items)" in lines


def test_a_body_in_a_file_with_headers_and_a_key(folder: Path) -> None:
    (folder / "body.json").write_text(BODY, encoding="utf-8")

    found = json.loads(run("--body", "body.json", "--header", "X-Farthing-Feature: search", "--key", "app", "--json"))

    assert (found["key"], found["feature"], found["task"], found["route"]["tier"]) == ("app", "search", "faq", "small")
    assert "the output the mean of 1 answer of search, task faq" in found["tokens"]["basis"]


def test_json_of_a_row_is_what_the_api_answers(folder: Path) -> None:
    found = json.loads(run("a", "--json"))

    assert found["request_id"] == "a"
    assert {tier["tier"]: tier["taken"] for tier in found["tiers"]} == {"small": False, "large": True}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--body", "nowhere.json"), "nowhere.json cannot be read"),
        (("--body", "-", "--header", "nonsense"), "is not a header"),
        (("--body", "-", "--feature", "search", "--header", "x-farthing-feature: mail"), "is given twice"),
        (("--body", "-", "--key", "nobody"), "There is no key"),
        (("--body", "-", "--endpoint", "files"), "`endpoint` must be one of"),
        (("--body", "-", "--feature", "mail"), "is not registered"),
        (("a", "--body", "-"), "Give a request id"),
    ],
)
def test_a_question_that_cannot_be_answered_says_why(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    assert words in run(*arguments, code=2, said=BODY)


def test_a_body_that_is_no_json_is_told_as_at_the_door(folder: Path) -> None:
    assert run("--body", "-", "--feature", "search", code=2, said="{").startswith("farthing: ")


def test_what_only_a_running_gateway_knows_is_said(folder: Path) -> None:
    file = folder / "config" / "farthing.yaml"
    text = file.read_text().replace("search: {}", "search: {task: faq, policy: canary}\n  farthing-shadow: {}")
    text = text.replace("candidates: [small]", "candidates: [small], live: {enabled: true}")
    file.write_text(
        text + "budgets: [{id: b, limit_usd: 1, window: day, where: {feature: farthing-shadow}}]\n", "utf-8"
    )

    lines = run("--feature", "search").splitlines()

    assert "5% of the calls go to small: canary 5%, 0 graded: cheapest passing: small scored 0.90" in "\n".join(lines)
    assert "Latencies and grades of real calls are known to a running gateway only" in lines[-1]
