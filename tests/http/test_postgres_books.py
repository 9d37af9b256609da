"""A gateway whose books are in PostgreSQL: what it shows of them, and how it says that they are away."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from farthing.errors import ConfigError, LedgerUnavailable
from ledger import reports
from ledger.check import check
from tests.gateway import ADMIN_KEY, RunningGateway, running_gateway
from tests.ledgers import VARIABLE, Engine, PostgresEngine
from tests.postgres import Server

BOSS = {"authorization": f"Bearer {ADMIN_KEY}"}
EVER = {"since_ns": 0, "until_ns": 2**62}


@pytest.fixture
async def gateway(tmp_path: Path, engine_named: Callable[[str], Engine]) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, engine=engine_named("postgres")) as running:
        yield running


async def some_calls(gateway: RunningGateway) -> None:
    """Answers, a hit, a stream, a refusal and failures, several of them at once."""
    await asyncio.gather(
        *(gateway.chat(f"question {number}") for number in range(6)),
        gateway.chat("streamed", stream=True),
        gateway.chat("x", model="mock-500"),
        gateway.chat("x" * 600, headers={"x-farthing-feature": "capped"}, max_tokens=1000),
    )
    await gateway.chat("question 1")


async def test_pages_metrics_and_reports_say_what_the_books_say(gateway: RunningGateway) -> None:
    await some_calls(gateway)

    whole = reports.totals(gateway.database, since_ns=0, until_ns=2**62)
    spend = (await gateway.client.get("/api/spend?by=feature&since=30d", headers=BOSS)).json()
    budgets = (await gateway.client.get("/api/budgets", headers=BOSS)).json()["budgets"]
    (size, log) = gateway.database.sizes()

    assert (whole.requests, check(gateway.database).differences) == (10, ())
    assert whole.cost == sum(record.cost for record in gateway.records()) > 0
    assert sum(row["requests"] for row in spend["rows"]) == 10
    assert "capped-day" in {line["budget"] for line in budgets}
    assert await gateway.metric("farthing_requests_total") == 10
    assert await gateway.metric("farthing_cost_usd_total") == pytest.approx(whole.cost / 1e9, abs=1e-12)
    assert await gateway.metric("farthing_ledger_open_holds") == gateway.holds() == 0
    assert await gateway.metric("farthing_ledger_file_bytes") == size > 0
    assert log is None


async def test_a_request_is_shown_by_its_id(gateway: RunningGateway) -> None:
    answer = await gateway.chat("hello")
    id_ = answer.headers["x-farthing-request-id"]

    shown = (await gateway.client.get(f"/api/records/{id_}", headers=BOSS)).json()
    await gateway.client.post("/dashboard/login", data={"key": ADMIN_KEY})
    page = await gateway.client.get(f"/dashboard/requests/{id_}")
    overview = await gateway.client.get("/dashboard")

    assert shown["cost_usd"] == answer.headers["x-farthing-cost-usd"]
    assert (page.status_code, overview.status_code) == (200, 200)
    assert id_ in page.text


async def test_two_gateways_share_one_cap(gateway: RunningGateway) -> None:
    async with gateway.another_worker() as (other, _):
        calls = [gateway.chat("x" * 300, headers={"x-farthing-feature": "capped"}, max_tokens=150) for _ in range(6)]
        theirs = other.house
        statuses = [answer.status_code for answer in await asyncio.gather(*calls)]

        assert theirs.engine.database == gateway.database
        assert set(statuses) <= {200, 402}

    (state,) = reports.budget_states(gateway.database, now_ns=0, budget="capped-day")
    assert state.spent <= state.account.limit
    assert state.held == 0


async def test_a_server_that_is_away_makes_a_gateway_unready_and_nothing_is_forwarded(
    tmp_path: Path, own_postgres: Server
) -> None:
    async with running_gateway(tmp_path, engine=PostgresEngine(own_postgres)) as gateway:
        ready = await gateway.client.get("/readyz")
        own_postgres.end()

        away, told = await gateway.client.get("/readyz"), await gateway.client.get("/readyz", headers=BOSS)
        refused = await gateway.chat("hello")
        metrics = await gateway.client.get("/metrics")
        own_postgres.start()

    assert (ready.status_code, away.status_code, away.json()["reasons"]) == (200, 503, ["ledger"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "ledger_unavailable")
    assert refused.headers["retry-after"]
    assert metrics.status_code == 200
    assert not gateway.mock.requests
    password = str(urlsplit(own_postgres.url).password)
    for page in (away, told, refused, metrics):
        assert password not in page.text


def test_nothing_shows_the_password(engine_named: Callable[[str], Engine]) -> None:
    engine = engine_named("postgres")
    assert isinstance(engine, PostgresEngine)
    password = str(urlsplit(engine.environment[VARIABLE]).password)
    engine.remove()
    with pytest.raises(LedgerUnavailable) as unread:
        reports.totals(engine.database, **EVER)
    engine.database.prepare()
    with (
        engine.database.exclusively("archive"),
        pytest.raises(ConfigError) as busy,
        engine.database.exclusively("archive"),
    ):
        pass

    for shown in (repr(engine.database), engine.database.label, unread.value.message, busy.value.message):
        assert password not in json.dumps(shown)
