"""Disasters of the disk, the file and the clock: nothing leaves for a provider without a committed hold, and what has
left is on the books once."""

import asyncio
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from bench.mock_upstream import MockSettings, running_mock
from farthing.errors import LedgerUnavailable
from farthing.money import Nano
from farthing.record import Outcome, Record
from gateway.settings import load
from gateway.wiring import House
from ledger import reports
from ledger.budgets import BudgetBook
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import FileSession, SQLiteFile, connect_reading, connector
from ledger.testing import ManualClock, example_account, example_intent, example_record
from tests.gateway import RunningGateway, running_gateway, write_tree
from tests.processes import GatewayProcess, gateway_process, holds, records, spawn, until, write_config
from tests.scripted_pipeline import Stair, completion, plain, usage

ROOT = Path(__file__).parents[2]
DAY_NS = 86_400 * 10**9

LOCK = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
database.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
database.execute("ROLLBACK")
database.close()
print("free", flush=True)
"""


class Locked:
    """Another process that has the write lock of a file until `free`."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._says() == "locked"

    def _says(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def free(self) -> None:
        """Let go of the lock; returns once that is done."""
        if self._process.poll() is None and self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
            assert self._says() == "free"

    def end(self) -> None:
        """The process is gone afterwards."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def locked(path: Path) -> Iterator[Locked]:
    other = Locked(path)
    try:
        yield other
    finally:
        other.free()
        other.end()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path) as running:
        yield running


def ledger_of(gateway: RunningGateway) -> Path:
    return gateway.application.house.files.ledger


def open_holds(path: Path) -> int:
    with closing(connect_reading(path)) as database:
        return int(database.execute("SELECT count(*) FROM holds").fetchone()[0])


def spent_and_held(path: Path) -> tuple[int, int]:
    with closing(connect_reading(path)) as database:
        spent, held = database.execute("SELECT total(spent), total(held) FROM accounts").fetchone()
        return int(spent), int(held)


async def ask(gateway: RunningGateway, content: str = "hello", **body: object) -> httpx.Response:
    return await gateway.chat(
        content, headers={"x-farthing-feature": "capped"}, model="plain-model", max_tokens=20, **body
    )


def assert_refused_until_the_ledger_works(response: httpx.Response) -> None:
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "ledger_unavailable"
    assert response.headers["x-should-retry"] == "true"
    assert 0 < int(response.headers["retry-after"]) <= 5


# --- somebody else has the lock ------------------------------------------------------------------


async def test_while_another_process_has_the_ledger_nothing_is_sent_and_the_loop_goes_on(
    gateway: RunningGateway,
) -> None:
    with locked(ledger_of(gateway)):
        calls = [asyncio.ensure_future(ask(gateway, f"locked {number}")) for number in range(5)]
        for _ in range(20):
            assert (await gateway.client.get("/healthz")).status_code == 200
        assert not any(call.done() for call in calls)
        refused = await asyncio.gather(*calls)
        failures = gateway.application.house.ledger.failures

    for response in refused:
        assert_refused_until_the_ledger_works(response)
    assert failures == 1  # nobody was kept until the record of the refusal had failed as well
    assert gateway.mock.requests == []
    assert (await ask(gateway, "later")).status_code == 200
    assert len(gateway.mock.requests) == 1
    assert open_holds(ledger_of(gateway)) == 0


async def test_a_lock_that_ends_in_time_is_only_a_delay(gateway: RunningGateway) -> None:
    with locked(ledger_of(gateway)) as other:
        call = asyncio.ensure_future(ask(gateway))
        await until(lambda: gateway.application.house.ledger.busy_retries > 0)
        assert gateway.mock.requests == []
        await asyncio.to_thread(other.free)
        response = await call

    assert response.status_code == 200
    assert len(gateway.mock.requests) == 1
    assert gateway.record_of(response).outcome is Outcome.SUCCESS


async def test_a_call_that_is_answered_while_the_ledger_is_locked_is_charged_once_in_the_end(tmp_path: Path) -> None:
    async with running_mock(MockSettings(slow_ms=300, recording=True)) as mock:
        config = write_config(tmp_path, mock.base_url)
        async with gateway_process(config) as gateway:
            call = asyncio.ensure_future(
                gateway.chat("slow", model="mock-slow-first-byte", feature="capped", max_tokens=20)
            )
            await until(lambda: len(mock.requests) == 1)
            with locked(tmp_path / "data" / "ledger.db"):
                await asyncio.gather(call, return_exceptions=True)
            await gateway.kill()
        async with gateway_process(config) as gateway:
            await gateway.end()

    (record,) = records(tmp_path)
    assert len(mock.requests) == 1
    assert record.cost > 0
    assert spent_and_held(tmp_path / "data" / "ledger.db") == (record.cost, 0)
    assert holds(tmp_path) == 0


# --- the disk is full ----------------------------------------------------------------------------


def charged_or_held(path: Path) -> int:
    """Calls that somebody pays for: open holds, and records that cost something."""
    return open_holds(path) + sum(record.cost > 0 for record in reports.recent(SQLiteFile(path), 10_000))


@pytest.mark.skipif(sys.platform != "linux", reason="limits the files of another process")
async def test_on_a_full_disk_nothing_is_sent_without_a_hold_and_calls_work_when_there_is_room(tmp_path: Path) -> None:
    async with running_mock(MockSettings(duration_ms=0, recording=True)) as mock:
        config = write_config(tmp_path, mock.base_url)
        async with gateway_process(config) as gateway:
            assert (await gateway.chat("before")).status_code == 200
            limit_files(gateway, (tmp_path / "data" / "ledger.db-wal").stat().st_size)

            refused = [await gateway.chat(f"full {number}") for number in range(5)]

            sent_while_full = len(mock.requests) - 1
            limit_files(gateway, resource.RLIM_INFINITY)
            later = await gateway.chat("after")
            await gateway.end()

    for response in refused:
        assert_refused_until_the_ledger_works(response)
    assert sent_while_full == 0
    assert later.status_code == 200
    assert charged_or_held(tmp_path / "data" / "ledger.db") == 2


def limit_files(gateway: GatewayProcess, size: int) -> None:
    """No file of the process may grow beyond this size; to it, the disk is full."""
    _, hard = resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (size, hard))


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[None]:
    """A file system of that size at the folder; skips where one may not be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    if sys.platform != "linux" or not shutil.which("mount") or subprocess.run(command, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_disk_that_fills_up_under_load_loses_no_call_and_sends_none_unheld(tmp_path: Path) -> None:
    with small_disk(tmp_path / "data", 4_000):
        async with running_gateway(tmp_path) as gateway:
            assert (await gateway.chat("before", headers={"x-farthing-feature": "plain"})).status_code == 200
            fill(tmp_path / "data" / "ballast")
            answers = await asyncio.gather(
                *(gateway.chat(f"full {number}", headers={"x-farthing-feature": "plain"}) for number in range(60))
            )
            sent, paid = len(gateway.mock.requests), charged_or_held(ledger_of(gateway))
            (tmp_path / "data" / "ballast").unlink()
            later = await gateway.chat("after", headers={"x-farthing-feature": "plain"})

            assert {answer.status_code for answer in answers} <= {200, 503}
            assert any(answer.status_code == 503 for answer in answers)
            assert sent == paid == 1 + sum(answer.status_code == 200 for answer in answers)
            assert later.status_code == 200


def fill(ballast: Path) -> None:
    """Write until the disk is full."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


# --- the file cannot be written ------------------------------------------------------------------


async def test_a_ledger_that_became_read_only_refuses_and_works_again_when_it_may_be_written(tmp_path: Path) -> None:
    path, may_write = tmp_path / "ledger.db", [True]

    def connect(path: Path) -> FileSession:
        connection = connector("normal")(path)
        connection.execute(f"PRAGMA query_only = {not may_write[0]:d}")
        return connection

    account = example_account(limit=1_000)
    ledger = await SQLiteLedger.open(path, ManualClock(), connect=connect)
    kept = await ledger.reserve(example_intent("before", 100, account))
    await ledger.close()
    may_write[0] = False
    ledger = await SQLiteLedger.open(path, ManualClock(), connect=connect)

    with pytest.raises(LedgerUnavailable, match=r"readonly|read-only|read only"):
        await ledger.reserve(example_intent("a", 100, account))
    may_write[0] = True
    again = await ledger.reserve(example_intent("b", 100, account))

    await ledger.close()
    assert kept.remaining == 900
    assert again.remaining == 800  # what was recovered, and the new hold; the refused one holds nothing


def test_a_read_only_data_dir_ends_the_start_before_anything_is_served(tmp_path: Path) -> None:
    config = write_tree(tmp_path, "http://127.0.0.1:1/v1")
    with read_only(tmp_path / "data"):
        process = spawn(config, "--port", "0")
        try:
            code = process.wait(60)
        finally:
            process.kill()
            process.wait()

    assert code == 2
    said = (tmp_path / "log").read_text()
    assert "cannot be" in said
    assert "Traceback" not in said


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder that nobody may write, root included."""
    if os.geteuid():
        folder.mkdir(mode=0o500)
        yield
        return
    with small_disk(folder, 64):
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_ledger_that_was_deleted_or_replaced_under_the_gateway_stops_all_spending(
    gateway: RunningGateway, replaced: bool
) -> None:
    path = ledger_of(gateway)
    assert (await ask(gateway, "before")).status_code == 200
    path.rename(path.with_name("moved.db"))
    if replaced:
        shutil.copy(path.with_name("moved.db"), path)

    refused = [await ask(gateway, f"after {number}") for number in range(3)]
    with pytest.raises(LedgerUnavailable, match="removed or replaced"):
        await gateway.application.house.ledger.recover()

    for response in refused:
        assert_refused_until_the_ledger_works(response)
        assert "restart the gateway" in response.json()["error"]["message"]
    assert len(gateway.mock.requests) == 1
    assert path.exists() is replaced  # a new one would have new budgets


async def test_a_deleted_folder_of_leases_neither_stops_calls_nor_charges_one_twice(
    tmp_path: Path, gateway: RunningGateway
) -> None:
    shutil.rmtree(ledger_of(gateway).with_name("ledger.db.instances"))

    answers = await asyncio.gather(*(ask(gateway, f"call {number}") for number in range(5)))
    await gateway.application.house.ledger.recover()

    assert {answer.status_code for answer in answers} == {200}
    assert len(gateway.records()) == len(gateway.mock.requests) == 5
    assert spent_and_held(ledger_of(gateway)) == (sum(record.cost for record in gateway.records()), 0)


async def test_calls_under_way_whose_leases_were_deleted_are_charged_once_whoever_comes_first(tmp_path: Path) -> None:
    path, account = tmp_path / "ledger.db", example_account(limit=1_000)
    ledger = await SQLiteLedger.open(path, ManualClock())
    hold = await ledger.reserve(example_intent("under-way", 100, account))
    shutil.rmtree(tmp_path / "ledger.db.instances")

    newcomer = await SQLiteLedger.open(path, ManualClock())  # takes the other for dead
    settled = await ledger.settle(hold, example_record("under-way", cost=Nano(40)))

    await newcomer.close()
    await ledger.close()
    (record,) = reports.recent(SQLiteFile(path))
    assert settled is (record.outcome is not Outcome.LOST)
    assert spent_and_held(path) == (record.cost, 0)
    assert record.cost > 0


# --- the clock steps -----------------------------------------------------------------------------


class SteppedClock(ManualClock):
    """Wall time can be set back while monotonic time goes on, as when a machine corrects its clock."""

    def __init__(self) -> None:
        super().__init__()
        self._corrected_ns = 0

    def wall_ns(self) -> int:
        return super().wall_ns() + self._corrected_ns

    def step(self, seconds: float) -> None:
        """Correct the wall clock."""
        self._corrected_ns += round(seconds * 1e9)


async def test_a_clock_that_steps_back_books_to_the_day_that_it_shows_and_makes_no_id_twice() -> None:
    stair = Stair()
    stair.clock = clock = SteppedClock()
    stair.open()
    ids: list[str] = []
    for step in (0, -2 * 86_400, 0, 86_400, -3_600):
        clock.step(step)
        stair.upstream.add(plain(completion(usage=usage(10, 5))))
        answer, _ = await stair.ask(messages=[{"role": "user", "content": f"at {clock.wall_ns()} {len(ids)}"}])
        ids.append(dict(answer.headers)[b"x-farthing-request-id"].decode())

    assert len(set(ids)) == len(stair.ledger.records) == 5
    assert not stair.ledger.holds
    assert sum(stair.ledger.spent.values()) == sum(record.cost for record in stair.ledger.records.values())
    assert len(stair.ledger.spent) == 3  # the day of the start, two days earlier, one day earlier


def test_a_window_that_was_left_is_entered_again_when_the_clock_steps_back() -> None:
    stair = Stair().open()
    day = stair.runtime.books.accounts
    now_ns = stair.clock.wall_ns()
    (tags,) = [example_record("r").tags]

    before, next_day, again = (day(tags, now_ns + shift) for shift in (0, DAY_NS, 0))

    assert before == again != next_day
    assert BudgetBook(()).accounts(tags, now_ns) == ()


async def test_a_hold_made_before_the_clock_stepped_back_is_kept_for_its_call_and_charged_if_nobody_comes(
    tmp_path: Path,
) -> None:
    clock, account = SteppedClock(), example_account(limit=1_000)
    ledger = await SQLiteLedger.open(tmp_path / "ledger.db", clock)
    expires_ns = clock.wall_ns() + 60 * 10**9
    kept = await ledger.reserve(example_intent("kept", 100, account, expires_ns=expires_ns))
    await ledger.reserve(example_intent("left", 100, account, expires_ns=expires_ns))

    clock.step(-3_600)
    early = await ledger.recover()
    settled = await ledger.settle(kept, example_record("kept", cost=Nano(40)))
    clock.advance(3_600 + 61)
    late = await ledger.recover()

    await ledger.close()
    assert (early, settled, late) == (0, True, 1)
    assert spent_and_held(tmp_path / "ledger.db") == (140, 0)


async def test_a_clock_that_steps_forward_past_a_hold_charges_its_call_once(tmp_path: Path) -> None:
    clock, account = SteppedClock(), example_account(limit=1_000)
    ledger = await SQLiteLedger.open(tmp_path / "ledger.db", clock)
    hold = await ledger.reserve(example_intent("a", 100, account, expires_ns=clock.wall_ns() + 60 * 10**9))

    clock.step(3_600)
    charged = await ledger.recover()
    settled = await ledger.settle(hold, example_record("a", cost=Nano(40)))

    await ledger.close()
    assert (charged, settled) == (1, False)
    assert spent_and_held(tmp_path / "ledger.db") == (100, 0)


async def test_after_a_step_back_the_gateway_still_looks_every_minute_for_holds_of_the_dead(tmp_path: Path) -> None:
    clock = SteppedClock()
    house = House(load(write_tree(tmp_path, "http://127.0.0.1:1/v1"), {}), clock)
    await house.open()
    try:
        lost = await house.ledger.reserve(
            example_intent("lost", 100, example_account(limit=1_000), expires_ns=clock.wall_ns() - 365 * DAY_NS)
        )
        clock.step(-180 * 86_400)
        clock.advance(61)
        await house.tick()
        found: list[Record] = reports.recent(SQLiteFile(house.files.ledger))
    finally:
        await house.close()

    assert [record.id for record in found] == [lost.intent.id]
    assert [record.outcome for record in found] == [Outcome.LOST]
