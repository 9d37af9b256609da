"""Prometheus and its tools for tests: where they are, what its rules say, and which metrics there are to ask for."""

import asyncio
import json
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "config" / "prometheus"
RULE_FILES = tuple(sorted((CONFIG / "rules").glob("*.yml")))
UNIT_TESTS = tuple(sorted((CONFIG / "tests").glob("*.yml")))
BOARDS = tuple(sorted((ROOT / "config" / "grafana" / "dashboards").glob("*.json")))
PACKAGES = {
    "amtool": "prometheus-alertmanager",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "promtool": "prometheus",
}
WAIT_S = 20.0
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardQuery:
    """One query of a board, as Grafana stores it."""

    board: str
    panel: str
    ref: str
    expr: str
    instant: bool

    @property
    def name(self) -> str:
        """As a person would point at it."""
        return f"{self.board}: {self.panel}: {self.ref}"

    def asked(self, *, shown: str, lately: str, features: str = ".*") -> str:
        """What Grafana would send, with the time that is shown and its rate interval."""
        filled = self.expr.replace("$__range", shown).replace("$__rate_interval", lately)
        return filled.replace("$feature", features)


def panels(board: Path) -> list[dict[str, Any]]:
    """All panels of a board, rows among them."""
    found: list[dict[str, Any]] = json.loads(board.read_text(encoding="utf-8"))["panels"]
    return found


def board_queries() -> list[BoardQuery]:
    """Every query of every board."""
    return [
        BoardQuery(
            board=board.stem,
            panel=panel["title"],
            ref=target["refId"],
            expr=target["expr"],
            instant=target.get("instant", False),
        )
        for board in BOARDS
        for panel in panels(board)
        for target in panel.get("targets", [])
    ]


@asynccontextmanager
async def running(name: str, folder: Path, address: str, *arguments: str) -> AsyncIterator[httpx.AsyncClient]:
    """Start a server and yield a client of it once it is ready; whatever is left of it at the end is killed."""
    log = folder / f"{name}.log"
    process = _spawn([program(name), f"--web.listen-address={address}", *arguments], folder, log)
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=10, trust_env=False) as client:
            async with asyncio.timeout(WAIT_S):
                while not await _ready(client):
                    assert process.poll() is None, log.read_text()
                    await asyncio.sleep(0.02)
            yield client
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)


def free_address() -> str:
    """An address of this machine at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def _spawn(command: list[str], folder: Path, log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as out:
        return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


async def _ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/-/ready")).status_code == 200
    except httpx.TransportError:
        return False
