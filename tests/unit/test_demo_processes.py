"""Child servers: they start, say why they did not, and never outlive us."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demo.processes import ServerFailed, ServerProcess

ROOT = Path(__file__).parents[2]

LISTENS = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", 0))
print("a line before", file=sys.stderr)
print("listening on 127.0.0.1:%d" % server.getsockname()[1], flush=True)
connection, _ = server.accept()
print("arguments", *sys.argv[1:])
connection.sendall(b"!")
connection.recv(1)  # blocks
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which children import."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "listens.py").write_text(LISTENS)
    return tmp_path


def connect(base_url: str) -> socket.socket:
    """A connection which the child has accepted."""
    host, port = base_url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    assert connection.recv(1) == b"!"
    return connection


def test_a_server_runs_inside_the_context_and_is_gone_after_it(modules: Path) -> None:
    with ServerProcess("listens", "--word", "x") as server:
        pid = server.pid
        connection = connect(server.base_url)

    with connection:
        assert connection.recv(1) == b""
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert "arguments --word x" in server.output_tail
    assert "a line before" in server.output_tail


def test_every_further_line_reaches_the_listener(modules: Path) -> None:
    lines: list[str] = []

    with ServerProcess("listens", on_line=lines.append) as server:
        connect(server.base_url).close()

    assert sorted(lines) == ["a line before", "arguments"]


def test_a_server_that_ends_early_shows_its_last_words(modules: Path) -> None:
    (modules / "ends.py").write_text("raise SystemExit('no port for me')")

    with pytest.raises(ServerFailed, match=r"ends ended before it listened(.|\n)*no port for me"):
        ServerProcess("ends").start()


def test_a_server_that_never_listens_is_given_up(modules: Path) -> None:
    (modules / "sleeps.py").write_text("import time; time.sleep(60)")

    with pytest.raises(ServerFailed, match=r"sleeps did not listen within 0\.01 s"):
        ServerProcess("sleeps", timeout=0.01).start()


def test_a_server_deaf_to_sigterm_is_killed(modules: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    (modules / "deaf.py").write_text(deaf + LISTENS)

    with ServerProcess("deaf", patience=0.01) as server:
        connection = connect(server.base_url)

    with connection:
        assert connection.recv(1) == b""


def test_a_server_ends_when_its_parent_is_killed(modules: Path) -> None:
    script = (
        "import time; from demo.processes import ServerProcess\n"
        "server = ServerProcess('listens'); server.start()\n"
        "print(server.base_url, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        connection = connect(parent.stdout.readline().strip())

        parent.send_signal(signal.SIGKILL)

        with connection:
            assert connection.recv(1) == b""


def test_a_crash_can_be_played(modules: Path) -> None:
    with ServerProcess("listens") as server, connect(server.base_url) as connection:
        code = server.end(signal.SIGKILL)

        assert code == -signal.SIGKILL
        assert connection.recv(1) == b""


def test_a_server_that_was_not_started_has_no_address() -> None:
    server = ServerProcess("listens")

    with pytest.raises(ServerFailed, match="is not running"):
        _ = server.base_url
    server.stop()
