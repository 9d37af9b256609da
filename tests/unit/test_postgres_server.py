"""The PostgreSQL of the tests: what it promises to the tests that use it."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: scripts/install postgres")

from tests.postgres import Server, processes, runs, wait  # noqa: E402 - needs psycopg

ROOT = Path(__file__).parents[2]
OWNER = """
from tests.postgres import Server, processes
server = Server().start()
print(server.folder, server.pid, *processes(server.pid), flush=True)
input()
"""


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_it_is_durable_speaks_utf8_and_knows_vectors(postgres: Server, postgres_url: str) -> None:
    ask(postgres_url, "CREATE EXTENSION vector")

    settings = {name: ask(postgres_url, f"SHOW {name}") for name in ("fsync", "synchronous_commit", "server_encoding")}

    assert settings == {"fsync": [("on",)], "synchronous_commit": [("on",)], "server_encoding": [("UTF8",)]}
    assert ask(postgres_url, "SELECT lower('ÄÉ'), '[1,2]'::vector <-> '[1,3]'") == [("äé", 1.0)]


def test_a_fresh_database_is_empty_and_separate(postgres: Server) -> None:
    first = postgres.fresh_database()
    ask(first, "CREATE TABLE charges (id bigint)")

    second = postgres.fresh_database()

    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert ask(first, tables) == [(1,)]
    assert ask(second, tables) == [(0,)]


def test_a_dropped_database_is_gone_though_somebody_was_connected(postgres: Server) -> None:
    url = postgres.fresh_database()
    with psycopg.connect(url, autocommit=True) as connection:
        postgres.drop(url)

        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")

    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_nobody_enters_without_the_password(postgres: Server) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.url, password="wrong")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change the user")
def test_it_does_not_run_as_root(postgres: Server) -> None:
    owner = Path(f"/proc/{postgres.pid}").stat().st_uid

    assert owner != 0


def test_what_is_committed_survives_a_kill_and_restarts_and_what_is_not_does_not(own_postgres: Server) -> None:
    url = own_postgres.fresh_database()
    ask(url, "CREATE TABLE charges (id bigint)")
    ask(url, "INSERT INTO charges VALUES (1)")
    with closing(psycopg.connect(url)) as connection:
        connection.execute("INSERT INTO charges VALUES (2)")

        own_postgres.kill()

        with pytest.raises(psycopg.OperationalError):
            connection.commit()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    own_postgres.start()
    assert ask(url, "SELECT id FROM charges") == [(1,)]
    own_postgres.restart("immediate")
    own_postgres.restart("fast")
    assert ask(url, "SELECT id FROM charges") == [(1,)]


def test_a_kill_leaves_no_process(own_postgres: Server) -> None:
    pids = [own_postgres.pid, *processes(own_postgres.pid)]

    own_postgres.kill()

    assert len(pids) > 1
    assert not running(pids)


def test_after_stop_nothing_is_left() -> None:
    server = Server().start()
    pids = [server.pid, *processes(server.pid)]

    server.stop()

    assert not running(pids)
    assert not server.folder.exists()


def test_after_its_owner_was_killed_nothing_is_left() -> None:
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        folder, *pids = owner.stdout.readline().split()
        started = running([int(pid) for pid in pids])

        owner.send_signal(signal.SIGKILL)

    wait(lambda: not running(started) and not Path(folder).exists())
    assert len(started) > 1


def running(pids: Sequence[int]) -> list[int]:
    """Those of the processes that run."""
    return [pid for pid in pids if runs(pid)]
