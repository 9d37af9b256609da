"""Whole gateways that share a PostgreSQL, while it goes away or stands still, or one of them dies."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed: scripts/install postgres")

from bench.mock_upstream import Mock, MockSettings, running_mock
from ledger.check import check
from ledger.postgres_database import PostgresDatabase
from tests.faults.postgres_setup import ask, costs, holds
from tests.processes import GatewayProcess, edit, gateway_process, until, write_config

if TYPE_CHECKING:
    from tests.postgres import Server

ROOMY = ('limit_usd: "0.001"', 'limit_usd: "1000"')
PATIENT = ("first_byte: 2s, idle: 2s, total: 5s", "first_byte: 60s, idle: 60s, total: 60s")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARTHING_LEDGER_URL", "")


@pytest.fixture
async def mock() -> AsyncIterator[Mock]:
    async with running_mock(MockSettings(chunks=10, duration_ms=100, slow_ms=1_500, recording=True)) as mock:
        yield mock


def config_for(folder: Path, mock: Mock, url: str) -> Path:
    folder.mkdir(exist_ok=True)
    os.environ["FARTHING_LEDGER_URL"] = url  # which the gateways inherit
    ledger = ("{level: info}", "{level: info}\nledger: {url: '${FARTHING_LEDGER_URL}'}")
    return write_config(folder, mock.base_url, ROOMY, ledger)


def assert_refused_until_the_ledger_works(response: httpx.Response) -> None:
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "ledger_unavailable"
    assert 0 < int(response.headers["retry-after"]) <= 5


async def slow(gateway: GatewayProcess) -> httpx.Response:
    """A call whose answer takes its time."""
    return await gateway.chat("slow", model="mock-slow-first-byte", feature="capped", max_tokens=20)


async def with_run(gateway: GatewayProcess, content: str) -> httpx.Response:
    body = {"model": "plain-model", "max_tokens": 5, "messages": [{"role": "user", "content": content}]}
    headers = {"x-farthing-run": content, "x-farthing-feature": "plain"}  # of which the gateway asks what it may spend
    return await gateway.client.post("/v1/chat/completions", json=body, headers=headers)


async def test_while_the_server_is_away_nothing_is_sent_and_an_answer_under_way_is_charged_when_it_is_back(
    tmp_path: Path, own_postgres: "Server", mock: Mock
) -> None:
    url = own_postgres.fresh_database()
    async with gateway_process(config_for(tmp_path, mock, url)) as gateway:
        answering = asyncio.ensure_future(slow(gateway))
        await until(lambda: len(mock.requests) == 1)
        await asyncio.to_thread(own_postgres.kill)

        refused = await asyncio.gather(gateway.chat("one"), gateway.chat("two"), with_run(gateway, "three"))
        again = await gateway.chat("four")
        healthy = await gateway.client.get("/healthz")
        ready = await gateway.client.get("/readyz")
        answered = await answering
        await asyncio.to_thread(own_postgres.start)
        await until(lambda: holds(url) == 0)
        later = await gateway.chat("later", feature="capped")
        await gateway.end()

    for response in (*refused, again):
        assert_refused_until_the_ledger_works(response)
    assert (answered.status_code, healthy.status_code, ready.status_code, later.status_code) == (200, 200, 503, 200)
    assert len(mock.requests) == 2
    booked = ask(url, "SELECT id, outcome, usage_source FROM records WHERE cost > 0 ORDER BY received_ns")
    served = [response.headers["x-farthing-request-id"] for response in (answered, later)]
    assert booked == [(id_, "success", "provider") for id_ in served]
    assert ask(url, "SELECT sum(spent), sum(held) FROM accounts WHERE budget = 'capped-day'") == [
        (sum(costs(url).values()), 0)
    ]
    assert check(PostgresDatabase(url)).differences == ()
    assert "Traceback" not in gateway.log


async def test_while_the_server_stands_still_calls_are_refused_and_the_gateway_answers_all_else(
    tmp_path: Path, own_postgres: "Server", mock: Mock
) -> None:
    from tests.postgres import processes

    url = own_postgres.fresh_database()
    async with gateway_process(config_for(tmp_path, mock, url)) as gateway:
        assert (await with_run(gateway, "warm")).status_code == 200
        pids = (own_postgres.pid, *processes(own_postgres.pid))
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            calls = [asyncio.ensure_future(gateway.chat(f"{number}")) for number in range(5)]
            calls += [asyncio.ensure_future(with_run(gateway, f"{number}")) for number in range(5)]
            healthy = [(await gateway.client.get("/healthz")).status_code for _ in range(20)]
            refused = await asyncio.gather(*calls)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        later = await gateway.chat("later")
        again = await with_run(gateway, "again")
        await gateway.end()

    assert healthy == [200] * 20
    for response in refused:
        assert_refused_until_the_ledger_works(response)
    assert (later.status_code, again.status_code) == (200, 200)
    assert len(mock.requests) == 3
    assert holds(url) == 0
    assert check(PostgresDatabase(url)).differences == ()


async def test_a_gateway_that_is_killed_is_charged_by_its_neighbour_on_another_machine_whose_own_calls_go_on(
    tmp_path: Path, own_postgres: "Server", mock: Mock
) -> None:
    url = own_postgres.fresh_database()
    configs = [config_for(tmp_path / name, mock, url) for name in ("here", "there")]
    for config in configs:
        edit(config, PATIENT, ("port: 0,", "port: 0, shutdown_grace: 200ms,"))
    async with gateway_process(configs[0]) as here, gateway_process(configs[1]) as there:
        hanging = [asyncio.ensure_future(one.chat("x", model="mock-hang", feature="capped")) for one in (here, there)]
        await until(lambda: holds(url) == 2)
        held = dict(ask(url, "SELECT id, amount FROM holds"))
        await there.kill()

        await until(lambda: holds(url) == 1)

        lost = ask(url, "SELECT id, outcome, cost, usage_source FROM records")
        served = await here.chat("meanwhile", feature="capped")
        for one in hanging:
            one.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        await here.end()

    ((id_, outcome, cost, source),) = lost
    assert (outcome, cost, source) == ("lost", held[id_], "estimated")
    assert served.status_code == 200
    assert holds(url) == 0
    assert ask(url, "SELECT sum(spent), sum(held) FROM accounts WHERE budget = 'capped-day'") == [
        (sum(costs(url).values()), 0)
    ]
