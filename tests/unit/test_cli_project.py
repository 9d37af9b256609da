"""`farthing project re-embed` and `farthing report prompt-cache`: what another embedding model would cost, and what the
prompt caches of providers saved."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cache.embeddings import Vector, packed
from cache.exact import ExactCache
from cache.stores.sqlite import SQLiteStore
from cache.stores.survey import kept_vectors
from farthing.answer import StoredAnswer
from farthing.money import Nano
from farthing.record import CacheOutcome, Outcome
from farthing.tags import Tags
from farthing.usage import Usage
from gateway import cli
from gateway.commands.surroundings import CLOCK
from tests.http.admin_setup import make_record, write_ledger

RUNNER = CliRunner()
CONFIG = """
providers:
  local: {kind: vllm, base_url: "http://127.0.0.1:1/v1"}
tiers:
  - name: small
    deployments: [{provider: local, model: smol}]
models:
  embed: [{provider: local, model: embed-small}]
  better: [{provider: local, model: embed-large}]
features:
  search: {}
  mail: {}
prices:
  - {provider: local, model: smol, input_per_mtok: 1, output_per_mtok: 2}
  - {provider: local, model: embed-small, input_per_mtok: 0.02, output_per_mtok: 0}
  - {provider: local, model: embed-large, input_per_mtok: 0.13, output_per_mtok: 0}
  - {provider: local, model: embed-large, service_tier: batch, input_per_mtok: 0.065, output_per_mtok: 0}
keys: []
"""


def vector(model: str, dimension: int, tokens: int) -> StoredAnswer:
    data = np.zeros(dimension, dtype="<f4").tobytes()
    return StoredAnswer(
        body=packed(Vector(model, data)),
        model=model,
        provider="local",
        tier="",
        usage=Usage(input_uncached=tokens),
        cost=Nano(1),
        stored_ns=CLOCK.wall_ns(),
    )


async def keep(path: Path, *answers: tuple[str, StoredAnswer]) -> None:
    """Answers by feature, as the gateway keeps them."""
    cache = ExactCache(SQLiteStore.open(path, max_bytes=1 << 24), CLOCK, memory_bytes=1 << 20)
    for number, (feature, answer) in enumerate(answers):
        await cache.put(number.to_bytes(32, "big"), f"acme\0{feature}".encode(), answer, ttl_s=3600)
    await cache.close()


def embedding(id_: str, tokens: int, feature: str = "search", **changes: Any) -> Any:
    tags = Tags(tenant="acme", key_id="app", feature=feature)
    usage = Usage(input_uncached=tokens)
    fields = {
        "tags": tags,
        "usage": usage,
        "endpoint": "embeddings",
        "model_served": "embed-small",
        "cost": Nano(tokens),
    }
    return make_record(id_, received_ns=CLOCK.wall_ns() - 10**9, **{**fields, **changes})


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "farthing.yaml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / ".farthing").mkdir()
    hit = {"cache": CacheOutcome.EXACT, "outcome": Outcome.HIT, "usage": Usage(), "cost": Nano(0)}
    records = [
        embedding("one", 1_000_000, inputs=10, inputs_sent=8),
        embedding("two", 500_000, feature="mail", inputs=5, inputs_sent=5),
        embedding("before", 300_000),
        embedding("hit", 0, **hit, inputs=3),
        embedding("other", 7, model_served="another"),
        make_record("chat", received_ns=CLOCK.wall_ns() - 10**9),
    ]
    asyncio.run(write_ledger(tmp_path / ".farthing" / "ledger.db", records))
    kept = [("search", vector("embed-small", 1536, 40)), ("search", vector("embed-small", 1536, 50))]
    others = [("mail", vector("embed-small", 256, 10)), ("mail", vector("embed-large", 3072, 99))]
    whole = StoredAnswer(
        body=b"{}", model="embed-small", provider="", tier="", usage=Usage(), cost=Nano(0), stored_ns=0
    )
    asyncio.run(keep(tmp_path / ".farthing" / "cache.db", *kept, *others, ("search", whole)))
    return tmp_path


def run(*options: str) -> str:
    result = RUNNER.invoke(cli.app, ["project", "re-embed", "--config", "farthing.yaml", *options])
    assert result.exit_code == 0, result.output
    return result.output


def figures(*options: str) -> dict[str, Any]:
    return dict(json.loads(run(*options, "--format", "json")))


def test_cache_and_ledger_are_priced_at_the_new_model(place: Path) -> None:
    found = figures("--from", "embed", "--to", "better")

    assert found["from"] == ["embed-small"]
    assert (found["to"]["provider"], found["to"]["model"]) == ("local", "embed-large")
    # 40 + 50 + 10 tokens at 0.13 USD a million
    assert found["kept"] == {"inputs": 3, "tokens": 100, "cost_usd": "0.000013000", "batch_cost_usd": "0.000006500"}
    sent = found["sent"]
    assert (sent["tokens"], sent["cost_usd"], sent["batch_cost_usd"]) == (1_800_000, "0.234000000", "0.117000000")
    assert (sent["requests"], sent["requests_with_inputs"]) == (4, 3)
    assert (sent["inputs"], sent["inputs_sent"], sent["cost_then_usd"]) == (18, 13, "0.001800000")
    assert found["dimensions"] == {"from": [256, 1536], "to": 3072}
    assert found["vector_bytes"] == {"now": (2 * 1536 + 256) * 4, "then": 3 * 3072 * 4}
    assert any("1 of 4 calls" in sentence for sentence in found["not_known"])


def test_one_feature_alone(place: Path) -> None:
    found = figures("--from", "embed", "--to", "better", "--feature", "mail")

    assert (found["kept"]["inputs"], found["kept"]["tokens"]) == (1, 10)
    assert (found["sent"]["tokens"], found["sent"]["inputs_sent"]) == (500_000, 5)


def test_a_model_that_is_not_configured_is_looked_up_in_the_price_book(place: Path) -> None:
    found = figures("--from", "embed", "--to", "openai/text-embedding-3-large")

    assert found["to"]["provider"] == "openai"
    assert found["sent"]["cost_usd"] == "0.234000000"
    assert found["dimensions"]["to"] is None
    assert any("--dimensions" in sentence for sentence in found["not_known"])


def test_a_bare_name_is_a_model_of_the_same_provider(place: Path) -> None:
    assert figures("--from", "embed", "--to", "embed-large", "--dimensions", "8")["dimensions"]["to"] == 8


def test_the_table_tells_the_same_and_what_is_not_known(place: Path) -> None:
    output = run("--from", "embed", "--to", "better")

    assert "From embed-small to local embed-large" in output
    assert "A million tokens of it cost 0.130000000 USD today" in output
    assert "Dimensions: 256, 1536 now, 3072 then." in output
    assert "1,800,000" in output
    assert "Not known:" in output
    assert "- Texts that were embedded before this period" in output


def test_a_model_without_a_price_is_an_error_that_names_it(place: Path) -> None:
    result = RUNNER.invoke(
        cli.app, ["project", "re-embed", "--config", "farthing.yaml", "--from", "embed", "--to", "nobody/knows"]
    )

    assert result.exit_code == 2
    assert "knows" in result.output


def test_without_a_file_of_the_cache_the_ledger_alone_is_asked(place: Path) -> None:
    (place / ".farthing" / "cache.db").unlink()

    found = figures("--from", "embed", "--to", "better")

    assert found["kept"]["inputs"] == 0
    assert any("no file of it here" in sentence for sentence in found["not_known"])


def test_what_has_expired_is_not_counted(place: Path) -> None:
    path = place / ".farthing" / "cache.db"

    assert sum(group.inputs for group in kept_vectors(path, CLOCK.wall_ns())) == 4
    assert kept_vectors(path, CLOCK.wall_ns() + 3601 * 10**9) == []


def test_the_report_on_prompt_caches_tells_net_of_the_premium(place: Path) -> None:
    usage = Usage(input_uncached=100, cache_read=800, cache_write_5m=100)
    rates = '{"input_uncached":3000000000,"cache_read":300000000,"cache_write_5m":3750000000}'
    record = make_record("req-9", received_ns=CLOCK.wall_ns() - 10**9, usage=usage, rates=rates, model_served="sonnet")
    (place / "other").mkdir()
    asyncio.run(write_ledger(place / "other" / "ledger.db", [record]))

    outputs = [
        RUNNER.invoke(cli.app, ["report", "prompt-cache", "--data-dir", "other", "--format", form]).output
        for form in ("json", "csv", "table")
    ]

    (row,) = json.loads(outputs[0])
    assert (row["read_share"], row["saved_usd"], row["premium_usd"], row["net_usd"]) == (
        *(0.8, "0.002160000"),  # 800 x 2.70 USD a million
        *("0.000075000", "0.002085000"),
    )
    assert outputs[1].splitlines()[0].endswith("saved_usd,premium_usd,net_usd")
    assert all("0.002085000" in output for output in outputs)
