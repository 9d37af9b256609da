"""Leases, checkpoints and the opening of the ledger's file."""

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest

from farthing.errors import ConfigError
from ledger import leases, sqlite_file
from ledger.checkpoints import Checkpointer
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import connect_reading, connect_waiting, connector, prepare
from ledger.testing import ManualClock, example_record

NEWEST = str(len(list((Path(sqlite_file.__file__).parent / "migrations" / "sqlite").glob("*.sql"))))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_lease_has_one_holder(tmp_path: Path) -> None:
    lease = leases.acquire(tmp_path, "one")
    assert lease is not None

    assert leases.acquire(tmp_path, "one") is None

    lease.release()
    again = leases.acquire(tmp_path, "one")
    assert again is not None
    again.release()


def test_the_dead_are_those_whose_lease_can_be_taken(tmp_path: Path) -> None:
    living = leases.acquire(tmp_path, "living")
    assert living is not None

    with leases.leases_of_the_dead(tmp_path, ["living", "dead"]) as dead:
        assert dead == ["dead"]

    living.release()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_on_a_removed_file_is_no_lease(tmp_path: Path) -> None:
    lease = leases.acquire(tmp_path, "one")
    assert lease is not None
    (tmp_path / "one.lock").unlink()

    other = leases.acquire(tmp_path, "one")

    assert other is not None
    other.release()
    lease.release()


def test_a_file_removed_between_opening_and_locking_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[int] = []

    def flock(descriptor: int, operation: int, lock: Callable[[int, int], None] = fcntl.flock) -> None:
        if not removed:
            (tmp_path / "one.lock").unlink()
            removed.append(descriptor)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    lease = leases.acquire(tmp_path, "one")
    assert lease is not None

    assert leases.acquire(tmp_path, "one") is None

    lease.release()


def test_a_large_log_is_copied_and_a_very_large_one_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    prepare(path)
    writer = connector("normal")(path)
    writer.executemany("INSERT INTO meta VALUES (?, ?)", [(f"k{number}", "x" * 1000) for number in range(50)])
    log = path.with_name("ledger.db-wal")
    before = log.stat().st_size
    threads = connect_waiting(path)

    Checkpointer(path, copy_bytes=2**30, restart_bytes=2**40).check(threads)
    untouched = path.stat().st_size
    Checkpointer(path, copy_bytes=1_000, restart_bytes=2**40).check(threads)
    copied, kept = path.stat().st_size, log.stat().st_size
    Checkpointer(path, copy_bytes=1_000, restart_bytes=1_000).check(threads)
    writer.execute("INSERT INTO meta VALUES ('one', 'more')")

    assert copied > untouched
    assert kept == before
    assert log.stat().st_size == before
    threads.close()
    writer.close()


def test_a_reader_of_an_old_state_holds_up_a_restart_but_no_writer(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    prepare(path)
    writer = connector("normal")(path)
    reader = connect_reading(path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM meta").fetchone()
    writer.execute("INSERT INTO meta VALUES ('a', '1')")
    threads = connect_waiting(path, wait_s=0.001)

    Checkpointer(path, copy_bytes=0, restart_bytes=0).check(threads)
    writer.execute("INSERT INTO meta VALUES ('b', '2')")

    assert reader.execute("SELECT count(*) FROM meta WHERE name IN ('a', 'b')").fetchone() == (0,)
    for connection in (reader, threads, writer):
        connection.close()


def test_an_unknown_durability_is_refused() -> None:
    with pytest.raises(ConfigError, match="normal, full"):
        connector("off")


@pytest.mark.parametrize(("synchronous", "level"), [("normal", 1), ("full", 2)])
def test_the_durability_asked_for_is_set(tmp_path: Path, synchronous: str, level: int) -> None:
    prepare(tmp_path / "ledger.db")

    connection = connector(synchronous)(tmp_path / "ledger.db")

    assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
    connection.close()


def test_preparing_a_prepared_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"

    prepare(path)
    prepare(path)

    connection = connect_waiting(path)
    assert connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone() == (NEWEST,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


async def test_a_closed_ledger_leaves_no_log_and_no_lease(tmp_path: Path) -> None:
    ledger = await SQLiteLedger.open(tmp_path / "ledger.db", ManualClock())
    await ledger.settle(None, example_record("a"))

    await ledger.close()
    await ledger.close()

    assert names_in(tmp_path) == ["ledger.db", "ledger.db.instances"]
    assert names_in(tmp_path / "ledger.db.instances") == ["opening"]


async def test_what_was_committed_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "ledger.db"
    for number in range(2):
        ledger = await SQLiteLedger.open(path, ManualClock(), synchronous="full")
        await ledger.settle(None, example_record(f"r{number}"))
        await ledger.close()

    connection = connect_waiting(path)
    assert connection.execute("SELECT count(*) FROM records").fetchone() == (2,)
    connection.close()
