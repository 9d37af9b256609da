"""The commands on prices, through their front door."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from farthing.money import Nano
from farthing.record import Extra
from farthing.usage import Usage
from gateway import cli
from gateway.commands.surroundings import CLOCK
from ledger import reports
from ledger.sqlite_file import SQLiteFile
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
    return reports.totals(SQLiteFile(data / "ledger.db"), since_ns=0, until_ns=2**62).cost


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


def test_explain_tells_a_correction_and_who_made_it(config: Path, data: Path) -> None:
    asked = ("--since", "2026-11-01", "--until", "2027-01-01", "--author", "finance", "--reason", "contract")
    run("prices", "reprice", *asked, "--config", config, "--data-dir", data)

    told = run("explain", "req-1", "--data-dir", data)

    assert "its cost was corrected from 0.002000000 to 0.000200000 USD by 'finance': contract." in told


def test_explain_tells_what_was_spent_outside_of_the_gateway(tmp_path: Path) -> None:
    record = make_record("ext-1", endpoint="external", provider="vectors", model_served="pod", route_reason="", tier="")
    asyncio.run(write_ledger(tmp_path / "ledger.db", [record]))

    told = run("explain", "ext-1", "--data-dir", tmp_path)

    assert "'pod' of 'vectors' was used outside of the gateway, as key 'app' of 'acme' reported" in told
    assert "answered" not in told


def test_a_missing_ledger_is_said(config: Path, tmp_path: Path) -> None:
    told = run("prices", "reprice", "--since", "1d", "--config", config, "--data-dir", tmp_path / "none", code=2)

    assert "There is no ledger" in told


def test_a_difference_of_two_dates_is_told_rate_by_rate(config: Path, tmp_path: Path) -> None:
    """o3 cost 10 and 40 USD a million until 2025-06-10, and 2 and 8 from then on."""
    asked = ("--since", "2025-06-01", "--until", "2025-07-01", "--provider", "openai", "--model", "o3")

    told = run("prices", "diff", *asked, "--config", config, "--data-dir", tmp_path / "none")

    assert "prices of 2025-06-01 against 2025-07-01" in told
    (line,) = [line for line in told.splitlines() if " input uncached, per million" in line]
    assert line.split()[-3:] == ["10.000000000", "2.000000000", "-80.0%"]
    assert "no ledger at" in told


IMAGES = CONFIG.replace(
    "output_per_mtok: 0.2}", "output_per_mtok: 0.2, output_image_per_mtok: 30, per_web_search: 0.01}"
)


def test_what_is_priced_beside_the_tokens_is_shown(config: Path) -> None:
    config.write_text(IMAGES, encoding="utf-8")

    told = run("prices", "show", "--provider", "local", "--model", "smol", "--config", config)

    lines = {" ".join(line.split()[2:-1]): line.split()[-1] for line in told.splitlines() if "standard" in line}
    assert lines["output, per million tokens"] == "0.200000000"
    assert lines["output image, per million tokens"] == "30.000000000"
    assert lines["web searches, each"] == "0.010000000"
    assert "video" not in told


def test_what_changed_beside_the_tokens_is_told_with_what_it_means_for_traffic(config: Path, tmp_path: Path) -> None:
    """10 of the 500 tokens of output are images, at 0.2 USD a million like text, and at 30 by the list; a search of
    0.01 becomes one of 0.02."""
    config.write_text(IMAGES.replace("output_image_per_mtok: 30, ", ""), encoding="utf-8")
    listed = tmp_path / "new.json"
    entry = {"provider": "ours", "model": "smol", "input_per_mtok": "0.1", "output_per_mtok": "0.2"}
    listed.write_text(json.dumps([{**entry, "output_image_per_mtok": "30", "per_web_search": 0.02}]), encoding="utf-8")
    extras = (
        Extra(name="output_image", quantity=10, rate=0),
        Extra(name="web_searches", quantity=1, rate=10**13),
        Extra(name="output", quantity=400, rate=10**9, model="other", part=1),
    )
    now_ns = CLOCK.wall_ns()
    record = make_record("req-1", usage=RECORD.usage, extras=extras, received_ns=now_ns - 86_400 * 10**9)
    asyncio.run(write_ledger(tmp_path / "ledger.db", [record]))

    told = run("prices", "diff", "--against", listed, "--config", config, "--data-dir", tmp_path)

    lines = [" ".join(line.split()) for line in told.splitlines()]
    assert any("output image, per million 0.200000000 30.000000000 +14900.0%" in line for line in lines)
    assert any("web searches, each 0.010000000 0.020000000 +100.0%" in line for line in lines)
    # 1,000 x 0.1 and 100 x 0.2 USD a million and a search of 0.01; 10 x 29.8 a million and 0.01 more
    assert any(line.endswith("1 0.010120000 0.020418000 0.010298000") for line in lines)


def test_a_list_may_price_images_and_searches(config: Path, tmp_path: Path) -> None:
    listed = tmp_path / "new.csv"
    head = "provider,model,input_per_mtok,output_per_mtok,output_image_per_mtok,per_storage_search,valid_from\n"
    listed.write_text(head + "ours,smol,0.1,0.2,30,0.0025,2026-01-01\n", encoding="utf-8")

    run("prices", "update", listed, "--config", config)

    told = run("prices", "show", "--provider", "local", "--model", "smol", "--config", config)
    assert "output image, per million tokens" in told
    assert "0.002500000" in told


def test_prices_that_did_not_change_are_not_told(config: Path, tmp_path: Path) -> None:
    asked = ("--since", "2026-06-01", "--until", "2026-06-01")

    told = run("prices", "diff", *asked, "--config", config, "--data-dir", tmp_path / "none")

    assert "per million" not in told


def test_the_configuration_is_compared_with_the_catalogue(config: Path, tmp_path: Path) -> None:
    told = run("prices", "diff", "--config", config, "--data-dir", tmp_path / "none")

    (line,) = [line for line in told.splitlines() if " input uncached, per million" in line]
    assert line.split()[-3:] == ["no", "price", "0.100000000"]


def test_a_file_is_compared_with_present_prices_and_with_last_months_traffic(config: Path, tmp_path: Path) -> None:
    """The record's 1,000 input and 500 output tokens: 200,000 nano-dollars at present, 600,000 at three times."""
    listed = tmp_path / "new.csv"
    listed.write_text("provider,model,input_per_mtok,output_per_mtok\nours,smol,0.3,0.6\n", encoding="utf-8")
    now_ns = CLOCK.wall_ns()
    record = make_record(
        "req-1", usage=RECORD.usage, cost=Nano(200_000), rates=OLD_RATES, received_ns=now_ns - 86_400 * 10**9
    )
    asyncio.run(write_ledger(tmp_path / "ledger.db", [record]))
    before = config.read_text(encoding="utf-8")

    told = run("prices", "diff", "--against", listed, "--config", config, "--data-dir", tmp_path)

    (line,) = [line for line in told.splitlines() if " output, per million" in line]
    assert line.split()[-3:] == ["0.200000000", "0.600000000", "+200.0%"]
    assert "would cost 0.000400000 USD more" in told
    assert config.read_text(encoding="utf-8") == before


@pytest.mark.parametrize("wrong", [("--until", "2026-01-01"), ("--since", "1d", "--against", "x.csv")])
def test_comparisons_are_not_mixed(config: Path, wrong: tuple[str, ...]) -> None:
    assert "--since with or without --until" in run("prices", "diff", *wrong, "--config", config, code=2)


def test_a_price_is_shown_in_every_service_tier_with_where_it_comes_from(config: Path) -> None:
    told = run("prices", "show", "--provider", "openai", "--model", "gpt-5", "--at", "2026-11-18", "--config", config)

    tiers = {line.split()[0] for line in told.splitlines() if "per million" in line}
    assert {"standard", "flex", "batch"} <= tiers
    assert "from the packaged catalogue" in told


def test_a_price_of_our_own_is_shown_under_either_name_of_its_provider(config: Path) -> None:
    for provider in ("local", "ours"):
        told = run("prices", "show", "--provider", provider, "--model", "smol", "--config", config)

        assert "from `prices:` of the configuration" in told
        assert "0.100000000" in told
