"""Whole gateways, killed or asked to end in the middle of their work: what the books say afterwards."""

import asyncio
import json
import random
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from bench.mock_upstream import Mock, MockSettings, running_mock
from farthing.record import Outcome
from farthing.usage import UsageSource
from tests.gateway import write_tree
from tests.processes import (
    GatewayProcess,
    ask_ledger,
    edit,
    gateway_process,
    holds,
    records,
    spawn,
    until,
    write_config,
)

PATIENT = ("first_byte: 2s, idle: 2s, total: 5s", "first_byte: 60s, idle: 60s, total: 60s")
ROOMY = ('limit_usd: "0.001"', 'limit_usd: "1000"')
CAPPED_SPENT = "SELECT sum(spent), sum(held) FROM accounts WHERE budget = 'capped-day'"


@pytest.fixture
async def mock() -> AsyncIterator[Mock]:
    async with running_mock(MockSettings(chunks=10, duration_ms=400, recording=True)) as mock:
        yield mock


@pytest.fixture
def config(tmp_path: Path, mock: Mock) -> Path:
    return write_config(tmp_path, mock.base_url, PATIENT, ROOMY)


def asked(model: str, *, stream: bool) -> dict[str, object]:
    return {"model": model, "stream": stream, "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}


async def call_and_lose(gateway: GatewayProcess, model: str, *, stream: bool = False) -> None:
    """A call whose gateway is killed under it."""
    with pytest.raises(httpx.TransportError):
        await gateway.chat(model=model, stream=stream, feature="capped")


async def first_half(gateway: GatewayProcess) -> tuple[httpx.Response, AsyncIterator[str]]:
    """A stream of which two events have arrived."""
    headers = {"x-farthing-feature": "capped"}
    body = asked("plain-model", stream=True)
    request = gateway.client.build_request("POST", "/v1/chat/completions", json=body, headers=headers)
    response = await gateway.client.send(request, stream=True)
    events = (line async for line in response.aiter_lines() if line.startswith("data: "))
    for _ in range(2):
        await anext(events)
    return response, events


async def test_calls_under_way_when_the_gateway_is_killed_are_charged_once_at_their_hold(config: Path) -> None:
    async with gateway_process(config) as gateway:
        done = await gateway.chat("before", feature="capped")
        waiting = asyncio.ensure_future(call_and_lose(gateway, "mock-hang"))
        halted, _ = await first_half(gateway)
        await until(lambda: holds(gateway.folder) == 2)
        held = dict(ask_ledger(gateway.folder, "SELECT id, amount FROM holds"))
        await gateway.kill()
        await waiting
        await halted.aclose()

    async with gateway_process(config) as gateway:
        later = await gateway.chat("after", feature="capped")
        await gateway.end()

    kept = {record.id: record for record in records(gateway.folder)}
    lost = {id_: record.cost for id_, record in kept.items() if record.outcome is Outcome.LOST}
    assert lost == held
    assert halted.headers["x-farthing-request-id"] in lost
    assert {kept[id_].usage.source for id_ in lost} == {UsageSource.ESTIMATED}
    served = {response.headers["x-farthing-request-id"] for response in (done, later)}
    assert kept.keys() == served | lost.keys()
    assert holds(gateway.folder) == 0
    assert ask_ledger(gateway.folder, CAPPED_SPENT) == [(sum(record.cost for record in kept.values()), 0)]


async def burst_and_kill(gateway: GatewayProcess, after_s: float) -> list[str]:
    """Six callers ask without a pause until the gateway is killed; the ids of the answers that arrived."""
    answered: list[str] = []

    async def caller(number: int) -> None:
        turn = 0
        while True:
            try:
                response = await gateway.chat(f"{number} {turn}", feature="capped", stream=turn % 3 == 2)
            except httpx.TransportError:
                return
            assert response.status_code == 200, response.text
            answered.append(response.headers["x-farthing-request-id"])
            turn += 1

    callers = asyncio.gather(*(caller(number) for number in range(6)))
    await asyncio.sleep(after_s)
    await gateway.kill()
    await callers
    return answered


async def test_kills_at_random_moments_neither_lose_nor_double_a_call(tmp_path: Path) -> None:
    moments = [random.Random(seed).uniform(0.005, 0.05) for seed in range(4)]
    answered: list[str] = []
    async with running_mock(MockSettings(chunks=5, duration_ms=10)) as mock:
        config = write_config(tmp_path, mock.base_url, ROOMY)
        for moment in moments:
            async with gateway_process(config) as gateway:
                answered.append((await gateway.chat("warm", feature="capped")).headers["x-farthing-request-id"])
                answered += await burst_and_kill(gateway, moment)
        async with gateway_process(config) as gateway:
            await gateway.end()

    kept = records(tmp_path)
    ids = [record.id for record in kept]
    assert len(ids) == len(set(ids))
    assert set(answered) <= set(ids)
    assert {record.id for record in kept if record.outcome is Outcome.SUCCESS} >= set(answered)
    assert {record.outcome for record in kept} <= {Outcome.SUCCESS, Outcome.LOST}
    assert holds(tmp_path) == 0
    assert ask_ledger(tmp_path, CAPPED_SPENT) == [(sum(record.cost for record in kept), 0)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stream_under_way_at_a_signal_to_stop_is_finished_and_settled(
    config: Path, number: signal.Signals
) -> None:
    async with gateway_process(config) as gateway:
        response, events = await first_half(gateway)
        ending = asyncio.ensure_future(gateway.end(number))
        rest = [event async for event in events]
        await response.aclose()

        code = await ending

        assert code == 0
        assert rest[-1] == "data: [DONE]"
        (record,) = records(gateway.folder)
        assert (record.outcome, record.usage.source) == (Outcome.SUCCESS, UsageSource.PROVIDER)
        assert record.usage.output_total == 2  # words: "echo: hi"
        assert holds(gateway.folder) == 0
        assert "Traceback" not in gateway.log


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_outlives_the_grace_is_cut_and_on_the_books(config: Path, stream: bool) -> None:
    edit(config, ("port: 0,", "port: 0, shutdown_grace: 200ms,"))
    async with gateway_process(config) as gateway:
        model = "mock-stall" if stream else "mock-hang"
        calling = asyncio.ensure_future(gateway.chat(model=model, stream=stream, feature="capped"))
        await until(lambda: holds(gateway.folder) == 1)

        code = await gateway.end()

        assert code == 0
        await asyncio.gather(calling, return_exceptions=True)
    async with gateway_process(config) as gateway:
        await gateway.end()
    (record,) = records(gateway.folder)
    assert record.outcome in (Outcome.ABORTED, Outcome.LOST)
    assert record.cost > 0
    assert ask_ledger(gateway.folder, CAPPED_SPENT) == [(record.cost, 0)]
    assert holds(gateway.folder) == 0


def refusal(config: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a gateway that cannot start."""
    process = spawn(config, *arguments)
    try:
        code = process.wait(60)
    finally:
        process.kill()
        process.wait()
    return code, (config.parent / "log").read_text()


def test_a_taken_port_is_one_clear_sentence(tmp_path: Path) -> None:
    config = write_tree(tmp_path, "http://127.0.0.1:1/v1")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        code, said = refusal(config, "--port", str(port))

    assert code == 2
    assert said.splitlines() == [
        f"farthing: Cannot listen on 127.0.0.1:{port} (Address already in use): end what uses it, or choose another "
        "with --port."
    ]


def test_a_bad_configuration_is_told_by_its_findings(tmp_path: Path) -> None:
    config = write_tree(tmp_path, "http://127.0.0.1:1/v1", extra="servr: {}\n")

    code, said = refusal(config)

    assert code == 2
    assert "servr: there is no such setting; did you mean 'server'?" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("name", "workers"), [("ledger.db", "1"), ("evals.db", "1"), ("ledger.db", "2")])
def test_a_file_that_is_no_database_ends_the_start(tmp_path: Path, name: str, workers: str) -> None:
    config = write_tree(tmp_path, "http://127.0.0.1:1/v1")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_bytes(b"no database at all, however long it may be" * 100)

    code, said = refusal(config, "--workers", workers)

    assert code == 2
    assert "file is not a database" in said
    assert "Traceback" not in said


def test_a_data_dir_that_is_a_file_ends_the_start(tmp_path: Path) -> None:
    config = write_tree(tmp_path, "http://127.0.0.1:1/v1")
    (tmp_path / "data").write_text("")

    code, said = refusal(config)

    assert code == 2
    assert said.startswith(f"farthing: The files in {tmp_path / 'data'} cannot be used")
    assert "Traceback" not in said


async def test_a_garbled_cache_does_not_keep_the_gateway_from_starting(config: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cache.db").write_bytes(b"no database at all, however long it may be" * 100)

    async with gateway_process(config) as gateway:
        response = await gateway.chat(feature="chat")
        await gateway.end()

    assert response.status_code == 200
    assert json.loads(response.text)["choices"]
