"""Prometheus and its tools for tests: where they are, what its rules say, and which metrics there are to ask for."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "config" / "prometheus"
RULE_FILES = tuple(sorted((CONFIG / "rules").glob("*.yml")))
UNIT_TESTS = tuple(sorted((CONFIG / "tests").glob("*.yml")))
PACKAGES = {"amtool": "prometheus-alertmanager", "prometheus": "prometheus", "promtool": "prometheus"}
_METRIC = re.compile(r"\bfarthing_[a-z_]+\b")
_QUOTED = re.compile(r'"[^"]*"')


def program(name: str) -> str:
    """The path of a program; skips the test where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {PACKAGES[name]}")
    return found


def run(name: str, *arguments: str | Path) -> str:
    """What the program writes; fails the test, with all of it, where it does not end well."""
    done = subprocess.run([program(name), *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules() -> Iterator[dict[str, Any]]:
    """Every rule of every file."""
    for file in RULE_FILES:
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]


def alerts() -> list[dict[str, Any]]:
    """The rules that raise an alert."""
    return [rule for rule in rules() if "alert" in rule]


def metrics_in(expression: str) -> set[str]:
    """The metrics of the gateway that a query asks for, as they are documented."""
    found = _METRIC.findall(_QUOTED.sub("", re.sub(r"\w+:farthing_[a-z_]+:\w+", "", expression)))
    return {re.sub(r"_(bucket|count|sum)$", "", name) if name not in documented_metrics() else name for name in found}


def documented_metrics() -> set[str]:
    """The names in docs/metrics.md, which another test holds against the gateway's."""
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `(farthing_\w+)` \|", page, flags=re.MULTILINE))
