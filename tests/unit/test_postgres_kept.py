"""Connections for reading that are kept: fewer of them, and nobody notices that one has broken."""

import gc
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed: scripts/install postgres")

import psycopg

from farthing.errors import LedgerUnavailable
from ledger.postgres_database import PostgresDatabase
from ledger.postgres_kept import KEPT
from tests.postgres import wait

OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'farthing'"


@pytest.fixture
def database(postgres_url: str) -> PostgresDatabase:
    database = PostgresDatabase(postgres_url)
    database.prepare()
    return database


def ask(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def server_process(database: PostgresDatabase) -> int:
    with database.reading() as session:
        return int(session.execute("SELECT pg_backend_pid()").fetchone()[0])  # type: ignore[index]


def connections(url: str) -> int:
    return int(ask(url, f"SELECT count(*) {OTHERS}")[0][0])


def test_who_reads_after_another_gets_its_connection_and_a_snapshot_of_its_own(database: PostgresDatabase) -> None:
    first = server_process(database)
    with database.working() as session:
        session.execute("INSERT INTO meta VALUES ('since', 'then')")

    with database.reading() as session:
        (second, seen) = session.execute(
            "SELECT pg_backend_pid(), value FROM meta WHERE name = 'since'"
        ).fetchone() or (0, "")

    assert (second, seen) == (first, "then")


def test_a_kept_connection_that_the_server_has_ended_is_replaced_unnoticed(database: PostgresDatabase) -> None:
    before = server_process(database)
    ask(database.url, f"SELECT pg_terminate_backend(pid, 5000) {OTHERS}")

    after = server_process(database)

    assert after != before


def test_many_readers_at_once_leave_few_connections(database: PostgresDatabase) -> None:
    with ExitStack() as stack:
        for _ in range(2 * KEPT):
            stack.enter_context(database.reading())

    wait(lambda: connections(database.url) == KEPT)


def test_readers_in_threads_share_what_is_kept(database: PostgresDatabase) -> None:
    with ThreadPoolExecutor(KEPT) as threads:
        found = set(threads.map(lambda _: server_process(database), range(200)))

    assert len(found) <= KEPT


def test_a_reader_that_fails_leaves_no_connection(database: PostgresDatabase) -> None:
    with pytest.raises(LedgerUnavailable), database.reading() as session:
        session.execute("SELECT 1 / 0")

    wait(lambda: connections(database.url) == 0)


def test_a_database_that_nobody_has_any_more_keeps_no_connection(postgres_url: str) -> None:
    database = PostgresDatabase(postgres_url)
    database.prepare()
    server_process(database)

    del database
    gc.collect()

    wait(lambda: connections(postgres_url) == 0)


def test_sessions_notice_within_seconds_that_the_other_machine_is_gone(database: PostgresDatabase) -> None:
    with database.reading() as reading, database.working() as working:
        found = [alive(session.execute("SELECT 1").connection) for session in (reading, working)]

    assert found == [(1, 2, 1, 4, 6_000)] * 2


def alive(connection: "psycopg.Connection[Any]") -> tuple[int, ...]:
    tcp = socket.IPPROTO_TCP
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
    with socket.socket(fileno=os.dup(connection.fileno())) as line:
        is_on = line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        return (is_on, *(line.getsockopt(tcp, name) for name in names))
