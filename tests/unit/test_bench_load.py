"""The load generator asks what it says and counts what it gets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from bench.load import (
    EXACT_HIT,
    MAX_FAILURES,
    PASS_THROUGH,
    STREAM,
    Scenario,
    Target,
    build_request,
    percentile,
    run_load,
)
from bench.mock_upstream import MockSettings, running_mock

RECORDING = MockSettings(chunks=10, duration_ms=5, recording=True)
KEY = (("authorization", "Bearer test-key"),)


@contextlib.asynccontextmanager
async def closed_port() -> AsyncIterator[str]:
    """A base URL at which nobody listens."""
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    yield f"http://127.0.0.1:{port}/v1"


@pytest.mark.parametrize("scenario", [PASS_THROUGH, EXACT_HIT, STREAM], ids=lambda s: s.name)
def test_a_request_is_valid_and_about_550_bytes_long(scenario: Scenario) -> None:
    request = build_request(Target("http://h:1/v1", "m", KEY), scenario, "salt")(12345)

    head, body = request.split(b"\r\n\r\n")
    asked = json.loads(body)
    assert f"content-length: {len(body)}".encode() in head
    assert b"authorization: Bearer test-key" in head
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: h:1\r\n")
    assert asked["model"] == "m"
    assert asked.get("stream", False) is scenario.stream
    assert 500 < len(body) < 620


def test_unique_prompts_differ_by_number_and_by_salt_and_equal_ones_do_not() -> None:
    target = Target("http://h:1/v1")

    unique = {build_request(target, PASS_THROUGH, salt)(n) for salt in ("a", "b") for n in (1, 2)}
    equal = {build_request(target, EXACT_HIT, "a")(n) for n in (1, 2)}

    assert (len(unique), len(equal)) == (4, 1)


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_the_nearest_rank(share: float, value: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], share) == value


def test_no_values_have_a_percentile_of_zero() -> None:
    assert percentile([], 0.5) == 0


@pytest.mark.parametrize(("scenario", "prompts"), [(PASS_THROUGH, 300), (EXACT_HIT, 1), (STREAM, 300)])
async def test_every_request_reaches_the_target_once_and_is_counted_once(scenario: Scenario, prompts: int) -> None:
    async with running_mock(RECORDING) as mock:
        result = await run_load(
            Target(mock.base_url, headers=KEY),
            scenario,
            salt="x",
            connections=8,
            seconds=5,
            most_requests=300,
        )

    assert (result.requests, result.errors, result.statuses) == (300, 0, {200: 300})
    assert len(mock.requests) == 300
    assert len({request.body for request in mock.requests}) == prompts
    assert 0 < result.first_byte_p50_ms <= result.p50_ms <= result.p99_ms
    assert result.rps == pytest.approx(300 / result.seconds)


@pytest.mark.parametrize(
    ("model", "stream", "statuses"),
    [
        ("mock-429", False, {429: 40}),
        ("mock-no-done", True, {200: 40}),
        ("mock-error-in-stream", True, {200: 40}),
        ("mock-cut", False, {}),
        ("mock-drop", False, {}),
    ],
)
async def test_a_bad_answer_is_an_error_and_not_a_request(model: str, stream: bool, statuses: dict[int, int]) -> None:
    scenario = Scenario("bad", unique=True, stream=stream)

    async with running_mock() as mock:
        result = await run_load(
            Target(mock.base_url, model), scenario, salt="x", connections=4, seconds=5, most_requests=40
        )

    assert (result.requests, result.errors, result.statuses) == (0, 40, statuses)
    assert mock.answered == 40


async def test_a_run_ends_when_its_time_is_up() -> None:
    async with running_mock() as mock:
        result = await run_load(Target(mock.base_url), EXACT_HIT, salt="x", connections=2, seconds=0.05)

    assert result.errors == 0
    assert result.requests == mock.answered > 0


async def test_a_target_that_does_not_listen_gives_errors_and_an_end() -> None:
    async with closed_port() as base_url:
        result = await run_load(Target(base_url), EXACT_HIT, salt="x", connections=2, seconds=0.05)

    assert result.requests == 0
    assert 2 <= result.errors < MAX_FAILURES
