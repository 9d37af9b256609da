"""A ledger of the schema before the latest facts: its rows are read and its holds charged after the upgrade."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from farthing.money import Nano
from farthing.record import Extra, Outcome, Record
from ledger import reports, rows
from ledger.check import check
from ledger.price import version_in_tier
from ledger.rows import COLUMNS, row_of
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import SQLiteFile
from ledger.testing import ManualClock, example_record

MIGRATIONS = Path(rows.__file__).parent / "migrations" / "sqlite"
FIRST = {4: "service_tier", 5: "extras", 6: "inputs"}
"""By an old schema the first column that it did not have."""


def old_ledger(path: Path, schema: int, record: Record, draft: Record) -> Path:
    """A file of that schema with this record and the hold of a process that is gone."""
    before = COLUMNS[: COLUMNS.index(FIRST[schema])]
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)")
        for migration in sorted(MIGRATIONS.glob("0*.sql"))[:schema]:
            database.executescript(migration.read_text(encoding="utf-8"))
        database.execute("INSERT INTO meta VALUES ('schema', ?)", (str(schema),))
        database.execute("INSERT INTO meta VALUES ('rollups_pending', '0')")
        places = ", ".join("?" * len(before))
        database.execute(f"INSERT INTO records ({', '.join(before)}) VALUES ({places})", row_of(record)[: len(before)])
        old_draft = msgspec.json.encode(row_of(draft)[: len(before)]).decode()
        database.execute("INSERT INTO holds VALUES (?, 'gone', 700, '[]', 1, ?)", (draft.id, old_draft))
        database.commit()
    return path


@pytest.mark.parametrize("schema", FIRST)
async def test_its_rows_are_read_and_its_holds_are_charged(tmp_path: Path, schema: int) -> None:
    kept = example_record("kept", cost=Nano(5), price_version=version_in_tier("v1", "flex"), service_tier="flex")
    path = old_ledger(tmp_path / "ledger.db", schema, kept, example_record("held"))
    extras = (Extra(name="web_searches", quantity=1, rate=9_000_000),)

    ledger = await SQLiteLedger.open(path, ManualClock())
    new = {"stated_cost": Nano(8), "refused_by": "b|s", "extras": extras, "inputs": 4, "inputs_sent": 1}
    await ledger.settle(None, example_record("new", cost=Nano(9), **new))
    await ledger.close()

    found = {record.id: record for record in reports.recent(SQLiteFile(path))}
    assert (found["kept"].service_tier, found["kept"].stated_cost, found["kept"].refused_by) == ("flex", None, "")
    assert (found["held"].outcome, found["held"].cost) == (Outcome.LOST, 700)
    assert (found["new"].stated_cost, found["new"].refused_by, found["new"].extras) == (8, "b|s", extras)
    assert (found["new"].inputs, found["new"].inputs_sent) == (4, 1)
    assert found["kept"].extras == found["held"].extras == ()
    assert found["kept"].inputs == found["held"].inputs_sent == 0
    assert check(SQLiteFile(path)).differences == ()
