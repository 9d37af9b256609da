"""Leases: a lock that the operating system drops with the process, so that the living know the dead."""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Lease:
    """The lock on `NAME.lock` in a folder, held until `release` or the death of the process.

    A child forked while it is held keeps the parent's lease alive: open ledgers after forking.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor

    def release(self) -> None:
        """Give the lease back and remove its file."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def acquire(folder: Path, name: str) -> Lease | None:
    """Take the lease of that name; None where a living process has it."""
    path = folder / f"{name}.lock"
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_current(path, descriptor):
            return Lease(path, descriptor)
        os.close(descriptor)  # somebody removed the file between our open and our lock: what we hold is no lock


def _is_current(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


@contextmanager
def leases_of_the_dead(folder: Path, names: Iterable[str]) -> Iterator[list[str]]:
    """Those of the names whose process is gone; their leases are held meanwhile, so that one recoverer has each."""
    taken = [(name, lease) for name in names if (lease := acquire(folder, name))]
    try:
        yield [name for name, _ in taken]
    finally:
        for _, lease in taken:
            lease.release()


def living(folder: Path) -> set[str]:
    """The names whose leases living processes have. Those of the dead are removed."""
    names = {path.stem for path in folder.glob("*.lock")}
    with leases_of_the_dead(folder, names) as dead:
        return names - set(dead)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time; waits for its turn, so not for the event loop."""
    descriptor = os.open(folder / "opening", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
