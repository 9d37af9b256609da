"""PostgreSQL for tests that ask for it: one server for all tests of a process, or one of a test's own to mistreat.
And the ledger's engines, for tests of what both of them promise."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ledgers import Engine, PostgresEngine, SQLiteEngine

if TYPE_CHECKING:
    from tests.postgres import Server
    from tests.valkey import Server as CacheServer

FIXTURES = ("postgres", "own_postgres", "engine")
LOG_TAIL = 4_000


@pytest.fixture(scope="session")
def postgres() -> Iterator["Server"]:
    """A server that the tests of this process share: take a `fresh_database`, and leave the server running."""
    yield from _server()


@pytest.fixture
def own_postgres() -> Iterator["Server"]:
    """A server for one test, which may restart and kill it."""
    yield from _server()


@pytest.fixture
def postgres_url(postgres: "Server") -> Iterator[str]:
    """A new, empty database of the shared server, removed after the test."""
    url = postgres.fresh_database()
    yield url
    postgres.drop(url)


@pytest.fixture(scope="session")
def postgres_engine(postgres: "Server") -> Iterator[PostgresEngine]:
    """For `engine_named`, which empties it."""
    engine = PostgresEngine(postgres)
    yield engine
    postgres.drop(engine.url)


@pytest.fixture
def engine_named(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Engine]:
    """An empty ledger of the engine with that name."""

    def find(name: str) -> Engine:
        if name == "sqlite":
            return SQLiteEngine(tmp_path / "ledger.db")
        found: PostgresEngine = request.getfixturevalue("postgres_engine")
        found.empty()
        return found

    return find


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, engine_named: Callable[[str], Engine]) -> Engine:
    """An empty ledger, of each engine in turn."""
    return engine_named(request.param)


def _server() -> Iterator["Server"]:
    pytest.importorskip("psycopg", reason="psycopg is not installed: scripts/install postgres")
    from tests.postgres import Server, installed

    if installed() is None:
        pytest.skip("PostgreSQL is not installed: scripts/install postgres-server")
    with Server() as server:
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the server wrote beside the failure of a test that used one."""
    report = yield
    if report.failed:
        for name in FIXTURES:
            used = getattr(item, "funcargs", {}).get(name)
            log = getattr(getattr(used, "server", used), "log", "")
            if log:
                report.sections.append((f"PostgreSQL log of {name}", log[-LOG_TAIL:]))
    return report


@pytest.fixture(scope="session")
def valkey() -> Iterator["CacheServer"]:
    """A Valkey or Redis that the tests of this process share: take a `fresh_url`, and leave it running."""
    yield from _cache_server()


@pytest.fixture
def own_valkey() -> Iterator["CacheServer"]:
    """One for a single test, which may end and freeze it."""
    yield from _cache_server()


@pytest.fixture
def valkey_url(valkey: "CacheServer") -> str:
    """An empty database of the shared server."""
    return valkey.fresh_url()


def _cache_server() -> Iterator["CacheServer"]:
    pytest.importorskip("redis", reason="the client is not installed: scripts/install redis")
    from tests import valkey

    if valkey.installed() is None:
        pytest.skip("no Valkey or Redis: scripts/install valkey-server")
    with valkey.Server() as server:
        yield server
