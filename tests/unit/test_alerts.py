"""What is told of a threshold, to whom, how often, and what a deaf webhook costs."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from farthing.catalog import Step, Threshold
from gateway.alerts import Alerts, feature_of
from gateway.settings import AlertSettings
from gateway.tasks import Background
from ledger import sqlite_file
from ledger.sqlite_file import SQLiteFile
from ledger.testing import ManualClock, example_account

HALF = Threshold(at=Decimal("0.50"), do=Step.NOTIFY)
MOST = Threshold(at=Decimal("0.8"), do=Step.DOWNGRADE)
ACCOUNT = example_account("b|feature=search|day|2027-01-15", limit=2_000_000_000)


@asynccontextmanager
async def webhook(*statuses: int) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A server that answers its requests with these statuses in turn; 0 hangs up. Yields address and bodies."""
    bodies: list[dict[str, Any]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        bodies.append(json.loads(await reader.readexactly(length)))
        if status := statuses[len(bodies) - 1]:
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?token=hush", bodies
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    sqlite_file.prepare(tmp_path / "ledger.db")
    return tmp_path / "ledger.db"


def alerts(path: Path, background: Background, url: str, on_told: Callable[[str], None] = lambda _: None) -> Alerts:
    return Alerts(
        database=SQLiteFile(path),
        clock=ManualClock(),
        background=background,
        settings=lambda: AlertSettings(webhook_url=url, timeout_s=2),
        on_told=on_told,
        pauses_s=(0.0, 0.0),
    )


async def test_a_threshold_is_posted_with_exact_amounts(path: Path) -> None:
    background, told = Background(), list[str]()
    async with webhook(200) as (url, bodies):
        alerts(path, background, url, told.append).tell(ACCOUNT, HALF, 1_000_000_001)
        await background.settle()

    assert told == ["search"]
    assert bodies == [
        {
            "event": "budget_threshold",
            "budget": "b",
            "scope": "feature=search",
            "window": "day",
            "at": "0.50",
            "do": "notify",
            "used_usd": "1.000000001",
            "limit_usd": "2.000000000",
            "resets_at": "2027-01-16T00:00:00+00:00",
            "time": "2027-01-15T08:00:00+00:00",
        }
    ]


async def test_several_workers_tell_each_threshold_once(path: Path) -> None:
    background, told = Background(), list[str]()
    workers = [alerts(path, background, "", told.append) for _ in range(4)]

    for worker in workers:
        worker.tell(ACCOUNT, HALF, 1_000_000_000)
        worker.tell(ACCOUNT, MOST, 1_600_000_000)
    await background.settle()

    assert told == ["search", "search"]


async def test_a_new_window_is_told_anew(path: Path) -> None:
    background, told = Background(), list[str]()
    worker = alerts(path, background, "", told.append)

    worker.tell(ACCOUNT, HALF, 1_000_000_000)
    worker.tell(example_account("b|feature=search|day|2027-01-16", limit=2_000_000_000), HALF, 1_000_000_000)
    await background.settle()

    assert len(told) == 2


@pytest.mark.parametrize("failures", [(500,), (0, 503)])
async def test_a_webhook_that_fails_is_tried_three_times(path: Path, failures: tuple[int, ...]) -> None:
    background = Background()
    async with webhook(*failures, 204) as (url, bodies):
        alerts(path, background, url).tell(ACCOUNT, HALF, 1_000_000_000)
        await background.settle()

    assert len(bodies) == len(failures) + 1


async def test_a_deaf_webhook_is_logged_without_its_address(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    background = Background()
    async with webhook(500, 0, 302) as (url, bodies):
        with caplog.at_level(logging.WARNING):
            alerts(path, background, url).tell(ACCOUNT, HALF, 1_000_000_000)
            await background.settle()

    assert len(bodies) == 3
    assert "the alert on budget b did not reach the webhook: status 302" in caplog.text
    assert "hush" not in caplog.text


async def test_a_ledger_that_cannot_be_written_tells_nobody_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    background, told = Background(), list[str]()

    alerts(tmp_path / "missing" / "ledger.db", background, "", told.append).tell(ACCOUNT, HALF, 1_000_000_000)
    await background.settle()

    assert told == []
    assert "cannot be written" in caplog.text


@pytest.mark.parametrize(
    ("scope", "feature"), [("feature=search", "search"), ("tenant=a,feature=x/y", "x/y"), ("tenant=a", ""), ("all", "")]
)
def test_the_feature_of_an_account_is_that_of_its_scope(scope: str, feature: str) -> None:
    account = example_account(f"b|{scope}|day|2027-01-15", limit=1)

    assert feature_of(account) == feature
