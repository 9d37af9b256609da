"""The commands on prices, through their front door."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from farthing.money import Nano
from farthing.usage import Usage
from gateway import cli
from ledger import reports
from tests.http.admin_setup import make_record, write_ledger

RUNNER = CliRunner()
CONFIG = """
providers:
  local: {kind: llamacpp, base_url: "http://127.0.0.1:1/v1", price_provider: ours}
tiers:
  - name: small
    deployments: [{provider: local, model: smol}]
default_tier: small
features:
  search: {}
prices:
  - {provider: ours, model: smol, input_per_mtok: 0.1, output_per_mtok: 0.2}
keys: []
"""
OLD_RATES = json.dumps({"input_uncached": 10**9, "output": 2 * 10**9})
RECORD = make_record(
    "req-1",
    usage=Usage(input_uncached=1000, output=500),
    cost=Nano(2_000_000),
    rates=OLD_RATES,
    price_version="old",
    attempts=(),
)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "farthing.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    asyncio.run(write_ledger(tmp_path / "ledger.db", [RECORD]))
    return tmp_path


def run(*arguments: object, code: int = 0) -> str:
    """Standard output of a command that ends with `code`, its errors where it has none."""
    result = RUNNER.invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout or result.stderr


def cost(data: Path) -> int:
    return reports.totals(data / "ledger.db", since_ns=0, until_ns=2**62).cost


def test_records_are_priced_anew_under_the_configurations_name_of_their_provider(config: Path, data: Path) -> None:
    asked = ("prices", "reprice", "--since", "2026-11-01", "--until", "2027-01-01")
    told = run(*asked, "--dry-run", "--config", config, "--data-dir", data)
    before = cost(data)

    done = run(*asked, "--config", config, "--data-dir", data)

    assert "1 adjustments would be written, -0.001800000 USD" in told
    assert before == 2_000_000
    assert "1 adjustments written, -0.001800000 USD" in done
    assert cost(data) == 200_000
    assert "0 adjustments written" in run(*asked, "--config", config, "--data-dir", data)


def test_a_missing_ledger_is_said(config: Path, tmp_path: Path) -> None:
    told = run("prices", "reprice", "--since", "1d", "--config", config, "--data-dir", tmp_path / "none", code=2)

    assert "There is no ledger" in told
