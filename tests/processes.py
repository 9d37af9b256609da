"""Gateways in processes of their own: started as an operator starts them, killed, and read afterwards."""

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from farthing.record import Record
from ledger import reports
from ledger.sqlite_file import SQLiteFile
from tests import gateway
from tests.gateway import KEY, write_tree

ROOT = Path(__file__).parents[1]
WAIT_S = 45.0
LISTENING = re.compile(r"listening on (http://\S+)")


async def until(happened: Callable[[], bool], *, wait_s: float = WAIT_S) -> None:
    """As tests.gateway.until, with the patience that processes need."""
    await gateway.until(happened, wait_s=wait_s, every_s=0.01)


def write_config(directory: Path, upstream: str, *changes: tuple[str, str]) -> Path:
    """The tests' configuration with a talkative log; each change is a text that occurs once, and what replaces it."""
    config = write_tree(directory, upstream)
    edit(config, ("{level: error}", "{level: info}"), *changes)
    return config


def edit(config: Path, *changes: tuple[str, str]) -> None:
    """Change the configuration as an editor does: the whole file at once."""
    file = config / "farthing.yaml"
    text = file.read_text()
    for old, new in changes:
        assert text.count(old) == 1, (old, text.count(old))
        text = text.replace(old, new)
    draft = config / "farthing.draft"
    draft.write_text(text)
    draft.replace(file)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayProcess:
    """`farthing serve` as a leader of its own process group, and the folder it works in."""

    process: subprocess.Popen[bytes]
    folder: Path
    address: str
    client: httpx.AsyncClient

    async def chat(self, content: str = "hello", *, feature: str = "plain", **body: Any) -> httpx.Response:
        """One chat call."""
        asked = {"model": "plain-model", "max_tokens": 50, "messages": [{"role": "user", "content": content}], **body}
        return await self.client.post("/v1/chat/completions", json=asked, headers={"x-farthing-feature": feature})

    def workers(self) -> list[int]:
        """The process ids of the workers; Linux only."""
        return [child for child in children(self.process.pid) if b"spawn_main" in command_line(child)]

    @property
    def log(self) -> str:
        """What it wrote to standard error."""
        return (self.folder / "log").read_text()

    async def kill(self) -> None:
        """SIGKILL for every process of it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        await asyncio.to_thread(self.process.wait)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, WAIT_S)


@asynccontextmanager
async def gateway_process(config: Path, *arguments: str) -> AsyncIterator[GatewayProcess]:
    """Start a gateway on a free port and wait until it listens; whatever is left of it at the end is killed."""
    folder = config.parent
    process = spawn(config, "--port", "0", *arguments)
    try:
        await until(lambda: bool(LISTENING.search((folder / "log").read_text())) or process.poll() is not None)
        found = LISTENING.search((folder / "log").read_text())
        assert found, (folder / "log").read_text()
        headers = {"authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(base_url=found[1], headers=headers, timeout=WAIT_S, trust_env=False) as client:
            yield GatewayProcess(process=process, folder=folder, address=found[1], client=client)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)


def spawn(config: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """`farthing serve`, logging into the file `log` beside the configuration."""
    with (config.parent / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "--config", str(config), *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},  # half of a start is compiling where somebody forbade it
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def children(pid: int) -> list[int]:
    """The processes that this one started; Linux only."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_line(pid: int) -> bytes:
    """What the process was started with; Linux only."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def ask_ledger(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    """Rows of the ledger of a gateway that worked in this folder."""
    with closing(sqlite3.connect(f"file:{folder / 'data' / 'ledger.db'}?mode=ro", uri=True)) as database:
        return database.execute(statement).fetchall()


def holds(folder: Path) -> int:
    """How many calls are under way, or were when the gateway was killed."""
    return int(ask_ledger(folder, "SELECT count(*) FROM holds")[0][0])


def records(folder: Path) -> Sequence[Record]:
    """Every record, oldest first; at most 1,000."""
    return list(reversed(reports.recent(SQLiteFile(folder / "data" / "ledger.db"), 1_000)))
