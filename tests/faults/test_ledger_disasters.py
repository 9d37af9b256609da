"""The ledger when processes die, disks fill and others hold the file."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from farthing.errors import ConfigError, LedgerUnavailable
from farthing.money import Nano
from farthing.record import Outcome
from farthing.usage import UsageSource
from ledger import reports
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import FileSession, SQLiteFile, connect_waiting, connector
from ledger.testing import ManualClock, example_account, example_intent, example_record

ROOT = Path(__file__).parents[2]
DAY = example_account("daily|tenant=acme|day|2027-01-15", limit=10_000)

HOLD_AND_WAIT = """
import asyncio, pathlib, sys
from ledger.sqlite import SQLiteLedger
from ledger.testing import ManualClock, example_account, example_intent

async def main():
    ledger = await SQLiteLedger.open(pathlib.Path(sys.argv[1]), ManualClock())
    account = example_account("daily|tenant=acme|day|2027-01-15", limit=10_000)
    await ledger.reserve(example_intent("in-flight", 700, account))
    print("held", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""

SPEND_UNTIL_REFUSED = """
import asyncio, pathlib, sys
from farthing.errors import BudgetExceeded
from farthing.money import Nano
from ledger.sqlite import SQLiteLedger
from ledger.testing import ManualClock, example_account, example_intent, example_record

async def main():
    ledger = await SQLiteLedger.open(pathlib.Path(sys.argv[1]), ManualClock())
    account = example_account("daily|tenant=acme|day|2027-01-15", limit=10_000)
    print("open", flush=True)
    sys.stdin.readline()

    async def caller(number):
        served = 0
        while True:
            id_ = f"{sys.argv[2]}-{number}-{served}"
            try:
                hold = await ledger.reserve(example_intent(id_, 20, account))
            except BudgetExceeded:
                return served
            await ledger.settle(hold, example_record(id_, cost=Nano(20)))
            served += 1

    print(sum(await asyncio.gather(*(caller(number) for number in range(5)))))
    await ledger.close()

asyncio.run(main())
"""


@contextmanager
def child(script: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, *args], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def count(path: Path, table: str) -> int:
    connection = connect_waiting(path)
    try:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    finally:
        connection.close()


async def test_a_call_in_flight_when_the_process_is_killed_is_charged_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with child(HOLD_AND_WAIT, str(path)) as process:
        assert line_of(process) == "held"
        process.kill()
        process.wait()

    first, second = await asyncio.gather(*(SQLiteLedger.open(path, ManualClock()) for _ in range(2)))
    recovered = first.recovered + second.recovered
    await first.close()
    await second.close()

    record = reports.record(SQLiteFile(path), "in-flight")
    assert record is not None
    assert recovered == 1
    assert (record.outcome, record.cost, record.usage.source) == (Outcome.LOST, 700, UsageSource.ESTIMATED)
    assert count(path, "holds") == 0
    assert [(state.spent, state.held) for state in reports.budget_states(SQLiteFile(path), now_ns=0)] == [(700, 0)]


async def test_the_holds_of_a_living_process_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with child(HOLD_AND_WAIT, str(path)) as process:
        assert line_of(process) == "held"
        ledger = await SQLiteLedger.open(path, ManualClock())

        found = await ledger.recover()

        assert (ledger.recovered, found) == (0, 0)
        assert count(path, "holds") == 1
        await ledger.close()


async def test_two_processes_on_one_file_share_one_cap(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with child(SPEND_UNTIL_REFUSED, str(path), "a") as one, child(SPEND_UNTIL_REFUSED, str(path), "b") as other:
        assert (line_of(one), line_of(other)) == ("open", "open")
        outputs = [asyncio.to_thread(process.communicate, "go\n") for process in (one, other)]
        served = sum(int(output) for output, _ in await asyncio.gather(*outputs))

    assert served == 500  # 500 x 20 = the cap of 10,000
    assert count(path, "records") == 500
    assert [(state.spent, state.held) for state in reports.budget_states(SQLiteFile(path), now_ns=0)] == [(10_000, 0)]


async def test_a_full_disk_fails_the_batch_whole_and_the_next_one_works_when_there_is_room(tmp_path: Path) -> None:
    path, pages = tmp_path / "ledger.db", [40]

    def connect_to_small_disk(path: Path) -> FileSession:
        connection = connector("normal")(path)
        connection.execute(f"PRAGMA max_page_count = {pages[0]}")
        return connection

    ledger = await SQLiteLedger.open(path, ManualClock(), connect=connect_to_small_disk)
    kept = await ledger.reserve(example_intent("before", 100, DAY))
    big = [example_record(f"big-{number}", route_reason="x" * 4000) for number in range(100)]
    reserving = asyncio.ensure_future(ledger.reserve(example_intent("during", 100, DAY)))
    settling = [ledger.settle(None, record) for record in big]
    hold, *settled = await asyncio.gather(reserving, *settling, return_exceptions=True)
    after_failure = count(path, "records"), count(path, "holds")
    pages[0] = 100_000
    await ledger.settle(kept, example_record("before", cost=Nano(60)))
    later = await ledger.reserve(example_intent("after", 100, DAY))
    await ledger.close()

    assert isinstance(hold, LedgerUnavailable)
    assert all(isinstance(error, LedgerUnavailable) for error in settled)
    assert after_failure == (0, 1)
    assert later.remaining == 10_000 - 60 - 100
    assert [record.id for record in reports.recent(SQLiteFile(path))] == ["before"]
    assert ledger.failures == 1


async def test_a_ledger_opens_while_another_process_has_the_file_locked_for_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    await (await SQLiteLedger.open(path, ManualClock())).close()

    def connect_while_locked(path: Path) -> FileSession:
        """As it is while the last session of a process closes, which copies the log and removes it."""
        if not opened:
            other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            opened.append(other)
            threading.Timer(0.05, other.close).start()
        return connector("normal")(path)

    opened: list[sqlite3.Connection] = []
    ledger = await SQLiteLedger.open(path, ManualClock(), connect=connect_while_locked)
    hold = await ledger.reserve(example_intent("a", 100, DAY))
    await ledger.close()

    assert hold.remaining == 9_900


async def test_a_ledger_opens_while_another_process_writes_for_long_and_recovers_when_that_is_done(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    dead = await SQLiteLedger.open(path, ManualClock())
    await dead.reserve(example_intent("a", 100, DAY))
    dead._let_go()  # as after a SIGKILL: the lease is free, the hold is there
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    ledger = await SQLiteLedger.open(path, ManualClock(), busy_deadline_s=0.05)
    was_due = ledger.recovery_is_due
    with pytest.raises(LedgerUnavailable, match="locked"):
        await ledger.reserve(example_intent("b", 100, DAY))
    other.close()
    recovered = await ledger.recover()
    await ledger.close()

    assert (was_due, recovered, ledger.recovery_is_due) == (True, 1, False)


class Unplugged(FileSession):
    """A connection whose disk is gone while `unplugged` is set; commits fail as the last moment they can."""

    unplugged = False

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        if Unplugged.unplugged and sql == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *parameters)  # type: ignore[arg-type]


async def test_a_disk_that_fails_at_the_commit_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    ledger = await SQLiteLedger.open(
        path,
        ManualClock(),
        connect=lambda path: sqlite3.connect(
            path, isolation_level=None, timeout=0, factory=Unplugged, check_same_thread=False
        ),
    )
    monkeypatch.setattr(Unplugged, "unplugged", True)

    with pytest.raises(LedgerUnavailable, match="disk I/O error"):
        await ledger.reserve(example_intent("a", 100, DAY))

    monkeypatch.setattr(Unplugged, "unplugged", False)
    hold = await ledger.reserve(example_intent("b", 10_000, DAY))
    await ledger.close()
    assert hold.remaining == 0
    assert count(path, "holds") == 1


async def test_a_row_that_cannot_be_stored_fails_alone(tmp_path: Path) -> None:
    ledger = await SQLiteLedger.open(tmp_path / "ledger.db", ManualClock())
    hold = await ledger.reserve(example_intent("a", 100, DAY))
    bad_cost = ledger.settle(None, example_record("bad", cost=Nano(2**70)))
    bad_type = ledger.settle(hold, example_record("a", cost="5 cents"))
    good = [ledger.settle(None, example_record(f"good-{number}")) for number in range(3)]
    bad_text = ledger.settle(None, example_record("worse", error_code="\ud800"))

    outcomes = await asyncio.gather(bad_cost, bad_type, *good, bad_text, return_exceptions=True)

    await ledger.close()
    assert [isinstance(outcome, LedgerUnavailable) for outcome in outcomes] == [True, True, False, False, False, True]
    assert count(tmp_path / "ledger.db", "records") == 3
    assert count(tmp_path / "ledger.db", "holds") == 1  # still set aside: it expires into a charge


async def test_a_writer_elsewhere_delays_a_batch_without_blocking_the_loop(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = await SQLiteLedger.open(path, ManualClock())
    other = connect_waiting(path)
    other.execute("BEGIN IMMEDIATE")

    waiting = asyncio.ensure_future(ledger.reserve(example_intent("a", 100, DAY)))
    await asyncio.sleep(0.01)
    assert ledger.busy_retries > 0
    assert not waiting.done()
    other.execute("COMMIT")
    hold = await waiting

    other.close()
    await ledger.close()
    assert hold.remaining == 9_900


async def test_a_writer_elsewhere_that_never_ends_fails_the_batch(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = await SQLiteLedger.open(path, ManualClock(), busy_deadline_s=0.01)
    other = connect_waiting(path)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(LedgerUnavailable, match="locked"):
        await ledger.reserve(example_intent("a", 100, DAY))

    other.execute("ROLLBACK")
    other.close()
    await ledger.close()
    assert count(path, "holds") == 0


async def test_a_file_of_a_newer_farthing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    await (await SQLiteLedger.open(path, ManualClock())).close()
    connection = connect_waiting(path)
    connection.execute("UPDATE meta SET value = '999' WHERE name = 'schema'")
    connection.close()

    with pytest.raises(ConfigError, match="newer"):
        await SQLiteLedger.open(path, ManualClock())


async def test_a_path_that_is_no_ledger_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)

    with pytest.raises(LedgerUnavailable, match="not a database"):
        await SQLiteLedger.open(path, ManualClock())
