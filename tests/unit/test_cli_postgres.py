"""The commands on books in PostgreSQL, through their front door; what they say never has the password."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from farthing.money import Nano
from farthing.tags import Tags
from farthing.usage import Usage
from gateway import cli
from ledger import reports
from tests.http.admin_setup import HIT, MONTHLY, make_record, write_books
from tests.ledgers import VARIABLE, Engine, PostgresEngine

CONFIG = """
providers:
  local: {kind: llamacpp, base_url: "http://127.0.0.1:1/v1"}
tiers:
  - name: small
    deployments: [{provider: local, model: smol}]
default_tier: small
features:
  search: {}
budgets:
  - {id: search-month, limit_usd: 10, window: month, where: {feature: search}}
prices:
  - {provider: local, model: smol, input_per_mtok: 3, output_per_mtok: 6}
keys: []
"""
RATES = '{"input_uncached": 1000000000, "output": 2000000000}'


@pytest.fixture
def engine(engine_named: Callable[[str], Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Books of two calls that cost 1.4 thousandths of a dollar each, a hit, and a call of another feature."""
    found = engine_named("postgres")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, found.environment[VARIABLE])
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "farthing.yaml").write_text(CONFIG + found.yaml, encoding="utf-8")
    priced = {"usage": Usage(input_uncached=1000, output=200), "cost": Nano(1_400_000), "rates": RATES, "attempts": ()}
    records = [
        make_record("req-1", **priced),
        make_record("req-2", **priced),
        make_record("req-3", **HIT, price_version=""),
        make_record("req-4", **priced, tags=Tags(tenant="acme", key_id="app", feature="mail")),
    ]
    asyncio.run(write_books(found, records, [MONTHLY]))
    yield found


@pytest.fixture
def run(engine: PostgresEngine) -> Callable[..., str]:
    def run(*arguments: object, code: int = 0) -> str:
        result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        assert str(urlsplit(engine.url).password) not in result.output
        return result.output

    return run


@pytest.mark.usefixtures("engine")
def test_a_report_is_the_ledgers(run: Callable[..., str]) -> None:
    told = run(
        "report", "spend", "--by", "feature", "--since", "2026-11-01", "--until", "2027-01-01", "--format", "csv"
    )

    assert [line.split(",")[:2] for line in told.splitlines()] == [
        ["feature", "requests"],
        ["search", "3"],
        ["mail", "1"],
    ]
    assert "0.002800000" in told


@pytest.mark.usefixtures("engine")
def test_costs_of_inferences_are_told(run: Callable[..., str]) -> None:
    told = run("report", "inference", "--by", "feature", "--since", "2026-11-01", "--until", "2027-01-01")

    assert "search" in told
    assert "0.0014" in told


@pytest.mark.usefixtures("engine")
def test_a_call_is_explained(run: Callable[..., str]) -> None:
    told = run("explain", "req-1")

    assert "0.001400000" in told
    assert "req-9" in run("explain", "req-9", code=2)


def test_the_check_finds_what_does_not_add_up_and_repairs_it(engine: Engine, run: Callable[..., str]) -> None:
    sound = run("ledger", "check")
    engine.change("UPDATE rollup_hours SET cost = cost + 5")

    found = run("ledger", "check", code=1)
    run("ledger", "check", "--repair", code=1)

    assert sound.startswith("1 days and 1 accounts")
    assert "cost is 5 more" in found
    assert run("ledger", "check").endswith(": 0 differences\n")


def test_records_are_priced_anew(engine: Engine, run: Callable[..., str]) -> None:
    run("prices", "reprice", "--since", "2026-11-01", "--until", "2027-01-01")

    assert reports.totals(engine.database, since_ns=0, until_ns=2**62).cost == 3 * 4_200_000
    assert run("ledger", "check").endswith(": 0 differences\n")


@pytest.mark.usefixtures("engine")
def test_budgets_show_what_is_spent(run: Callable[..., str]) -> None:
    told = run("budgets")

    assert "search-month" in told


@pytest.mark.usefixtures("engine")
def test_the_configuration_is_checked_without_a_server(
    run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "postgresql://farthing:secret@127.0.0.1:1/nobody")

    assert "secret" not in run("check")


@pytest.mark.parametrize("command", [("report", "spend"), ("ledger", "check"), ("budgets",), ("explain", "req-1")])
def test_before_the_first_start_there_is_no_ledger(engine: Engine, run: Callable[..., str], command: list[str]) -> None:
    engine.remove()

    assert f"There is no ledger at {engine.database.label}" in run(*command, code=2)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("command", [("report", "spend"), ("ledger", "check"), ("budgets",), ("explain", "req-1")])
def test_a_server_that_is_away_is_named(
    run: Callable[..., str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "postgresql://farthing:hunter2@127.0.0.1:1/books")

    told = run(*command, code=2)

    assert "127.0.0.1:1/books" in told
    assert "hunter2" not in told
