"""Victims: gateways in processes of their own that are killed, started again, and read afterwards."""

import asyncio
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from bench.processes import ROOT
from bench.run import BenchmarkFailed
from ledger.database import Database
from ledger.sqlite_file import SQLiteFile

KEY = "fk-victim-0123456789abcdef0123456789abcdef"
MODEL, FAILING = "paid-model", "mock-500"
"""The model that answers and bills, and one at the same price that fails and bills nothing."""
URL_NAME = "FARTHING_LEDGER_URL"
START_S = 60.0
_POLL_S = 0.05


def write_config(
    directory: Path, upstream: str, *, features: Mapping[str, Any], budgets: list[Any], price: str, shared: bool = False
) -> Path:
    """A configuration with one key for every feature. `price` is USD per million output tokens; input costs a
    thousandth of it, so that the bound on the input does not blur what is asked of the caps. `shared`: its ledger is
    the one at the Victim's URL."""
    input_price = f"{float(price) / 1000:.9f}"
    rates = {"input_per_mtok": input_price, "output_per_mtok": price}
    tree = {
        "server": {"host": "127.0.0.1", "port": 0},
        "data_dir": str(directory / "data"),
        **({"ledger": {"url": f"${{{URL_NAME}}}"}} if shared else {}),
        "logging": {"level": "error"},
        "cache": {"semantic": {"enabled": False}},
        "upstream": {"cooldown": "1ms", "max_connections": 2000},
        "providers": {"mock": {"kind": "vllm", "base_url": upstream}},
        "tiers": [{"name": "only", "deployments": [_place(MODEL)]}],
        "default_tier": "only",
        "models": {
            **{name: [_place(MODEL)] for name in ("one-name", "other-name")},
            "failing-first": [_place(FAILING), _place(MODEL)],
        },
        "aliases": {"third-name": "tier/only"},
        "features": dict(features),
        "keys": [
            {
                "id": "all",
                "hash": f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}",
                "tenant": "victims",
                "feature": next(iter(features)),
                "rights": ["call", "admin"],
            }
        ],
        "prices": [{**_place(model), **rates} for model in (MODEL, FAILING)],
        "budgets": budgets,
    }
    config = directory / "config"
    config.mkdir(parents=True)
    (config / "farthing.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    return config


def _place(model: str) -> dict[str, str]:
    return {"provider": "mock", "model": model}  # a new one each time: YAML would make aliases of one


class Victim:
    """One gateway of several workers on a fixed port; `start` after a kill finds what it left behind. Its books are in
    its folder, or in the PostgreSQL at `url`."""

    def __init__(self, config: Path, workers: int, url: str = "") -> None:
        self._config, self._count, self._url = config, workers, url
        self.port = _free_port()
        self.ledger = config.parent / "data" / "ledger.db"
        self.database = database_at(url) if url else SQLiteFile(self.ledger)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it is not ready when this returns."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gateway", "serve", "--config", str(self._config)),
                    *("--port", str(self.port), "--workers", str(self._count)),
                ],
                cwd=ROOT,
                env={**os.environ, **self._own_environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def _own_environment(self) -> dict[str, str]:
        """Bytecode is kept, if not beside the sources: half of a start is compiling where somebody forbade it."""
        bytecode = str(self._config.parent / "bytecode")
        return {URL_NAME: self._url, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": bytecode}

    @property
    def log(self) -> Path:
        """What it wrote, over all of its lives."""
        return self._config.parent / "log"

    async def ready(self) -> None:
        """Wait until all workers have their ledgers open and one of them answers. Raises BenchmarkFailed."""
        try:
            async with asyncio.timeout(START_S):
                while len(self._open_ledgers()) < self._count or not await self._is_healthy():
                    await self._check_alive()
        except TimeoutError:
            raise BenchmarkFailed(
                f"The gateway was not ready within {START_S:g} s; see its log:\n{self._end}"
            ) from None

    def _open_ledgers(self) -> set[int]:
        """The workers that hold the lease of an open ledger, as /proc/locks knows them, or are connected to the server
        of theirs."""
        if self._url:
            port = int(self._url.rpartition(":")[2].partition("/")[0])
            return {pid for pid in self.workers() if _is_connected(pid, port)}
        leases = self.ledger.with_name(self.ledger.name + ".instances").glob("*.lock")
        files = {_inode(lease) for lease in leases}
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        holders = {int(fields[4]) for fields in locks if fields[1] == "FLOCK" and fields[5].split(":")[-1] in files}
        return holders & set(self.workers())

    async def _check_alive(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise BenchmarkFailed(f"The gateway ended by itself; the end of its log:\n{self._end}")
        await asyncio.sleep(_POLL_S)

    @property
    def _end(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    async def _is_healthy(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: victim\r\nconnection: close\r\n\r\n")
            return b" 200 " in await asyncio.wait_for(reader.readline(), 5)
        except (OSError, TimeoutError):
            return False
        finally:
            writer.transport.abort()

    def workers(self) -> list[int]:
        """The process ids of the living workers; of a single worker its own."""
        if self._process is None:
            return []
        if self._count == 1:
            return [self._process.pid]
        return [pid for pid in _children(self._process.pid) if b"spawn_main" in _command_line(pid)]

    def kill_worker(self, pid: int) -> None:
        """SIGKILL for one process of it."""
        if pid in self.workers():
            os.kill(pid, signal.SIGKILL)

    async def kill(self) -> None:
        """SIGKILL for all of its processes."""
        if self._process is not None:
            with suppress(ProcessLookupError):  # it had ended by itself
                os.killpg(self._process.pid, signal.SIGKILL)  # its own group: start_new_session
            await asyncio.to_thread(self._process.wait)
            self._process = None

    async def kill_parent(self) -> None:
        """SIGKILL for the process that was started, and for none of its workers."""
        assert self._process is not None
        self._process.kill()
        await asyncio.to_thread(self._process.wait)

    async def orphans_ended(self, workers: list[int]) -> None:
        """Wait until workers without a parent have ended by themselves. Raises BenchmarkFailed."""
        deadline = time.monotonic() + START_S
        while any(b"spawn_main" in _command_line(pid) for pid in workers):
            if time.monotonic() > deadline:
                raise BenchmarkFailed(f"Workers outlived their parent by {START_S:g} s: {workers}")
            await asyncio.sleep(_POLL_S)

    async def end(self) -> int:
        """Ask it to end as an operator does; its exit code."""
        assert self._process is not None
        self._process.terminate()
        code = await asyncio.to_thread(self._process.wait, START_S)
        self._process = None
        return code

    def ask(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of its ledger."""
        with self.database.reading() as session:
            return session.execute(statement, values).fetchall()

    def held(self) -> int:
        """How many holds are open."""
        return int(self.ask("SELECT count(*) FROM holds")[0][0])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _inode(path: Path) -> str:
    """Empty where the file is gone: who recovers removes the leases of the dead."""
    try:
        return str(path.stat().st_ino)
    except FileNotFoundError:
        return ""


def database_at(url: str) -> Database:
    """The ledger in a PostgreSQL; its driver is not installed everywhere."""
    from ledger.postgres_database import PostgresDatabase

    return PostgresDatabase(url)


def _is_connected(pid: int, port: int) -> bool:
    """Whether a process of this machine has a TCP connection to that port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{fields[9]}]" for fields in lines if fields[2].endswith(f":{port:04X}") and fields[3] == "01"}
    with suppress(FileNotFoundError, ProcessLookupError):
        return any(str(link.readlink()) in sockets for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


@asynccontextmanager
async def running_victim(config: Path, workers: int, url: str = "") -> AsyncIterator[Victim]:
    """A started, ready gateway; whatever is left of it at the end is killed."""
    victim = Victim(config, workers, url)
    victim.start()
    try:
        await victim.ready()
        yield victim
    finally:
        await victim.kill()
