"""Link: the one connection to a PostgreSQL server that a cache asks, with a bound on every wait."""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict

from cache.rows import RowsAway
from farthing.errors import ConfigError
from farthing.ports import Clock

_LOG: Final = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE_S: Final = 0.5
"""How long a statement may take; after it the connection is given up."""
CONNECT_S: Final = 2
"""The same for a new connection (libpq counts whole seconds from 2)."""
PREPARE_S: Final = 10.0
"""The same for making the tables, which several gateways may want at one moment."""
_MOST_LATE: Final = 3
_REST_S: Final = 1.0
_FIRST_PAUSE_S: Final = 0.05
_BROKEN: Final = (psycopg.OperationalError, psycopg.errors.UndefinedTable, psycopg.errors.ReadOnlySqlTransaction)
"""After these a new connection helps: to a server that answers, with its tables, and that is no standby."""
_ALIVE: Final[Mapping[str, Any]] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,  # ms
}


class Line(psycopg.Connection[tuple[Any, ...]]):
    """A connection on which no statement is waited for longer than `patience_s`."""

    patience_s = PATIENCE_S

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """See psycopg. Raises OperationalError; the connection is of no use then."""
        return super().wait(gen, interval, self.patience_s if timeout is None else timeout)


def connect(url: str) -> Line:
    """A new connection, in autocommit mode. Raises psycopg.Error."""
    return Line.connect(url, autocommit=True, connect_timeout=CONNECT_S, application_name="farthing", **_ALIVE)


class PostgresLink:
    """The way to the server. Once it is away (no connection, or three answers in a row later than `late_s`) nobody
    asks it until it has been reached again, in a thread of its own, so a dead server costs a call nothing. `errors`
    counts failures and late answers, not what was not even asked. One thread at a time may `ask`.

    `prepare` is called for each new connection, and may raise ConfigError. Raises ConfigError for an address that is
    none.
    """

    def __init__(self, url: str, clock: Clock, prepare: Callable[[Line], None], *, late_s: float) -> None:
        try:
            conninfo_to_dict(url)
        except psycopg.Error:  # which says what it does not understand, perhaps a part of the password
            raise ConfigError(
                "`cache.semantic.url` is no address that the driver of PostgreSQL understands: in names and passwords "
                "write %25 for %, %40 for @, %3A for :, %2F for / and %3F for ?, and use no parameters but libpq's."
            ) from None
        self.errors = 0
        self.url, self._clock, self._prepare, self._late_s = url, clock, prepare, late_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="semantic-server")
        self._lock = Lock()
        self._connection: Line | None = None
        self._connects = self._closed = self._told = False
        self._failures = self._late = 0
        self._not_before = clock.monotonic()

    def open(self) -> None:
        """Reach the server now; where it does not answer it is away, which is no error. Blocks for some seconds at
        most. Raises ConfigError where it answers and cannot be used."""
        self._reach()

    @property
    def is_up(self) -> bool:
        """True where it may be asked."""
        return self._connection is not None and self._clock.monotonic() >= self._not_before

    def ready(self) -> bool:
        """The same; where it is away, it is soon tried again. Any thread may ask."""
        if self.is_up:
            return True
        with self._lock:
            due = self._connection is None and self._clock.monotonic() >= self._not_before
            if due and not self._connects and not self._closed:
                self._connects = True
                self._thread.submit(self._reach_again)
        return False

    def ask(self, question: Callable[[Line], T]) -> T:
        """The answer. Raises RowsAway or psycopg.Error."""
        connection = self._connection
        if not self.ready() or connection is None:
            raise RowsAway
        started = self._clock.monotonic()
        try:
            answer = question(connection)
        except psycopg.Error as error:
            self.errors += 1
            if isinstance(error, _BROKEN) or connection.closed:
                self._drop(connection, error)
            raise
        self._failures = 0
        self._note(self._clock.monotonic() - started)
        return answer

    def close(self) -> None:
        """Let the server go."""
        with self._lock:
            self._closed = True
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _note(self, taken_s: float) -> None:
        if taken_s <= self._late_s:
            self._late = 0
            return
        self.errors += 1
        self._late += 1
        if self._late >= _MOST_LATE:
            self._not_before = self._clock.monotonic() + _REST_S

    def _drop(self, connection: Line, error: Exception) -> None:
        self._connection = None
        with suppress(psycopg.Error):
            connection.close()
        self._wait_for_it(error)

    def _wait_for_it(self, error: Exception) -> None:
        self._not_before = self._clock.monotonic() + min(_REST_S, _FIRST_PAUSE_S * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        if not self._told:
            self._told = True
            _LOG.warning("semantic cache server: no answer (%s); until there is one, calls are misses", _reason(error))

    def _reach_again(self) -> None:
        try:
            self._reach()
        except Exception as error:  # noqa: BLE001 - nobody waits for this thread; it is tried again
            self._wait_for_it(error)
        finally:
            self._connects = False

    def _reach(self) -> None:
        try:
            connection = self._connect()
        except (psycopg.Error, OSError) as error:
            self.errors += 1
            self._wait_for_it(error)
            return
        with self._lock:
            if not self._closed:
                self._connection = connection
        if self._closed:
            connection.close()
        elif self._told:
            self._told = False
            _LOG.info("semantic cache server: it answers again")

    def _connect(self) -> Line:
        connection = connect(self.url)
        try:
            connection.patience_s = PREPARE_S
            self._prepare(connection)
            connection.patience_s = PATIENCE_S
        except BaseException:
            connection.close()
            raise
        return connection


def _reason(error: Exception) -> str:
    """The first line of what the server or the driver said: it holds no password and no row."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
