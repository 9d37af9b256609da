"""PostgresDatabase: the port Database in one schema of a PostgreSQL database, its connections and its migrations."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import StrDumperUnknown, TextLoader

from farthing.errors import ConfigError, LedgerUnavailable
from ledger.database import Values
from ledger.postgres_kept import Connection, KeptConnections

SCHEMA: Final = "farthing"
HOW: Final[Mapping[str, Any]] = {
    "application_name": "farthing",
    "connect_timeout": 2,  # s, of a server that does not answer; libpq counts whole seconds from 2
    "keepalives": 1,
    "keepalives_idle": 2,  # s
    "keepalives_interval": 1,
    "keepalives_count": 4,
    "tcp_user_timeout": 6_000,  # ms
}
"""How every connection is made. After six seconds without a sign of the other machine it is broken: early enough to
find a new one before others take this process for dead."""
WAIT_S: Final = 5
"""How long a session waits for other writers before it fails."""
LEASE_S: Final = 15.0
"""A process that has not been heard of for so long is dead, and its holds are charged."""
ALONE: Final = "hashtext(current_schema()), 0"
"""The advisory lock of a ledger: shared by transactions of the hot path, whole for everybody else who writes."""

INSTEAD_OF_NUL: Final = "\N{REPLACEMENT CHARACTER}"
"""PostgreSQL's texts cannot hold U+0000, which a client may put into a name."""

_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_MIGRATIONS: Final = Path(__file__).parent / "migrations" / "postgres"
_JSON_EACH: Final = re.compile(r"json_each\(([^()]*)\) AS each")
_PLACE: Final = re.compile(r"\?|(?<!:):([a-z_]+)")


class _Exact(Loader):
    """A numeric as int: sums of BIGINT are numeric, and nothing else here is."""

    def load(self, data: Buffer) -> int:
        return int(bytes(data))


class _Text(StrDumperUnknown):
    """A text without U+0000."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(without_nul(obj))


def without_nul(text: str) -> str:
    """The text as PostgreSQL can hold it."""
    return text.replace("\0", INSTEAD_OF_NUL) if "\0" in text else text


class PostgresSession:
    """The port Session on a connection of psycopg."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Values = ()) -> "psycopg.Cursor[tuple[Any, ...]]":
        """See the port."""
        return self._connection.execute(translated(statement), values)

    def executemany(self, statement: str, rows: Sequence[Values]) -> "psycopg.Cursor[tuple[Any, ...]]":
        """See the port."""
        cursor = self._connection.cursor()
        cursor.executemany(translated(statement), rows)
        return cursor

    def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write many rows, in the fastest way that there is."""
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)
        with self._connection.cursor().copy(statement) as copy:
            for row in rows:
                copy.write_row(row)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See the port."""
        with self._connection.transaction():
            self._connection.execute(f"SELECT pg_advisory_xact_lock({ALONE})")
            yield


@dataclass(frozen=True, slots=True)
class PostgresDatabase:
    """The ledger in the schema `schema` of the database at `url` (postgresql://…), which may hold a password. Raises
    ConfigError for an address that is none."""

    url: str = field(repr=False)
    schema: str = SCHEMA
    _kept: KeptConnections = field(default_factory=KeptConnections, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            conninfo_to_dict(self.url)
        except psycopg.Error:  # which says what it does not understand, perhaps a part of the password
            raise ConfigError(
                "`ledger.url` is no address that the driver of PostgreSQL understands: in names and passwords write "
                "%25 for %, %40 for @, %3A for :, %2F for / and %3F for ?, and use no parameters but libpq's."
            ) from None

    @property
    def label(self) -> str:
        """See the port."""
        parts = conninfo_to_dict(self.url)
        return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"

    @contextmanager
    def reading(self) -> Iterator[PostgresSession]:
        """See the port."""
        with self._told("read"):
            connection = self._begin()
            try:
                yield PostgresSession(connection)
                connection.execute("COMMIT")
            except BaseException:
                connection.close()
                raise
            self._kept.keep(connection)

    def _begin(self) -> Connection:
        """A connection with a snapshot: one that was kept, unless the server has let it go, or a new one."""
        kept = self._kept.take()
        if kept is not None:
            try:
                kept.execute(_SNAPSHOT)
            except psycopg.Error:
                kept.close()
                self._kept.clear()
            else:
                return kept
        connection = self._connect()
        try:
            connection.prepare_threshold = None  # a plan for any time span is slower than one for the span asked for
            connection.execute(_SNAPSHOT)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def working(self) -> Iterator[PostgresSession]:
        """See the port."""
        with self._told("written"), closing(self._connect()) as connection:
            yield PostgresSession(connection)

    @contextmanager
    def exclusively(self, job: str) -> Iterator[None]:
        """See the port."""
        with self._told("locked"), closing(self._connect()) as connection:
            taken = connection.execute(
                "SELECT pg_try_advisory_lock(hashtext(current_schema()), hashtext(%s))", (job,)
            ).fetchone()
            if taken != (True,):
                raise ConfigError(f"Another {job} run works on {self.label}: wait for its end.")
            try:
                yield
            finally:
                with suppress(psycopg.Error):  # a server notices some time after that a connection was closed
                    connection.execute("SELECT pg_advisory_unlock_all()")

    def sizes(self) -> tuple[int, int | None]:
        """See the port; the log of the server is not the ledger's."""
        with self.reading() as session:
            (size,) = session.execute(
                "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class "
                "WHERE relnamespace = :schema::REGNAMESPACE AND relkind = 'r'",
                {"schema": self.schema},
            ).fetchone() or (0,)
        return size, None

    def problem(self) -> str:
        """See the port."""
        try:
            with self.reading() as session:
                (standby,) = session.execute("SELECT pg_is_in_recovery()").fetchone() or (True,)
        except LedgerUnavailable as error:
            return error.message
        return f"{self.label} is a standby, which cannot be written" if standby else ""

    def is_there(self) -> bool:
        """See the port."""
        with self.reading() as session:
            return session.execute("SELECT to_regclass('meta') IS NOT NULL").fetchone() == (True,)

    def prepare(self) -> None:
        """Create the tables or bring them to the present schema, one process at a time. Blocks.

        Raises ConfigError for tables of a newer Farthing or another encoding than UTF-8, LedgerUnavailable.
        """
        with self._told("prepared"), closing(self._connect()) as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s), hashtext('prepare'))", (self.schema,))
            if connection.info.encoding != "utf-8":
                raise ConfigError(f"The database {self.label} has no UTF-8: create one with ENCODING 'UTF8'.")
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(self.schema)))
            self._migrate(connection)

    def _migrate(self, connection: Connection) -> None:
        connection.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)")
        row = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        done = int(row[0]) if row else 0
        migrations = {int(path.name[:4]): path for path in sorted(_MIGRATIONS.glob("*.sql"))}
        if done > max(migrations):
            raise ConfigError(
                f"{self.label} has ledger schema {done}, this Farthing knows {max(migrations)}: it was written by a "
                "newer version. Upgrade Farthing, or point `ledger.url` at another database."
            )
        for number, path in migrations.items():
            if number > done:
                connection.execute(path.read_text(encoding="utf-8"))
                connection.execute(
                    "INSERT INTO meta VALUES ('schema', %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (str(number),),
                )

    def _connect(self) -> Connection:
        connection = psycopg.connect(self.url, autocommit=True, **HOW)
        try:
            adapt(connection)
            connection.execute(first_words(self.schema, lock_s=WAIT_S))
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _told(self, done: str) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise LedgerUnavailable(
                f"The ledger at {self.label} cannot be {done} ({reason(error)}): check `ledger.url`, the server, and "
                "that this version of the gateway has run once."
            ) from error


def adapt(connection: "psycopg.Connection[Any] | psycopg.AsyncConnection[Any]") -> None:
    """Integers are BIGINT whatever their size, so that shifts do not overflow; sums are int, JSON is text."""
    connection.adapters.register_dumper(int, Int8Dumper)
    connection.adapters.register_dumper(str, _Text)
    connection.adapters.register_loader("numeric", _Exact)
    connection.adapters.register_loader("jsonb", TextLoader)


def first_words(schema: str, *, lock_s: float, statement_s: float = 0, idle_s: float = 60) -> sql.Composed:
    """What a new connection is told. A commit is on disk before it is confirmed, whatever the server's default; a
    transaction whose client stands still for `idle_s` does not keep others waiting. A statement may take any time where
    it is 0."""
    return sql.SQL(
        "SET search_path TO {}; SET synchronous_commit TO on; SET lock_timeout TO {}; SET statement_timeout TO {}; "
        "SET timezone TO 'UTC'; SET idle_in_transaction_session_timeout TO {}"
    ).format(sql.Identifier(schema), *(sql.Literal(round(limit * 1000)) for limit in (lock_s, statement_s, idle_s)))


def reason(error: psycopg.Error) -> str:
    """The first line of what the server or the driver said, without the values that a row had."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@lru_cache(maxsize=1_024)
def translated(statement: str) -> str:
    """A statement of the shared SQL as PostgreSQL and psycopg want it: JSON functions and places have other names."""
    text = statement.replace("%", "%%").replace("json_array(", "json_texts(")
    text = _JSON_EACH.sub(r"json_array_elements_text(CAST(\1 AS JSON)) AS each(value)", text)
    return _PLACE.sub(lambda found: f"%({found[1]})s" if found[1] else "%s", text)
