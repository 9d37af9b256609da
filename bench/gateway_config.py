"""The configuration with which the benchmark starts a gateway: everything on, one upstream, one key."""

import hashlib
from pathlib import Path

import yaml

BENCH_KEY = "fk-bench-0123456789abcdef0123456789abcdef"
BENCH_MODEL = "bench-model"


def write_gateway_config(directory: Path, upstream_base_url: str, port: int) -> str:
    """Write a whole config directory for `farthing serve --config` and return the API key it accepts.

    Accounting, three budgets, metrics, request log and the exact cache are on; the semantic cache is off, since its
    cost is the embedder's. The ledger lies in the same directory. `upstream_base_url` ends in /v1.
    """
    deployment = {"provider": "mock", "model": BENCH_MODEL}
    tree = {
        "server": {"host": "127.0.0.1", "port": port, "workers": 1},
        "data_dir": str(directory / "data"),
        "cache": {"semantic": {"enabled": False}},
        "providers": {"mock": {"kind": "vllm", "base_url": upstream_base_url}},
        "tiers": [{"name": "only", "deployments": [deployment]}],
        "default_tier": "only",
        "features": {"bench": {"team": "bench"}},
        "keys": [{"id": "bench", "hash": f"sha256:{_sha256(BENCH_KEY)}", "tenant": "bench", "feature": "bench"}],
        "prices": [{**deployment, "input_per_mtok": "0.10", "output_per_mtok": "0.40"}],
        "budgets": [
            {"id": "feature-day", "limit_usd": "1000000", "window": "day", "where": {"feature": "bench"}},
            {"id": "tenant-month", "limit_usd": "1000000", "window": "month", "where": {"tenant": "bench"}},
            {"id": "key-day", "limit_usd": "1000000", "window": "day", "per": ["key"]},
        ],
    }
    (directory / "farthing.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    return BENCH_KEY


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
