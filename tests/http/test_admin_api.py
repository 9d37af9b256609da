"""The admin side over HTTP: who may see what, and that the figures are the ledger's."""

import json
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote

import pytest

from farthing.money import Nano
from farthing.record import Attempt, Billed, Extra
from farthing.tags import Tags
from farthing.usage import Usage
from gateway.admin import MetricsAccess, Problem, admin_app
from tests.http.admin_setup import (
    ADMIN_SECRET,
    CALLER_SECRET,
    EACH_RUN,
    HIT,
    MONTHLY,
    Installation,
    make_record,
    write_books,
)
from tests.ledgers import Engine


@pytest.fixture
def installation(engine: Engine) -> Installation:
    return Installation(engine=engine)


async def test_health_tells_nothing_but_that_the_process_answers(installation: Installation) -> None:
    installation.problems = [Problem(reason="ledger", detail="disk full")]

    async with installation.client(peer="203.0.113.9") as client:
        response = await client.get("/healthz")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_readiness_names_reasons_to_all_and_details_to_admins(installation: Installation) -> None:
    installation.problems = [Problem(reason="ledger", detail="disk full at /var/x")]

    async with installation.client() as anyone, installation.client(key=ADMIN_SECRET) as admin:
        seen = await anyone.get("/readyz")
        told = await admin.get("/readyz")

    assert (seen.status_code, seen.json()) == (503, {"status": "not ready", "reasons": ["ledger"]})
    assert told.json()["problems"] == [{"reason": "ledger", "detail": "disk full at /var/x", "blocking": True}]


async def test_a_problem_that_does_not_block_leaves_the_gateway_ready(installation: Installation) -> None:
    installation.problems = [Problem(reason="config", detail="routing.yaml:3:1", blocking=False)]

    async with installation.client() as client:
        response = await client.get("/readyz")

    assert (response.status_code, response.json()) == (200, {"status": "ready", "reasons": ["config"]})


@pytest.mark.parametrize(
    ("access", "peer", "key", "status"),
    [
        (MetricsAccess.LOOPBACK, "127.0.0.1", "", 200),
        (MetricsAccess.LOOPBACK, "::1", "", 200),
        (MetricsAccess.LOOPBACK, "203.0.113.9", "", 403),
        (MetricsAccess.LOOPBACK, "203.0.113.9", ADMIN_SECRET, 403),
        (MetricsAccess.KEY, "127.0.0.1", "", 401),
        (MetricsAccess.KEY, "203.0.113.9", CALLER_SECRET, 403),
        (MetricsAccess.KEY, "203.0.113.9", ADMIN_SECRET, 200),
        (MetricsAccess.OPEN, "203.0.113.9", "", 200),
    ],
)
async def test_metrics_are_shown_to_those_whom_the_setting_admits(
    installation: Installation, access: MetricsAccess, peer: str, key: str, status: int
) -> None:
    installation.access = access

    async with installation.client(peer=peer, key=key) as client:
        response = await client.get("/metrics")

    assert response.status_code == status
    if status == 200:
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_no_header_makes_a_stranger_local_and_a_proxy_makes_nobody_local(
    installation: Installation,
) -> None:
    forged = {"x-forwarded-for": "127.0.0.1", "host": "localhost"}

    async with installation.client(peer="203.0.113.9") as stranger, installation.client() as proxy:
        refused = await stranger.get("/metrics", headers=forged)
        passed_on = await proxy.get("/metrics", headers={"x-forwarded-for": "203.0.113.9"})

    assert (refused.status_code, passed_on.status_code) == (403, 403)


@pytest.mark.parametrize("path", ["/api/records/req-1", "/api/spend", "/api/budgets"])
async def test_the_api_is_for_admin_keys(installation: Installation, path: str) -> None:
    async with (
        installation.client() as nobody,
        installation.client(key="fk-wrong") as wrong,
        installation.client(key=CALLER_SECRET) as caller,
    ):
        statuses = [(await client.get(path)).status_code for client in (nobody, wrong, caller)]

    assert statuses == [401, 401, 403]


async def test_a_record_comes_with_exact_amounts(installation: Installation) -> None:
    await write_books(installation.engine, [make_record("req-1")])

    async with installation.client(key=ADMIN_SECRET) as client:
        found = await client.get("/api/records/req-1")
        missing = await client.get("/api/records/req-2")

    body = found.json()
    assert (body["cost"], body["cost_usd"], body["tags"]["feature"]) == (2_000_000, "0.002000000", "search")
    assert body["rates"] == {"input_uncached": 10**9, "output": 5 * 10**9}
    assert (body["service_tier"], body["stated_cost"], body["stated_cost_usd"]) == ("", None, None)
    assert (body["refused_by"], body["extras"]) == ("", [])
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")


async def test_a_record_comes_with_what_it_cost_beside_its_tokens(installation: Installation) -> None:
    extras = (Extra(name="web_searches", quantity=3, rate=10**13), Extra(name="output", quantity=1, rate=-1, part=1))
    await write_books(installation.engine, [make_record("req-1", extras=extras)])

    async with installation.client(key=ADMIN_SECRET) as client:
        body = (await client.get("/api/records/req-1")).json()

    assert body["extras"] == [
        {"name": "web_searches", "quantity": 3, "rate": 10**13},
        {"name": "output", "quantity": 1, "rate": -1, "part": 1},
    ]


async def test_an_attempt_that_billed_comes_with_its_own_figures(installation: Installation) -> None:
    billed = Billed(provider="p", model="m", usage=Usage(output=1), rates='{"output":7}', price_version="v")
    attempts = (
        Attempt(deployment="p/m", status=502, error="http_502", seconds=1.0, cost=Nano(7), billed=billed),
        Attempt(deployment="q/m", status=200, error="", seconds=1.0, cost=Nano(2_000_000)),
    )
    await write_books(installation.engine, [make_record("req-1", attempts=attempts)])

    async with installation.client(key=ADMIN_SECRET) as client:
        first, second = (await client.get("/api/records/req-1")).json()["attempts"]

    assert (first["cost"], first["billed"]["rates"], first["billed"]["usage"]["output"]) == (7, {"output": 7}, 1)
    assert "billed" not in second


async def test_spend_is_grouped_and_filtered_as_asked(installation: Installation) -> None:
    other = Tags(tenant="acme", key_id="app", feature="mail")
    records = [make_record("a"), make_record("b", **HIT), make_record("c", tags=other, tier="large")]
    await write_books(installation.engine, records)

    async with installation.client(key=ADMIN_SECRET) as client:
        grouped = await client.get("/api/spend", params={"by": "feature,tier", "since": "1d"})
        filtered = await client.get("/api/spend", params={"by": "feature", "where": "tier=large"})

    rows = {(row["feature"], row["tier"]): row for row in grouped.json()["rows"]}
    assert rows["search", "small"]["requests"] == 2
    assert rows["search", "small"]["hits"] == 1
    assert rows["search", "small"]["cost_usd"] == "0.002000000"
    assert rows["search", "small"]["avoided_cache_usd"] == "0.002000000"
    assert [row["feature"] for row in filtered.json()["rows"]] == ["mail"]


@pytest.mark.parametrize("asked", [{"by": "mood"}, {"since": "yesterday"}, {"where": "feature"}, {"where": "a;b=1"}])
async def test_a_question_that_makes_no_sense_gets_400_and_a_remedy(
    installation: Installation, asked: dict[str, str]
) -> None:
    await write_books(installation.engine, [])

    async with installation.client(key=ADMIN_SECRET) as client:
        response = await client.get("/api/spend", params=asked)

    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_parameter"


async def test_a_report_without_a_ledger_says_where_it_was_looked_for(installation: Installation) -> None:
    installation.engine.remove()

    async with installation.client(key=ADMIN_SECRET) as client:
        response = await client.get("/api/spend")

    assert response.status_code == 503
    said = f"There is no ledger at {installation.engine.database.label}"
    assert said in response.json()["error"]["message"]


async def test_budgets_show_what_is_spent_and_those_nobody_drew_on(installation: Installation) -> None:
    installation.budgets = [MONTHLY, EACH_RUN]
    await write_books(installation.engine, [make_record("a"), make_record("b")], [MONTHLY, EACH_RUN])

    async with installation.client(key=ADMIN_SECRET) as client:
        response = await client.get("/api/budgets")

    drawn, unused = response.json()["budgets"]
    assert (drawn["budget"], drawn["spent_usd"], drawn["limit_usd"]) == (
        "search-month",
        "0.004000000",
        "10.000000000",
    )
    assert (unused["budget"], unused["spent_usd"], unused["scope"]) == ("agent-run", "0.000000000", "each run")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nothing",
        "/healthz/",
        "//healthz",
        "/dashboard/../healthz",
        "/dashboard/%2e%2e/healthz",
        "/dashboard/static/../login",
        "/api/records/a/b",
        "/api/records/",
    ],
)
async def test_a_path_that_is_not_there_gets_the_error_envelope(installation: Installation, path: str) -> None:
    status, body = await ask_as_it_stands(installation, path)

    assert status == 404
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


async def ask_as_it_stands(installation: Installation, path: str) -> tuple[int, bytes]:
    """GET of a path that no client library tidied up; the server has decoded its percent signs."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(dict(message))

    scope = {
        "type": "http",
        "method": "GET",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {ADMIN_SECRET}".encode())],
        "client": ("127.0.0.1", 50_000),
    }
    await admin_app(installation.view())(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


async def test_a_method_that_is_not_taken_gets_405(installation: Installation) -> None:
    async with installation.client() as client:
        response = await client.post("/healthz")

    assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")
