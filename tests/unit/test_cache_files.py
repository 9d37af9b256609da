"""The SQLite files of the caches, begun by several workers at once."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from cache.stores.file import open_file


@pytest.mark.parametrize("schema", ["answers.sql", "semantic.sql"])
def test_a_file_opens_while_another_process_begins_it(tmp_path: Path, schema: str) -> None:
    path = tmp_path / "cache.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE of_another (a)")
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.05, other.close).start()

    open_file(path, schema)

    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
