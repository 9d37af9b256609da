"""PostgreSQL for tests that ask for it: one server for all tests of a process, or one of a test's own to mistreat."""

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.postgres import Server

FIXTURES = ("postgres", "own_postgres")
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
            server = getattr(item, "funcargs", {}).get(name)
            if server is not None:
                report.sections.append((f"PostgreSQL log of {name}", server.log[-LOG_TAIL:]))
    return report
