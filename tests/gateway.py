"""A whole gateway for tests: a real server in the test's loop, real files in its folder, a mock upstream behind it."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import uvicorn

from bench.mock_upstream import Mock, MockSettings, running_mock
from farthing.record import Record
from gateway.server import Application
from gateway.settings import load
from gateway.wire import PatientProtocol
from ledger import reports
from ledger.database import Database
from tests.ledgers import Engine

KEY = "fk-test-key-of-the-first-tenant"
OTHER_KEY = "fk-test-key-of-the-other-tenant"
ADMIN_KEY = "fk-test-key-of-an-admin"
NOTHING: Mapping[str, str] = MappingProxyType({})

TREE = """
server: {{host: 127.0.0.1, port: 0, max_body_bytes: 100000}}
data_dir: {data_dir}
logging: {{level: error}}
cache: {{semantic: {{enabled: false}}}}
upstream: {{cooldown: 1s}}
unregistered_features: refuse
providers:
  mock:
    kind: vllm
    base_url: {base_url}
    timeouts: {{connect: 1s, first_byte: 2s, idle: 2s, total: 5s}}
  dead:
    kind: vllm
    base_url: http://127.0.0.1:1
    price_provider: mock
tiers:
  - name: small
    deployments: [{{provider: mock, model: small-model, context_window: 8000}}]
  - name: large
    deployments: [{{provider: mock, model: large-model, context_window: 8000}}]
default_tier: large
models:
{models}
tasks:
  triage: {{bar: 0.8, reference: large, candidates: [small]}}
features:
  chat: {{team: web, cache: {{exact: true}}}}
  plain: {{team: web, cache: {{exact: false}}}}
  routed: {{team: web, task: triage, override_model: true}}
  capped: {{team: web, cache: {{exact: false}}}}
  drained: {{team: web, on_hang_up: drain}}
  learned: {{team: web, cache: {{exact: false}}, output_bound: learned}}
budgets:
  - {{id: capped-day, limit_usd: "0.001", window: day, where: {{feature: capped}}}}
  - {{id: each-run, limit_usd: "0.0005", window: run, per: [run]}}
keys:
  - {{id: first, hash: "{key}", tenant: acme, feature: chat, environment: test}}
  - {{id: second, hash: "{other}", tenant: globex, feature: chat, features: [chat]}}
  - {{id: boss, hash: "{admin}", tenant: acme, feature: chat, rights: [call, admin]}}
prices:
{prices}
"""

FAULTS = (
    "mock-429",
    "mock-500",
    "mock-html-502",
    "mock-not-json",
    "mock-slow-first-byte",
    "mock-hang",
    "mock-drop",
    "mock-cut",
    "mock-stall",
    "mock-error-in-stream",
    "mock-no-done",
    "mock-usage-beside-choice",
    "mock-no-usage",
    "mock-length",
    "mock-content-filter",
)
"""Models whose upstream misbehaves as their name says (see bench/mock_upstream.py)."""


def hash_of(key: str) -> str:
    """A virtual key as the configuration knows it."""
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def write_tree(directory: Path, base_url: str, *, extra: str = "", models: Mapping[str, str] | None = None) -> Path:
    """Write the configuration above; `models` adds concrete models as YAML lists of deployments by name."""
    named = {name: f"[{{provider: mock, model: {name}}}]" for name in (*FAULTS, "plain-model")}
    named |= models or {}
    priced = sorted({"small-model", "large-model", *FAULTS, "plain-model"})
    config = directory / "config"
    config.mkdir(exist_ok=True)
    text = TREE.format(
        data_dir=directory / "data",
        base_url=base_url,
        models="\n".join(f"  {name}: {places}" for name, places in named.items()),
        key=hash_of(KEY),
        other=hash_of(OTHER_KEY),
        admin=hash_of(ADMIN_KEY),
        prices="\n".join(
            f"  - {{provider: mock, model: {name}, input_per_mtok: 1, output_per_mtok: 2}}" for name in priced
        ),
    )
    (config / "farthing.yaml").write_text(text + extra)
    return config


def change(config: Path, *changes: tuple[str, str]) -> None:
    """Replace texts of the configuration, each of which occurs once."""
    file = config / "farthing.yaml"
    text = file.read_text()
    for old, new in changes:
        assert text.count(old) == 1, (old, text.count(old))
        text = text.replace(old, new)
    file.write_text(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningGateway:
    """A gateway that answers at `base_url` (with /v1); `client` speaks to its root with the first key."""

    base_url: str
    host: str
    port: int
    application: Application
    client: httpx.AsyncClient
    mock: Mock
    config: Path
    environment: Mapping[str, str]

    async def chat(
        self, content: str = "hello", *, headers: Mapping[str, str] | None = None, **body: Any
    ) -> httpx.Response:
        """One chat call."""
        asked = {"model": "auto", "messages": [{"role": "user", "content": content}], **body}
        return await self.client.post("/v1/chat/completions", json=asked, headers=headers)

    @property
    def database(self) -> Database:
        """The ledger's tables."""
        return self.application.house.engine.database

    def another_worker(self) -> AbstractAsyncContextManager[tuple[Application, int]]:
        """A second process, as it were, with the same configuration."""
        return serving(self.config, environment=self.environment)

    def records(self) -> Sequence[Record]:
        """Every record on the books, oldest first."""
        return list(reversed(reports.recent(self.database, 10_000)))

    def record_of(self, response: httpx.Response) -> Record:
        """The record of one answer."""
        record = reports.record(self.database, response.headers["x-farthing-request-id"])
        assert record is not None
        return record

    def holds(self) -> int:
        """How many calls have money set aside."""
        return reports.open_holds(self.database)

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of all samples of a metric that carry these labels."""
        page = (await self.client.get("/metrics")).text
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in page.splitlines()
            if line.startswith((name + "{", name + " "))
            and all(f'{key}="{value}"' in line for key, value in labels.items())
        )


async def until(happened: Callable[[], bool], *, wait_s: float = 20.0, every_s: float = 0.005) -> None:
    """Wait, up to a bound, for something that happens elsewhere."""
    async with asyncio.timeout(wait_s):
        while not happened():  # noqa: ASYNC110 - it happens in another task, thread or process
            await asyncio.sleep(every_s)


@asynccontextmanager
async def running_gateway(
    directory: Path,
    *,
    extra: str = "",
    models: Mapping[str, str] | None = None,
    changes: Sequence[tuple[str, str]] = (),
    chunks: int = 10,
    duration_ms: int = 0,
    engine: Engine | None = None,
) -> AsyncIterator[RunningGateway]:
    """Start mock and gateway in this loop; `extra` is further YAML, each change a text of the tree and its heir. The
    books are kept by `engine`, else in a file of the gateway's own."""
    settings = MockSettings(chunks=chunks, duration_ms=duration_ms, slow_ms=20, recording=True)
    async with running_mock(settings) as mock:
        config = write_tree(directory, mock.base_url, extra=extra + (engine.yaml if engine else ""), models=models)
        change(config, *changes)
        async with reached(config, mock, environment=engine.environment if engine else {}) as running:
            yield running


@asynccontextmanager
async def reached(
    config: Path,
    mock: Mock,
    protocol: type[asyncio.Protocol] = PatientProtocol,
    environment: Mapping[str, str] = NOTHING,
) -> AsyncIterator[RunningGateway]:
    """Serve a configuration whose upstream is the mock, with a client that has the first key."""
    async with serving(config, protocol, environment) as (application, port):
        root = f"http://127.0.0.1:{port}"
        headers = {"authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(base_url=root, headers=headers, timeout=10, trust_env=False) as client:
            yield RunningGateway(
                base_url=f"{root}/v1",
                host="127.0.0.1",
                port=port,
                application=application,
                client=client,
                mock=mock,
                config=config,
                environment=environment,
            )


@asynccontextmanager
async def serving(
    config: Path, protocol: type[asyncio.Protocol] = PatientProtocol, environment: Mapping[str, str] = NOTHING
) -> AsyncIterator[tuple[Application, int]]:
    """The gateway of a configuration, served by uvicorn as in production."""
    application = Application(config, environment, load(config, environment))
    listener = socket.create_server(("127.0.0.1", 0))
    options: dict[str, Any] = {
        "http": protocol,
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,
    }
    server = uvicorn.Server(uvicorn.Config(application, timeout_graceful_shutdown=2, **options))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[listener])
    assert not application.failure, application.failure
    try:
        yield application, listener.getsockname()[1]
    finally:
        server.should_exit = True
        await server.shutdown(sockets=[listener])
