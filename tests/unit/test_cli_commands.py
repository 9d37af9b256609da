"""The command line: every command through its front door."""

import asyncio
import csv
import hashlib
import io
import json
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from farthing.money import nano_from_usd
from farthing.tags import Tags
from gateway import cli
from gateway.commands.surroundings import CLOCK
from gateway.spendquery import guarded
from ledger import raises
from ledger.amendments import Raise
from ledger.sqlite_file import SQLiteFile
from ledger.testing import ManualClock
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
prices:
  - {provider: local, model: smol, input_per_mtok: 0.1, output_per_mtok: 0.2}
  - {provider: local, model: big, input_per_mtok: 1, output_per_mtok: 2, valid_from: 2026-01-01}
keys: []
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "farthing.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    mail = Tags(tenant="acme", key_id="app", feature="mail")
    records = [make_record("req-1"), make_record("req-2", **HIT), make_record("req-3", tags=mail)]
    asyncio.run(write_ledger(tmp_path / "ledger.db", records))
    return tmp_path


def run(*arguments: object, code: int = 0) -> str:
    """Standard output of a command that ends with `code`, its errors where it has none."""
    result = RUNNER.invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout or result.stderr


def test_a_new_key_is_printed_once_with_the_lines_that_admit_it() -> None:
    output = run("keys", "new", "--id", "app", "--tenant", "acme", "--features", "search", "--admin")

    secret, _, lines = output.partition("\n")
    [key] = yaml.safe_load(lines)
    assert re.fullmatch(r"fk-[\w-]{43}", secret)
    assert key["hash"] == "sha256:" + hashlib.sha256(secret.encode()).hexdigest()
    assert (key["id"], key["tenant"], key["features"], key["rights"]) == (
        "app",
        "acme",
        ["search"],
        ["call", "admin"],
    )


def test_two_new_keys_differ() -> None:
    assert run("keys", "new").splitlines()[0] != run("keys", "new").splitlines()[0]


@pytest.mark.parametrize("bad", [("--id", "a b"), ("--tenant", "a\nb"), ("--features", "é"), ("--expires", "tomorrow")])
def test_a_key_with_an_impossible_member_is_refused(bad: tuple[str, str]) -> None:
    assert run("keys", "new", *bad, code=2).startswith(f"farthing: {bad[0]}: ")


def test_check_prints_every_finding_with_its_place(config: Path) -> None:
    config.write_text(CONFIG.replace("default_tier: large", "default_tier: lrge\nservr: 1"), encoding="utf-8")

    lines = run("check", "--config", config, code=1).splitlines()

    assert len(lines) == 2
    assert all(re.match(rf"{re.escape(str(config))}:\d+:\d+: ", line) for line in lines)


def test_check_says_what_a_good_configuration_holds(config: Path) -> None:
    assert "is fine: 2 tiers, 2 models, 1 features" in run("check", "--config", config)


def test_check_finds_a_deployment_without_a_price(config: Path) -> None:
    config.write_text(CONFIG.replace("model: smol, input", "model: other, input"), encoding="utf-8")

    [line] = run("check", "--config", config, code=1).splitlines()

    assert "No price is known for model 'smol' of provider 'local'" in line


def test_without_a_configuration_the_error_says_how_to_name_one(config: Path) -> None:
    error = run("check", code=2)

    assert error == "farthing: There is no configuration here: name it with --config PATH, or go where `config` lies.\n"


def test_a_bad_configuration_that_nobody_named_points_at_the_quickstarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "farthing.yaml").write_text("prot: 1\n")
    (tmp_path / ".farthing" / "config").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    unnamed = run("report", "spend", code=2)
    named = run("report", "spend", "--config", "config", code=2)

    assert "the demo's is --config .farthing/config" in unnamed
    assert "demo" not in named


def test_spend_comes_as_a_table_with_its_total(data: Path) -> None:
    lines = run("report", "spend", "--since", "2026-01-01", "--data-dir", data).splitlines()

    rows = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    assert rows["search"] == ["2", "1", "2,000", "400", "0.002000000", "0.002000000", "0.005000000"]
    assert rows["total"] == ["3", "1", "3,000", "600", "0.004000000", "0.002000000", "0.010000000"]


def test_spend_comes_as_json(data: Path) -> None:
    output = run(
        "report", "spend", "--by", "feature,tier", "--where", "feature=mail", "--since", "2026-01-01",
        *("--format", "json", "--data-dir", data),
    )  # fmt: skip

    [row] = json.loads(output)
    assert (row["feature"], row["tier"], row["cost_usd"], row["tokens"]["output"]) == (
        "mail",
        "small",
        "0.002000000",
        200,
    )


def test_spend_as_csv_cannot_carry_a_formula(data: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    records = [make_record("a", model_served="=cmd|'/c calc'!A1")]
    asyncio.run(write_ledger(hostile / "ledger.db", records))

    output = run("report", "spend", "--by", "model", "--since", "2026-01-01", "--format", "csv", "--data-dir", hostile)

    [row] = csv.DictReader(io.StringIO(output))
    assert row["model"] == "'=cmd|'/c calc'!A1"
    assert row["cost_usd"] == "0.002000000"


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\tx", "\rx"])
def test_every_way_to_begin_a_formula_is_guarded(text: str) -> None:
    assert guarded(text) == "'" + text


def test_a_report_without_a_ledger_is_a_clear_error(tmp_path: Path) -> None:
    error = run("report", "spend", "--data-dir", tmp_path / "nowhere", code=2)

    assert "There is no ledger at" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("bad", [("--by", "mood"), ("--since", "soon"), ("--where", "feature")])
def test_a_report_on_nonsense_says_what_there_is(data: Path, bad: tuple[str, str]) -> None:
    assert run("report", "spend", "--data-dir", data, *bad, code=2).startswith("farthing: ")


def test_explain_tells_the_story_of_a_request(data: Path) -> None:
    story = run("explain", "req-1", "--data-dir", data)

    assert "asked chat/completions for the model 'auto', for feature 'search', task 'faq'" in story
    assert "Policy 'cheapest_passing' chose tier 'small': small passed faq with 0.94 over 0.90." in story
    assert "It cost 0.002000000 USD for 1000 tokens in and 200 out" in story
    assert "input_uncached: 1,000 at 1 USD per million = 0.001 USD" in story


def test_explain_says_where_a_call_would_go_now(config: Path) -> None:
    lines = run("explain", "--feature", "search", "--config", config).splitlines()

    assert lines[0] == "feature search, task faq (the feature's), policy cheapest_passing"
    assert any(line.startswith("-> large") for line in lines)
    assert "deployments: local/big" in lines


def test_explain_says_when_no_policy_is_asked(config: Path) -> None:
    assert "The client pins tier/small" in run(
        "explain", "--feature", "search", "--model", "tier/small", "--config", config
    )
    assert "The client names the model smol" in run(
        "explain", "--feature", "search", "--model", "smol", "--config", config
    )


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("req-1", "--feature", "search"),
        ("--feature", "nope"),
        ("--feature", "search", "--task", "nope"),
        ("--feature", "search", "--model", "nope"),
        ("--feature", "search", "--model", "tier/nope"),
    ],
)
def test_explain_refuses_what_it_cannot_answer(config: Path, arguments: tuple[str, ...]) -> None:
    assert run("explain", *arguments, "--config", config, code=2).startswith("farthing: ")


def test_explain_names_what_there_is_in_place_of_what_there_is_not(config: Path) -> None:
    feature = run("explain", "--feature", "serach", "--config", config, code=2)
    model = run("explain", "--feature", "search", "--model", "gpt-9", "--config", config, code=2)

    assert "The feature 'serach' is not declared under `features:`; declared: " in feature
    assert "search" in feature.partition("declared: ")[2]
    assert "No deployment serves 'gpt-9'; a client can ask for: auto, " in model


def test_explain_of_an_unknown_request_says_so(data: Path) -> None:
    assert "The ledger has no request 'req-9'" in run("explain", "req-9", "--data-dir", data, code=2)


def test_prices_are_shown_for_a_date(config: Path) -> None:
    now = run("prices", "show", "--provider", "local", "--model", "big", "--config", config)
    before = run(
        "prices", "show", "--provider", "local", "--model", "big", "--at", "2025-12-31", "--config", config, code=2
    )

    assert re.search(r"input uncached, per million tokens +1\.000000000", now)
    assert re.search(r"output, per million tokens +2\.000000000", now)
    assert "No price is known for model 'big'" in before


def test_the_schema_is_written_where_asked(tmp_path: Path) -> None:
    run("schema", "write", tmp_path / "schemas")

    schema = json.loads((tmp_path / "schemas" / "farthing.schema.json").read_text(encoding="utf-8"))
    assert "tiers" in schema["properties"]


def test_the_version_is_told() -> None:
    assert re.fullmatch(r"\d\S*\n", run("version"))


def test_an_eval_without_a_key_names_the_variable(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FARTHING_API_KEY", raising=False)

    error = run("eval", "run", "sentiment", "--config", config, code=2)

    assert error.startswith("farthing: FARTHING_API_KEY is not set")


def test_an_unknown_suite_says_which_there_are(config: Path) -> None:
    error = run("eval", "run", "no-such-suite", "--config", config, code=2)

    assert "sentiment" in error


def test_serving_a_bad_configuration_prints_findings_and_no_traceback(config: Path) -> None:
    config.write_text("servr: {}", encoding="utf-8")

    error = run("serve", "--config", config, code=2)

    assert error.startswith("farthing: The configuration has")
    assert "Traceback" not in error


def test_budgets_are_shown_with_their_fill_and_what_raises_them(data: Path, config: Path) -> None:
    config.write_text(CONFIG + "budgets: [{id: all, limit_usd: 2, window: month, where: {feature: search}}]\n")
    now_ns = CLOCK.wall_ns()
    raises.add(
        SQLiteFile(data / "ledger.db"),
        Raise(
            id="raise-1",
            budget="all",
            scope="",
            amount=nano_from_usd("0.5"),
            made_ns=now_ns,
            until_ns=now_ns + 3600 * 10**9,
            ended_ns=None,
            author="boss",
            reason="launch week",
        ),
    )

    output = run("budgets", "--config", config, "--data-dir", data)

    assert "all" in output
    assert "2.500000000" in output
    assert "+0.500000000 until " in output
    assert "by boss: launch week" in output


def test_a_key_may_be_made_that_leaves_nothing_in_the_caches() -> None:
    _, _, lines = run("keys", "new", "--cache", "read").partition("\n")

    [key] = yaml.safe_load(lines)
    assert key["cache"] == "read"


def test_cache_stats_tell_what_each_cache_did_and_what_lies_in_the_store(config: Path, data: Path) -> None:
    config.write_text(f"{CONFIG}data_dir: {data}\n", encoding="utf-8")
    stats = ("cache", "stats", "--config", config, "--since", "2026-11-01", "--until", "2026-12-01")

    table = run(*stats)
    members = json.loads(run(*stats, "--format", "json"))
    head, *rows = csv.reader(io.StringIO(run(*stats, "--format", "csv")))

    assert re.search(r"search +exact +2 +1 +50.0% +0.002000000 +0.000000000 +0.002000000", table)
    assert "answers in the exact cache: 0" in table
    assert members["total"]["saved_usd"] == "0.002000000"
    assert members["store"] == {"entries": 0, "bytes": 0}
    assert head[:5] == ["feature", "cache", "requests", "hits", "hit_rate"]
    assert [row[:5] for row in rows] == [
        ["search", "exact", "2", "1", "0.500000"],
        ["mail", "exact", "1", "0", "0.000000"],
        ["total", "", "3", "1", "0.333333"],
    ]


def test_cache_stats_without_a_ledger_say_so(config: Path) -> None:
    assert "There is no ledger" in run("cache", "stats", "--config", config, code=2)


def test_a_cache_server_that_is_away_is_told_in_words(config: Path, data: Path) -> None:
    pytest.importorskip("redis", reason="the client is not installed: scripts/install redis")
    config.write_text(f'{CONFIG}data_dir: {data}\ncache: {{url: "redis://127.0.0.1:1/0"}}\n', encoding="utf-8")

    stats = run("cache", "stats", "--config", config, "--since", "2026-11-01", "--until", "2026-12-01")
    purge = run("cache", "purge", "--everything", "--config", config, code=2)

    assert "search" in stats
    assert "The exact cache cannot be reached" in stats
    assert "The cache cannot be reached (ConnectionError); nothing was done." in purge


def _in_a_database(config: Path, data: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed: scripts/install postgres")
    monkeypatch.setenv("MEANINGS", url)
    text = f"{CONFIG}data_dir: {data}\ncache: {{semantic: {{url: '${{MEANINGS}}'}}}}\n"
    config.write_text(text, encoding="utf-8")


def test_a_semantic_cache_in_a_database_is_told_of_and_purged(
    config: Path, data: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cache.stores.pgvector import PgvectorRows

    _in_a_database(config, data, postgres_url, monkeypatch)
    before = run("cache", "stats", "--config", config, "--since", "2026-11-01", "--until", "2026-12-01")
    rows = PgvectorRows.open(postgres_url, ManualClock(), late_s=5)
    rows.tally("search", {"requests": 4, "hits": 1, "graded": 1, "weight": 1, "squares": 1})
    rows.close()

    after = run("cache", "stats", "--config", config, "--since", "2026-11-01", "--until", "2026-12-01")
    purged = run("cache", "purge", "--feature", "search", "--config", config)

    assert "Wrong answers of the semantic cache" not in before
    assert "Wrong answers of the semantic cache" in after
    assert "purged: feature=search" in purged


def test_a_semantic_cache_whose_database_is_away_is_told_in_words_and_without_its_password(
    config: Path, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _in_a_database(config, data, "postgresql://me:hunter2@127.0.0.1:1/answers", monkeypatch)

    stats = run("cache", "stats", "--config", config, "--since", "2026-11-01", "--until", "2026-12-01")
    purge = run("cache", "purge", "--everything", "--config", config, code=2)

    assert "search" in stats
    assert "The cache cannot be reached (RowsAway); nothing was done." in purge
    assert "the database of the semantic cache does not answer (OperationalError)" in caplog.text
    assert "hunter2" not in stats + purge + caplog.text
