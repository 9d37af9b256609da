"""Leases: of identical calls in several processes at one time, one goes upstream."""

import errno
import fcntl
import os
from collections import Counter
from pathlib import Path
from typing import Final, Protocol, Self

_TAKEN: Final = (errno.EACCES, errno.EAGAIN)


class Leases(Protocol):
    """Who takes the lease of a key asks upstream; the others wait for what that one stores. They save money and are no
    promise: where they fail everybody takes, and a lease may be lost while its holder works."""

    async def take(self, key: bytes) -> bool:
        """False while another process holds the lease. This process may take it again, and releases it as often."""

    async def release(self, key: bytes) -> None:
        """Let go."""

    async def renew(self) -> None:
        """Go on holding; once a second."""

    async def close(self) -> None:
        """Let go of all."""


class FileLeases:
    """Leases among the processes of one machine: locks on single bytes of a file. They cost two microseconds, need no
    renewal, and end with the process that holds them."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._held: Counter[int] = Counter()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or make the file, which stays empty. Raises OSError. Once in a process for each file: a second one that
        is closed would end the locks of the first."""
        return cls(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))

    async def take(self, key: bytes) -> bool:
        """See the protocol."""
        place = _place(key)
        if not self._held[place]:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except OSError as error:
                if error.errno in _TAKEN:
                    return False
        self._held[place] += 1
        return True

    async def release(self, key: bytes) -> None:
        """See the protocol."""
        place = _place(key)
        self._held[place] -= 1
        if self._held[place] <= 0:
            del self._held[place]
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    async def renew(self) -> None:
        """See the protocol."""

    async def close(self) -> None:
        """See the protocol."""
        os.close(self._file)


def _place(key: bytes) -> int:
    """A byte of the file far below its greatest size; keys are hashes, and two that meet wait for one another."""
    return int.from_bytes(key[:7], "big")
