"""Move: a ledger of SQLite becomes one of PostgreSQL, whole or not at all, and the file stays as it was."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from farthing.errors import ConfigError, LedgerUnavailable
from ledger import leases, sqlite_file
from ledger.archive import alone, check_state
from ledger.database import Session, read_statements
from ledger.postgres_database import LEASE_S, PostgresDatabase, PostgresSession
from ledger.sqlite_file import FileSession, SQLiteFile

_SQL: Final = read_statements("move")
_PORTION: Final = 1_000
"""Rows that are read, and are told of, at a time."""
_SUMS: Final = {
    "bigint": "CAST(coalesce(sum({name}), 0) AS NUMERIC)",
    "text": "CAST(coalesce(sum(char_length({name})), 0) AS NUMERIC)",
    "double precision": "CAST(coalesce(sum(CAST({name} * 1000000 AS BIGINT)), 0) AS NUMERIC)",
}
"""What is compared of a column, by its type: sums, those of texts' lengths, those of millionths."""


class Watch(Protocol):
    """Is told how a move gets on."""

    def began(self, table: str, rows: int) -> None:
        """So many rows of this table come next."""

    def copied(self, rows: int) -> None:
        """So many more are copied."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A table and the rows that were moved."""

    table: str
    rows: int


@dataclass(slots=True)
class _Tally:
    """What the rows of a table must come to on the other side: their number, and a figure for each column."""

    types: Sequence[str]
    rows: int = 0
    sums: list[int] = field(default_factory=list)

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        self.rows += len(rows)
        found = [_sum(type_, column) for type_, column in zip(self.types, zip(*rows, strict=True), strict=True)]
        self.sums = [old + new for old, new in zip(self.sums or [0] * len(found), found, strict=True)]


def _sum(type_: str, column: Sequence[Any]) -> int:
    values = (value for value in column if value is not None)
    if type_ == "text":
        return sum(map(len, values))
    return sum(values) if type_ == "bigint" else sum(round(value * 1_000_000) for value in values)


def move(source: SQLiteFile, target: PostgresDatabase, watch: Watch) -> tuple[Moved, ...]:
    """Copy every row of the file into the empty ledger of the database, in one transaction, and compare numbers and
    sums before it ends. Nobody can write to the file meanwhile, and no gateway may have one of the two open.

    Holds of gateways that died move too: the first gateway on the database charges them. Raises ConfigError where a
    gateway runs, the target has rows or one of the two is of another version; LedgerUnavailable, also where what was
    written is not what was read: then nothing was written. Blocks: 10,000 records a second or more.
    """
    target.prepare()
    with _stopped(source) as old, target.working() as new, new.transaction():
        _check_target(new, target)
        _check_versions(old, source, new, target)
        tables = [name for (name,) in old.execute(_SQL["tables"])]
        moved = tuple(_move_table(old, new, table, watch) for table in tables)
        _move_meta(old, new)
        for table, column in new.execute(_SQL["counters"]).fetchall():
            new.execute(_SQL["set_counter"].format(table=table, column=column))
    with target.working() as new:
        for table in tables:
            new.execute(f"ANALYZE {table}")  # or the first reports are planned for empty tables
    return moved


@contextmanager
def _stopped(source: SQLiteFile) -> Iterator[FileSession]:
    """A session on a ledger that no gateway has open, or can open meanwhile, and that nobody else can change."""
    folder = sqlite_file.instances(source.path)
    folder.mkdir(parents=True, exist_ok=True)
    with leases.alone(folder), alone(source):
        if leases.living(folder) - {"archive"}:  # which is ours
            raise ConfigError(f"A gateway has {source.label} open: stop it, for what it books now would stay behind.")
        with source.working() as session, session.transaction():
            check_state(session, source)
            yield session


def _check_target(new: Session, target: PostgresDatabase) -> None:
    if new.execute(_SQL["living"], (LEASE_S,)).fetchone() is not None:
        raise ConfigError(f"A gateway has {target.label} open, or was killed seconds ago: stop it, and try again.")
    for (table,) in new.execute(_SQL["target_tables"]).fetchall():
        if new.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None:
            raise ConfigError(
                f"The ledger at {target.label} is not empty: its table {table} has rows. A ledger moves into a "
                f'database without one (or after DROP SCHEMA "{target.schema}" CASCADE, which forgets what is there).'
            )


def _check_versions(old: Session, source: SQLiteFile, new: Session, target: PostgresDatabase) -> None:
    ((here,), (there,)) = (session.execute(_SQL["schema"]).fetchone() for session in (old, new))
    if here != there:
        raise ConfigError(
            f"{source.label} has ledger schema {here}, {target.label} {there}: start this version of the gateway once "
            "on the file, and stop it."
        )


# --- one table ---------------------------------------------------------------------------------------


def _move_table(old: FileSession, new: PostgresSession, table: str, watch: Watch) -> Moved:
    columns = [name for (name,) in old.execute(_SQL["columns"], (table,))]
    types = dict(new.execute(_SQL["types"], (table,)).fetchall())
    tally = _Tally([types[name] for name in columns])
    watch.began(table, int(old.execute(f"SELECT count(*) FROM {table}").fetchone()[0]))
    # Where only the other side numbers rows, it numbers them in the order in which they were written here.
    order = " ORDER BY rowid" if "rowid" in types else ""
    rows = old.execute(f"SELECT {', '.join(columns)} FROM {table}{order}")
    new.copy(table, columns, _counted(rows, tally, watch))
    _compare(new, table, columns, tally)
    return Moved(table, tally.rows)


def _counted(rows: Any, tally: _Tally, watch: Watch) -> Iterator[Sequence[Any]]:
    while portion := rows.fetchmany(_PORTION):
        tally.add(portion)
        yield from portion
        watch.copied(len(portion))


def _compare(new: Session, table: str, columns: Sequence[str], tally: _Tally) -> None:
    sums = (_SUMS[type_].format(name=name) for name, type_ in zip(columns, tally.types, strict=True))
    rows, *found = new.execute(f"SELECT count(*), {', '.join(sums)} FROM {table}").fetchone()
    expected = tally.sums or [0] * len(columns)
    different = [name for name, one, other in zip(columns, found, expected, strict=True) if one != other]
    if rows != tally.rows or different:
        raise LedgerUnavailable(
            f"What arrived in {table} is not what was read ({rows} rows of {tally.rows}; columns that differ: "
            f"{', '.join(different) or 'none'}). Nothing was moved: please report this."
        )


def _move_meta(old: Session, new: Session) -> None:
    """What is known of the ledger as a whole: how far it is archived, its mark in the files of its archive."""
    rows = old.execute(_SQL["meta"]).fetchall()
    new.execute(_SQL["clear_meta"])
    new.executemany(_SQL["add_meta"], rows)
    if set(new.execute(_SQL["meta"]).fetchall()) != set(rows):
        raise LedgerUnavailable("What arrived in meta is not what was read. Nothing was moved: please report this.")
