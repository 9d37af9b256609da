"""The configuration with which the benchmark starts a gateway: everything on, one upstream, one key."""

import hashlib
from pathlib import Path

import yaml

BENCH_KEY = "fk-bench-0123456789abcdef0123456789abcdef"
BENCH_MODEL = "bench-model"


def write_gateway_config(directory: Path, upstream_base_url: str, port: int) -> str:
    """Write a whole config directory for `farthing serve --config` and return the API key it accepts.

    Accounting, metrics and the exact cache are on; the semantic cache is off for the feature `bench`.
    The ledger lies in the same directory. `upstream_base_url` ends in /v1.
    """
    tree = {
        "server": {"host": "127.0.0.1", "port": port, "workers": 1},
        "ledger": {"path": str(directory / "ledger.db")},
        "cache": {"exact": {"enabled": True}, "semantic": {"enabled": False}},
        "upstreams": {"mock": {"base_url": upstream_base_url, "models": [BENCH_MODEL]}},
        "features": {"bench": {"owner": "bench"}},
        "keys": [
            {"id": "bench", "sha256": hashlib.sha256(BENCH_KEY.encode()).hexdigest(), "feature": "bench"}
        ],
        "prices": {BENCH_MODEL: {"input_per_million_usd": "0.10", "output_per_million_usd": "0.40"}},
        "budgets": [{"scope": {"feature": "bench"}, "window": "day", "limit_usd": "1000000"}],
    }
    (directory / "farthing.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    return BENCH_KEY
