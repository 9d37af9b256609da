"""`farthing policy diff` through its front door: directories, files and revisions of git."""

import asyncio
import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway import cli
from gateway.commands.surroundings import CLOCK
from tests.http.admin_setup import HIT, make_record, write_ledger

RUNNER = CliRunner()
CONFIG = f"""
providers:
  local: {{kind: llamacpp, base_url: "http://127.0.0.1:1/v1", api_key: "${{NOBODY_SETS_THIS}}"}}
tiers:
  - name: small
    deployments: [{{provider: local, model: smol}}]
  - name: large
    deployments: [{{provider: local, model: big}}]
default_tier: large
tasks:
  faq: {{bar: 0.8, reference: large, candidates: [small]}}
features:
  search: {{task: faq}}
  evals: {{}}
prices:
  - {{provider: local, model: smol, input_per_mtok: 0.1, output_per_mtok: 0.2}}
  - {{provider: local, model: big, input_per_mtok: 1, output_per_mtok: 2}}
keys:
  - {{id: app, hash: "sha256:{hashlib.sha256(b"app").hexdigest()}", tenant: acme}}
data_dir: .
"""
CHEAPER = CONFIG.replace("search: {task: faq}", "search: {task: faq, policy: fixed, tier: small}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two configurations beside a ledger with two calls of a minute ago, 0.0014 USD each on large, and one hit."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("old", CONFIG), ("new", CHEAPER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "farthing.yaml").write_text(text, encoding="utf-8")
    at = {"received_ns": CLOCK.wall_ns() - 60 * 10**9}
    records = [make_record("a", **at), make_record("b", **at), make_record("c", **(HIT | at))]
    asyncio.run(write_ledger(tmp_path / "ledger.db", records))
    return tmp_path


def run(*arguments: str, code: int = 0) -> str:
    result = RUNNER.invoke(cli.app, ["policy", "diff", *arguments])
    assert result.exit_code == code, result.output
    return result.stdout or result.stderr


def git(*arguments: str) -> None:
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], check=True, capture_output=True)


def test_a_cheaper_route_is_told_with_its_saving_and_its_risk(folder: Path) -> None:
    output = run("old", "new")

    assert "old against new: all 3 requests of the last 7 days." in output
    assert "cost 0.002800000 USD by the old configuration and 0.000280000 USD by the new one" in output
    assert "-0.002520000 USD (-90.0 %)" in output
    assert "to small, which has no valid pass for it" in output


def test_the_same_for_machines(folder: Path) -> None:
    found = json.loads(run("old", "new", "--json"))

    assert found["cost"] == {
        "old_usd": "0.002800000",
        "new_usd": "0.000280000",
        "difference_usd": "-0.002520000",
        "old_cascades_usd_at_most": "0.000000000",
        "new_cascades_usd_at_most": "0.000000000",
    }
    assert (found["requests"]["replayed"], found["requests"]["hits"]) == (3, 1)
    assert [(one["from"], one["to"], one["requests"]) for one in found["changed"]] == [("large", "small", 3)]
    assert [one["kind"] for one in found["risks"]] == ["unproven"]


def test_the_same_for_a_pull_request(folder: Path) -> None:
    output = run("old", "new", "--markdown")

    assert "| search | faq | large | small | 3 | 0.002800000 | 0.000280000 | -0.002520000 | not known |" in output
    assert "| no valid pass | 3 | search, task faq: to small, which has no valid pass for it |" in output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("old", "new", "--fail-on", "risk"), 1),
        (("old", "old", "--fail-on", "risk"), 0),
        (("old", "new", "--fail-on", "cost"), 0),
        (("new", "old", "--fail-on", "cost"), 1),
    ],
)
def test_the_exit_code_is_for_ci(folder: Path, arguments: tuple[str, ...], code: int) -> None:
    run(*arguments, code=code)


def test_what_vanishes_is_a_risk_without_any_call_of_it(folder: Path) -> None:
    (folder / "new" / "farthing.yaml").write_text(CONFIG.replace("  search: {task: faq}\n", ""), encoding="utf-8")

    found = json.loads(run("old", "new", "--json", "--fail-on", "risk", code=1))

    assert {(one["kind"], one["what"]) for one in found["risks"]} == {
        ("refused", "the feature search is not registered, or not for the key app"),
        ("vanished", "feature 'search'"),
    }


def test_a_revision_of_git_is_a_configuration(folder: Path) -> None:
    git("init", "-q", "-b", "main")
    git("add", "old")
    git("commit", "-q", "-m", "the present one")
    (folder / "old" / "farthing.yaml").write_text(CHEAPER, encoding="utf-8")

    whole = json.loads(run("main:old", "old", "--json"))
    one_file = json.loads(run("HEAD:old/farthing.yaml", "old", "--json"))

    assert [(one["from"], one["to"]) for one in whole["changed"]] == [("large", "small")]
    assert one_file["changed"] == whole["changed"]


def test_an_invalid_configuration_is_told_by_the_name_that_was_given(folder: Path) -> None:
    git("init", "-q", "-b", "main")
    (folder / "new" / "farthing.yaml").write_text(CONFIG.replace("tier: large", "tier: lrge"), encoding="utf-8")
    git("add", "new")
    git("commit", "-q", "-m", "broken")

    error = run("old", "main:new", code=2)

    assert error.startswith("farthing: main:new cannot be used.")
    assert "main:new/farthing.yaml:9:" in error
    assert "/tmp" not in error


def test_variables_that_are_not_set_stand_for_keys_and_secrets_and_are_named_where_they_cannot(folder: Path) -> None:
    hashes = [f"  - {{id: key-{name}, hash: '${{HASH_{name}}}', tenant: acme}}\n" for name in ("A", "B")]
    (folder / "new" / "farthing.yaml").write_text(CONFIG.replace("keys:\n", "keys:\n" + "".join(hashes)))
    run("old", "new")

    (folder / "new" / "farthing.yaml").write_text(CONFIG.replace('"http://127.0.0.1:1/v1"', '"${SOME_URL}"'))
    error = run("old", "new", code=2)

    assert "providers.local.base_url" in error
    assert "Variables that are not set here: NOBODY_SETS_THIS, SOME_URL." in error


@pytest.mark.parametrize("named", ["nowhere", "nobody:config", "--output=x:config", ":config", "main:"])
def test_a_configuration_that_is_not_there_is_a_clear_error(folder: Path, named: str) -> None:
    git("init", "-q", "-b", "main")

    error = run("old", "--", named, code=2)

    assert error.startswith(("farthing: There is no configuration", "farthing: git has no"))
    assert "main:config" in error


def test_few_calls_of_many_are_a_sample_and_it_is_said(folder: Path) -> None:
    found = run("old", "new", "--limit", "1")

    assert "a sample of" in found


def test_without_a_ledger_there_is_nothing_to_replay(folder: Path) -> None:
    assert "There is no ledger at" in run("old", "new", "--data-dir", "nowhere", code=2)
