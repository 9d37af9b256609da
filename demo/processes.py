"""Server processes that start, say where they listen, and never outlive us."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

LISTENING = re.compile(r"^listening on (\S+:\d+)\s*$")
LEASH = Path(__file__).with_name("leash.py")
TAIL_LINES = 40


class ServerFailed(RuntimeError):
    """A server process ended, or did not listen in time; the message ends with its last output."""


class ServerProcess:
    """A Python module running as a server, as a context manager.

    `with ServerProcess("demo.model_server", "--port", "0") as server:` returns once the child has printed
    `listening on HOST:PORT`, else raises ServerFailed after `timeout` seconds. On exit the child gets
    SIGTERM and, 5 s later, SIGKILL, together with every process of its group. It also ends when this
    process dies in any way. It has a session of its own, so Ctrl-C reaches only us.

    `on_line` receives every further line of its output (stdout and stderr), in a thread of ours.
    `environment` is the child's whole environment; None lets it inherit ours.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        timeout: float = 60.0,
        patience: float = 5.0,
        on_line: Callable[[str], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._module = module
        self._arguments: Sequence[str] = arguments
        self._timeout = timeout
        self._patience = patience
        self._on_line = on_line
        self._environment = environment
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._settled = threading.Event()  # the child listens, or its stdout is at its end
        self._address: str | None = None
        self._child: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        """Such as `http://127.0.0.1:8080`, without `/v1`."""
        if self._address is None:
            raise ServerFailed(f"{self._module} is not running")
        return f"http://{self._address}"

    @property
    def pid(self) -> int:
        """Process id of the child, which is also the id of its process group."""
        return self._running_child().pid

    @property
    def output_tail(self) -> str:
        """The last 40 lines the child wrote."""
        return "\n".join(self._tail)

    def start(self) -> None:
        """Start the child and wait until it listens. Raises ServerFailed."""
        self._child = self._spawn()
        self._readers = [
            self._start_thread(self._read_stdout, self._child.stdout),
            self._start_thread(self._read_lines, self._child.stderr),
        ]
        try:
            in_time = self._settled.wait(self._timeout)
        except BaseException:  # Ctrl-C while it starts
            self.stop()
            raise
        if self._address is None:
            self._fail("ended before it listened" if in_time else f"did not listen within {self._timeout:g} s")

    def stop(self) -> None:
        """End the child and its group, then wait for it. Does nothing when it does not run."""
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        try:
            with suppress(subprocess.TimeoutExpired):
                child.wait(self._patience)
        finally:  # also when a second Ctrl-C interrupts the wait
            _kill_group(child)
        for reader in self._readers:
            reader.join()
        self._address = None
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()

    def end(self, number: signal.Signals) -> int:
        """Send one signal to the child (SIGKILL plays a crash) and wait; its exit code, -N for signal N.

        `stop`, or leaving the context, still cleans up.
        """
        child = self._running_child()
        child.send_signal(number)
        return child.wait(self._timeout)

    def _spawn(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-u", str(LEASH), self._module, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            env=self._environment,
        )

    def _running_child(self) -> "subprocess.Popen[str]":
        if self._child is None:
            raise ServerFailed(f"{self._module} is not running")
        return self._child

    def _start_thread(self, read: Callable[[IO[str]], None], pipe: IO[str] | None) -> threading.Thread:
        reader = threading.Thread(target=read, args=(pipe,), name=f"output of {self._module}", daemon=True)
        reader.start()
        return reader

    def _read_stdout(self, pipe: IO[str]) -> None:
        for line in pipe:
            if match := LISTENING.match(line):
                self._address = match[1]
                break
            self._keep(line)
        self._settled.set()
        self._read_lines(pipe)

    def _read_lines(self, pipe: IO[str]) -> None:
        for line in pipe:
            self._keep(line)

    def _keep(self, line: str) -> None:
        self._tail.append(line.rstrip("\n"))
        if self._on_line is not None:
            self._on_line(line.rstrip("\n"))

    def _fail(self, what: str) -> None:
        self.stop()
        raise ServerFailed(f"{self._module} {what}; its last output:\n{self.output_tail or '(none)'}")


def _kill_group(child: "subprocess.Popen[str]") -> None:
    # Nobody left is what we want; macOS says EPERM instead for a group of zombies.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
