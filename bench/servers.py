"""Servers of a benchmark: the PostgreSQL of the tests, from a package, where the ledger is to be there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.run import BenchmarkFailed

if TYPE_CHECKING:
    from tests.postgres import Server


@contextmanager
def server_for(ledger: str) -> Iterator["Server | None"]:
    """A running server for the ledger `postgres`, none for any other. Raises BenchmarkFailed."""
    if ledger != "postgres":
        yield None
        return
    try:
        from tests.postgres import Server

        server = Server()
    except (ImportError, FileNotFoundError) as error:
        raise BenchmarkFailed(f"{error}: scripts/install postgres postgres-server") from None
    with server:
        yield server
