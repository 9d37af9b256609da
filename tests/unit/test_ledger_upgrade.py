"""A ledger of the schema before the latest facts: its rows are read and its holds charged after the upgrade."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from farthing.money import Nano
from farthing.record import Outcome, Record
from ledger import reports, rows
from ledger.check import check
from ledger.price import version_in_tier
from ledger.rows import COLUMNS, row_of
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import SQLiteFile
from ledger.testing import ManualClock, example_record

MIGRATIONS = Path(rows.__file__).parent / "migrations" / "sqlite"
OLD = 4
BEFORE = COLUMNS[: COLUMNS.index("service_tier")]
"""The columns of that schema."""


def old_ledger(path: Path, record: Record, draft: Record) -> Path:
    """A file of schema OLD with this record and the hold of a process that is gone."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)")
        for migration in sorted(MIGRATIONS.glob("0*.sql"))[:OLD]:
            database.executescript(migration.read_text(encoding="utf-8"))
        database.execute("INSERT INTO meta VALUES ('schema', ?)", (str(OLD),))
        database.execute("INSERT INTO meta VALUES ('rollups_pending', '0')")
        places = ", ".join("?" * len(BEFORE))
        database.execute(f"INSERT INTO records ({', '.join(BEFORE)}) VALUES ({places})", row_of(record)[: len(BEFORE)])
        old_draft = msgspec.json.encode(row_of(draft)[: len(BEFORE)]).decode()
        database.execute("INSERT INTO holds VALUES (?, 'gone', 700, '[]', 1, ?)", (draft.id, old_draft))
        database.commit()
    return path


async def test_its_rows_are_read_and_its_holds_are_charged(tmp_path: Path) -> None:
    kept = example_record("kept", cost=Nano(5), price_version=version_in_tier("v1", "flex"))
    path = old_ledger(tmp_path / "ledger.db", kept, example_record("held"))

    ledger = await SQLiteLedger.open(path, ManualClock())
    await ledger.settle(None, example_record("new", cost=Nano(9), stated_cost=Nano(8), refused_by="b|s"))
    await ledger.close()

    found = {record.id: record for record in reports.recent(SQLiteFile(path))}
    assert (found["kept"].service_tier, found["kept"].stated_cost, found["kept"].refused_by) == ("flex", None, "")
    assert (found["held"].outcome, found["held"].cost) == (Outcome.LOST, 700)
    assert (found["new"].stated_cost, found["new"].refused_by) == (8, "b|s")
    assert check(SQLiteFile(path)).differences == ()
