"""KeptConnections: connections that have done their work, for whoever asks next: opening one takes 3 ms."""

import weakref
from collections import deque
from typing import Any, Final

import psycopg

Connection = psycopg.Connection[tuple[Any, ...]]

KEPT: Final = 4
"""So many of a process, each of which takes one of the server's places."""


class KeptConnections:
    """For any thread. They are closed with this object, or at the end of the process."""

    def __init__(self) -> None:
        self._connections: deque[Connection] = deque()
        weakref.finalize(self, _close, self._connections, 0)

    def take(self) -> Connection | None:
        """The one that was used last, which the server may have let go meanwhile; None where there is none."""
        try:
            return self._connections.pop()
        except IndexError:
            return None

    def keep(self, connection: Connection) -> None:
        """Keep this one, which is in no transaction; where there are too many, the one that was idle longest goes."""
        self._connections.append(connection)
        _close(self._connections, KEPT)

    def clear(self) -> None:
        """Let all go: one that was kept is broken, so the others may be."""
        _close(self._connections, 0)


def _close(connections: deque[Connection], but: int) -> None:
    while len(connections) > but:
        try:
            connection = connections.popleft()
        except IndexError:  # another thread was faster
            return
        connection.close()
