"""Several workers of one machine: whichever of them answers, the books, the caps and the caches are the same."""

import asyncio
import os
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from bench.mock_upstream import Mock, MockSettings, running_mock
from farthing.record import Outcome
from tests.gateway import KEY
from tests.processes import (
    GatewayProcess,
    ask_ledger,
    command_line,
    gateway_process,
    holds,
    records,
    until,
    write_config,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")


@pytest.fixture
async def mock() -> AsyncIterator[Mock]:
    async with running_mock(MockSettings(chunks=10, duration_ms=400, recording=True)) as mock:
        yield mock


@pytest.fixture
async def gateway(tmp_path: Path, mock: Mock) -> AsyncIterator[GatewayProcess]:
    config = write_config(tmp_path, mock.base_url)
    async with gateway_process(config, "--workers", "2") as gateway:
        # One that is stopped before may have the ledger locked, and the other could not start.
        await until(lambda: all(f"worker {worker} is ready" in gateway.log for worker in both(gateway)))
        for worker in both(gateway):
            with only(gateway, worker):
                await fresh(gateway, "GET", "/healthz")  # which is answered once it listens
        yield gateway


def both(gateway: GatewayProcess) -> list[int]:
    """The ids of both workers, or two that nobody has."""
    workers = gateway.workers()
    return workers if len(workers) == 2 else [0, 0]


@contextmanager
def only(gateway: GatewayProcess, worker: int) -> Iterator[None]:
    """Stop the other workers for a moment, so that this one takes every new connection."""
    others = [other for other in gateway.workers() if other != worker]
    for other in others:
        os.kill(other, signal.SIGSTOP)
        while state_of(other) not in "TZX":  # until then it may still take a connection
            time.sleep(0.001)
    try:
        yield
    finally:
        for other in others:
            with suppress(ProcessLookupError):  # one that was ended meanwhile
                os.kill(other, signal.SIGCONT)


def state_of(pid: int) -> str:
    """The letter of /proc/PID/stat: T is stopped, X stands for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"


async def fresh(gateway: GatewayProcess, method: str, path: str, **json: object) -> httpx.Response:
    """A request on a connection of its own, for whichever worker takes it."""
    headers = {"authorization": f"Bearer {KEY}", "connection": "close"}
    async with httpx.AsyncClient(base_url=gateway.address, headers=headers, timeout=30, trust_env=False) as client:
        return await client.request(method, path, json=json or None)


async def ask(gateway: GatewayProcess, content: str, *, model: str = "plain-model", **headers: str) -> httpx.Response:
    """A chat call on a connection of its own."""
    every = {"authorization": f"Bearer {KEY}", "connection": "close", **headers}
    body = {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": content}]}
    async with httpx.AsyncClient(base_url=gateway.address, headers=every, timeout=30, trust_env=False) as client:
        return await client.post("/v1/chat/completions", json=body)


def counters(page: str) -> list[str]:
    """The samples that are sums over the workers."""
    own = ("_config_", "_age_seconds")  # of the worker that answers, and of the moment
    return [
        line for line in page.splitlines() if line.startswith("farthing_") and not any(name in line for name in own)
    ]


def total(page: str, name: str) -> int:
    """The sum of a metric in billionths."""
    lines = [line for line in page.splitlines() if line.startswith(name + "{")]
    return round(sum(float(line.rsplit(" ", 1)[1]) * 1e9 for line in lines))


async def test_each_worker_shows_the_sums_of_both_and_they_equal_the_ledger(gateway: GatewayProcess) -> None:
    first, second = gateway.workers()
    for worker, contents in ((first, ("a", "b")), (second, ("c", "d", "e"))):
        with only(gateway, worker):
            for content in contents:
                assert (await ask(gateway, content)).status_code == 200

    pages = []
    for worker in (first, second):
        with only(gateway, worker):
            pages.append((await fresh(gateway, "GET", "/metrics")).text)

    assert counters(pages[0]) == counters(pages[1])
    kept = records(gateway.folder)
    assert total(pages[0], "farthing_requests_total") == 5 * 10**9 == len(kept) * 10**9
    assert total(pages[0], "farthing_cost_usd_total") == sum(record.cost for record in kept)


async def test_a_cap_holds_across_workers_under_a_burst(gateway: GatewayProcess) -> None:
    answers = await asyncio.gather(
        *(ask(gateway, f"call {number}", **{"x-farthing-feature": "capped"}) for number in range(40))
    )

    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 402}
    kept = records(gateway.folder)
    assert sorted(record.status for record in kept) == sorted(statuses)
    spent = sum(record.cost for record in kept)
    assert spent <= 1_000_000  # 0.001 USD
    assert ask_ledger(gateway.folder, "SELECT spent, held FROM accounts WHERE budget = 'capped-day'") == [(spent, 0)]


async def test_a_run_that_is_opened_and_raised_at_one_worker_has_that_cap_at_the_other(
    gateway: GatewayProcess,
) -> None:
    first, second = gateway.workers()
    run = {"x-farthing-run": "job", "x-farthing-feature": "plain"}
    statuses = []

    for cap in ("0.00005", "0.0004"):  # the worst case of the call is above the one and below the other
        with only(gateway, first):
            opened = await fresh(gateway, "POST", "/api/runs", run="job", cap_usd=cap)
        with only(gateway, second):
            statuses.append((opened.status_code, (await ask(gateway, f"under {cap}", **run)).status_code))
            refused = [(None,)] if statuses[-1][1] == 200 else [(1,)]  # written down before the worker is stopped
            await until(lambda: ask_ledger(gateway.folder, "SELECT refused > 0 FROM runs") == refused)  # noqa: B023

    with only(gateway, first):
        shown = (await fresh(gateway, "GET", "/api/runs/job")).json()
    assert statuses == [(201, 402), (201, 200)]
    assert (shown["state"], shown["cap_usd"]) == ("open", "0.000400000")
    assert shown["spent_usd"] != "0.000000000"


def stored(gateway: GatewayProcess) -> int:
    """How many answers are in the file that the workers share; they get there within a moment."""
    with closing(sqlite3.connect(f"file:{gateway.folder / 'data' / 'cache.db'}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM answers").fetchone()[0])


async def test_an_answer_that_one_worker_stored_is_served_by_the_other(gateway: GatewayProcess, mock: Mock) -> None:
    first, second = gateway.workers()
    with only(gateway, first):
        asked = await ask(gateway, "what is a farthing")
        await until(lambda: stored(gateway) == 1)

    with only(gateway, second):
        again = await ask(gateway, "what is a farthing")

    assert (asked.headers["x-farthing-cache"], again.headers["x-farthing-cache"]) == ("miss", "exact")
    assert len(mock.requests) == 1


@pytest.mark.parametrize("whom", ["parent", "group"])
async def test_both_end_at_a_signal_and_streams_under_way_are_finished(gateway: GatewayProcess, whom: str) -> None:
    async def stream(worker: int, begun: asyncio.Event) -> str:
        body = {"model": "plain-model", "stream": True, "messages": [{"role": "user", "content": f"for {worker}"}]}
        headers = {"authorization": f"Bearer {KEY}"}
        async with (
            httpx.AsyncClient(base_url=gateway.address, headers=headers, timeout=30, trust_env=False) as client,
            client.stream("POST", "/v1/chat/completions", json=body) as response,
        ):
            begun.set()
            return (await response.aread()).decode()

    workers, streams = gateway.workers(), []
    for worker in workers:
        begun = asyncio.Event()
        with only(gateway, worker):
            streams.append(asyncio.ensure_future(stream(worker, begun)))
            await begun.wait()

    if whom == "group":  # as Ctrl-C in a terminal
        os.killpg(gateway.process.pid, signal.SIGINT)
    else:
        gateway.process.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(gateway.process.wait, 30)

    assert code == 0
    for text in await asyncio.gather(*streams):
        assert text.endswith("data: [DONE]\n\n")
    assert [record.outcome for record in records(gateway.folder)] == [Outcome.SUCCESS] * 2
    assert holds(gateway.folder) == 0
    assert "Traceback" not in gateway.log
    assert not any(alive(worker) for worker in workers)


async def test_a_worker_that_is_killed_is_replaced_and_its_call_is_on_the_books(gateway: GatewayProcess) -> None:
    first, second = gateway.workers()
    with only(gateway, first):
        calling = asyncio.ensure_future(fresh_call_to_nowhere(gateway))
        await until(lambda: holds(gateway.folder) == 1)

    os.kill(first, signal.SIGKILL)
    await calling

    await until(lambda: len(records(gateway.folder)) == 1)
    (record,) = records(gateway.folder)
    assert record.outcome is Outcome.LOST
    await until(lambda: len(gateway.workers()) == 2 and first not in gateway.workers())
    assert second in gateway.workers()
    assert (await ask(gateway, "still here")).status_code == 200


async def fresh_call_to_nowhere(gateway: GatewayProcess) -> None:
    """A call to a model that never answers, whose worker dies."""
    body = {"model": "mock-hang", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    with suppress(httpx.TransportError):
        await fresh(gateway, "POST", "/v1/chat/completions", **body)


async def test_workers_end_when_their_parent_was_killed(gateway: GatewayProcess) -> None:
    workers = gateway.workers()

    gateway.process.kill()
    await asyncio.to_thread(gateway.process.wait)

    await until(lambda: not any(alive(worker) for worker in workers))


def alive(pid: int) -> bool:
    """Whether the process is there and has not ended; a zombie that nobody reaps has ended."""
    try:
        return bool(command_line(pid))
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_two_hundred_identical_calls_of_one_moment_reach_the_provider_once(
    gateway: GatewayProcess, mock: Mock
) -> None:
    crowd = httpx.Limits(max_connections=200)
    headers = {"authorization": f"Bearer {KEY}"}
    body = {"model": "plain-model", "max_tokens": 50, "messages": [{"role": "user", "content": "all at once"}]}
    async with httpx.AsyncClient(
        base_url=gateway.address, headers=headers, timeout=30, limits=crowd, trust_env=False
    ) as client:
        answers = await asyncio.gather(
            *(client.post("/v1/chat/completions", json={**body, "stream": at % 2 == 0}) for at in range(200))
        )

    assert {answer.status_code for answer in answers} == {200}
    assert len(mock.requests) == 1
    assert all(answer.text.endswith("data: [DONE]\n\n") for answer in answers[::2])
    assert len({answer.json()["id"] for answer in answers[1::2]}) == 100
    caches = [answer.headers["x-farthing-cache"] for answer in answers]
    assert caches.count("miss") == 1
    assert set(caches) <= {"miss", "coalesced", "exact"}
    kept = records(gateway.folder)
    (paid,) = (record for record in kept if record.cost)
    assert len(kept) == 200
    assert sum(record.avoided_cache for record in kept) == 199 * paid.cost
    assert holds(gateway.folder) == 0


async def test_a_call_waits_for_an_identical_one_at_the_other_worker(gateway: GatewayProcess, mock: Mock) -> None:
    first, second = gateway.workers()
    with only(gateway, first):
        leading = asyncio.ensure_future(ask(gateway, "one for both", model="mock-slow-first-byte"))
        await until(lambda: len(mock.requests) == 1)

    with only(gateway, second):
        waiting = asyncio.ensure_future(ask(gateway, "one for both", model="mock-slow-first-byte"))
        await fresh(gateway, "GET", "/healthz")
    answers = await asyncio.gather(leading, waiting)

    assert [answer.headers["x-farthing-cache"] for answer in answers] == ["miss", "coalesced"]
    assert len(mock.requests) == 1


async def test_a_call_goes_alone_when_the_worker_that_it_waits_for_dies(gateway: GatewayProcess, mock: Mock) -> None:
    first, second = gateway.workers()
    with only(gateway, first):
        leading = asyncio.ensure_future(ask(gateway, "one for both", model="mock-slow-first-byte"))
        await until(lambda: len(mock.requests) == 1)
    with only(gateway, second):
        waiting = asyncio.ensure_future(ask(gateway, "one for both", model="mock-slow-first-byte"))
        await fresh(gateway, "GET", "/healthz")
        os.kill(first, signal.SIGKILL)

    answer = await waiting

    with suppress(httpx.TransportError):
        await leading
    assert (answer.status_code, answer.headers["x-farthing-cache"]) == (200, "miss")
    assert len(mock.requests) == 2
