"""Processes of a benchmark: start one on its core, read what it and its children cost, stop it."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
STOP_S = 10  # how long a process may take to end by itself


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name, or None when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def process_tree(pid: int) -> list[int]:
    """The process and all its living descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    tree = [pid]
    for ancestor in tree:  # grows while it is read
        tree += [child for child, parent in parents.items() if parent == ancestor]
    return tree


def cpu_seconds(pid: int) -> float:
    """User plus system time of a process and its descendants, living and reaped."""
    ticks = 0
    for member in process_tree(pid):
        if fields := _stat(member):
            ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime: proc(5)
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident memory of a process and its descendants in MB; pages they share count once for each."""
    pages = sum(int(fields[21]) for member in process_tree(pid) if (fields := _stat(member)))
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def choose_cores() -> tuple[int | None, int | None]:
    """One core for load and mock and another for the gateway, or no pinning when there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)


def pin(pid: int, core: int | None) -> None:
    """Keep a process and the threads and children it will start on one core; None leaves it alone."""
    if core is not None:
        os.sched_setaffinity(pid, {core})


@contextmanager
def running(command: Sequence[str], core: int | None, *, output: int | IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in its own process group from the project's root; stop the whole group at the end."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output == subprocess.PIPE else subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        pin(process.pid, core)
        yield process
    finally:
        _stop(process)
        if process.stdout:
            process.stdout.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its own group: start_new_session
        process.wait(STOP_S)
