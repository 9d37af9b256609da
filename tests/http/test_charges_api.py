"""POST /api/charges: what tools outside of the gateway spent, on the same books."""

import asyncio
import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from farthing.money import Rates, nano_from_usd
from farthing.usage import Usage, UsageSource
from gateway.commands.pricing import Prices
from gateway.usageevents import BATCH, MOST_EVENTS, SINGLE
from ledger import reports, runs
from ledger.adjustments import Repricing, reprice
from ledger.check import check
from ledger.prices import Price
from tests.gateway import ADMIN_KEY, KEY, RunningGateway, running_gateway
from tests.ledgers import Engine

USAGE = {"input_uncached": 1000, "output": 500}
DATA: dict[str, Any] = {"feature": "plain", "provider": "mock", "model": "small-model", "usage": USAGE}
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/batch/nightly",
    "type": "dev.farthing.usage.v1",
    "time": "2026-11-02T10:00:00Z",
    "data": DATA,
}
COST = "0.002000000"
"""1,000 tokens at 1 USD and 500 at 2 USD a million."""


@pytest.fixture
async def gateway(tmp_path: Path, engine: Engine) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, engine=engine) as running:
        yield running


@pytest.fixture
async def on_file(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path) as running:
        yield running


def event(id_: str = "e-1", *, at: str = "2026-11-02T10:00:00Z", **data: Any) -> dict[str, Any]:
    return {**EVENT, "id": id_, "time": at, "data": {**DATA, **data}}


def without(member: str, name: str) -> dict[str, Any]:
    changed = {**EVENT, "data": dict(DATA)}
    del (changed["data"] if member == "data" else changed)[name]
    return changed


async def post(gateway: RunningGateway, body: Any, *, kind: str = SINGLE, key: str = ADMIN_KEY) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}", "content-type": kind}
    return await gateway.client.post(
        "/api/charges", headers=headers, **({"content": body} if isinstance(body, bytes) else {"json": body})
    )


async def test_an_event_becomes_a_record_priced_by_the_price_book(gateway: RunningGateway) -> None:
    answer = await post(gateway, event(run="r-1", task="triage", environment="prod", team="data"))

    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["cost_usd"], told["duplicate"]) == (COST, False)
    (record,) = gateway.records()
    assert record.id == told["record_id"]
    assert (record.endpoint, record.provider, record.model_served) == ("external", "mock", "small-model")
    assert record.usage == Usage(input_uncached=1000, output=500, source=UsageSource.PROVIDER)
    assert record.rates != "{}"
    tags = record.tags
    assert (tags.tenant, tags.key_id, tags.feature, tags.task) == ("acme", "boss", "plain", "triage")
    assert (tags.run, tags.environment, tags.team) == ("r-1", "prod", "data")


async def test_a_second_delivery_gets_the_first_ones_result_and_books_nothing(gateway: RunningGateway) -> None:
    first = (await post(gateway, event())).json()

    second = await post(gateway, event(usage={"output": 9}, feature="no-longer-registered"))

    assert second.status_code == 200
    assert second.json() == {**first, "duplicate": True}
    assert len(gateway.records()) == 1


async def test_many_deliveries_at_once_book_once(gateway: RunningGateway) -> None:
    answers = await asyncio.gather(*(post(gateway, event()) for _ in range(20)))

    assert sorted(answer.json()["duplicate"] for answer in answers) == [False] + [True] * 19
    assert len(gateway.records()) == 1


async def test_the_same_id_from_another_source_is_another_event(gateway: RunningGateway) -> None:
    await post(gateway, event())

    other = await post(gateway, {**event(), "source": "/batch/hourly"})

    assert other.json()["duplicate"] is False
    assert len(gateway.records()) == 2


@pytest.mark.parametrize(("kind", "form"), [(BATCH, "batch"), ("application/json", "plain")])
async def test_a_batch_is_booked_in_order_and_its_repetitions_once(
    gateway: RunningGateway, kind: str, form: str
) -> None:
    answer = await post(gateway, [event(f"{form}-1"), event(f"{form}-2"), event(f"{form}-1")], kind=kind)

    assert answer.status_code == 200
    assert [(told["id"], told["duplicate"]) for told in answer.json()["charges"]] == [
        (f"{form}-1", False),
        (f"{form}-2", False),
        (f"{form}-1", True),
    ]


async def test_one_bad_event_refuses_the_batch(gateway: RunningGateway) -> None:
    answer = await post(gateway, [event("a"), event("b", feature="nobody")], kind=BATCH)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "[1].data.feature"
    assert gateway.records() == []


async def test_a_stated_cost_is_booked_as_stated(gateway: RunningGateway) -> None:
    answer = await post(gateway, event(cost_usd="0.123456789", provider="vectors", model="pod-x1"))

    assert answer.json()["cost_usd"] == "0.123456789"
    (record,) = gateway.records()
    assert (record.cost, record.rates, record.price_version) == (123_456_789, "{}", "")
    assert record.usage.source is UsageSource.PROVIDER


async def test_a_batch_job_is_priced_in_its_service_tier_and_stays_there_when_priced_anew(
    gateway: RunningGateway,
) -> None:
    """gpt-5 as a batch: 0.625 USD a million tokens of input, half of the standard price."""
    sent = event(provider="openai", model="gpt-5", usage={"input_uncached": 1_000_000}, service_tier="batch", at=now())

    answer = await post(gateway, sent)

    told = answer.json()
    assert told["cost_usd"] == "0.625000000", told
    assert gateway.records()[0].service_tier == "batch"
    prices = Prices(gateway.application.house.runtime.generation.pricing.book)
    assert reprice(gateway.database, Repricing(since_ns=0, until_ns=2**62, now_ns=1), prices.of_record).delta == 0


async def test_a_cost_written_as_a_number_is_taken_by_its_decimals(gateway: RunningGateway) -> None:
    answer = await post(gateway, event(cost_usd=0.1))

    assert answer.json()["cost_usd"] == "0.100000000"


async def test_a_charge_counts_against_the_budget_even_past_its_cap(gateway: RunningGateway) -> None:
    spent = await post(gateway, event(feature="capped", cost_usd="5", at=now()))

    refused = await gateway.chat(headers={"x-farthing-feature": "capped"}, max_tokens=1)

    assert spent.status_code == 200
    assert refused.status_code == 402
    (state,) = reports.budget_states(
        gateway.database, now_ns=gateway.application.house.clock.wall_ns(), budget="capped-day"
    )
    assert (state.spent, state.held) == (nano_from_usd(5), 0)


async def test_a_charge_counts_in_the_window_of_its_own_time(gateway: RunningGateway) -> None:
    await post(gateway, event(feature="capped", cost_usd="5"))

    served = await gateway.chat(headers={"x-farthing-feature": "capped"}, max_tokens=1)

    assert served.status_code == 200


async def test_a_charge_counts_on_an_opened_run_also_when_it_is_closed(gateway: RunningGateway) -> None:
    await gateway.client.post("/api/runs", json={"run": "job-7", "cap_usd": "0.0004"})
    await post(gateway, event("a", run="job-7", cost_usd="0.0001"))
    await gateway.client.post("/api/runs/job-7/close")

    late = await post(gateway, event("b", run="job-7", cost_usd="0.01"))

    run = (await gateway.client.get("/api/runs/job-7")).json()
    assert late.status_code == 200
    assert (run["state"], run["spent_usd"]) == ("closed", "0.010100000")


async def test_a_charge_counts_on_a_run_that_another_worker_has_opened(gateway: RunningGateway) -> None:
    await asyncio.to_thread(
        functools.partial(
            runs.open_,
            gateway.database,
            tenant="acme",
            name="job-8",
            cap=nano_from_usd("1"),
            feature="",
            author="key",
            until_ns=None,
            now_ns=1,
        )
    )

    await post(gateway, event("a", run="job-8", cost_usd="0.0003"))

    (state,) = reports.budget_states(gateway.database, now_ns=0, budget="opened run")
    assert state.spent == nano_from_usd("0.0003")


async def test_after_charges_and_corrections_the_ledger_checks_out(gateway: RunningGateway) -> None:
    await post(gateway, [event("a"), event("b", feature="capped", at=now()), event("c", run="r")], kind=BATCH)
    asked = Repricing(since_ns=0, until_ns=2**62, now_ns=1)

    done = reprice(gateway.database, asked, lambda *_: Price("dearer", ((-1, Rates(output=10**10)),)))

    assert done.delta == 3 * (5_000_000 - 2_000_000)
    assert check(gateway.database).differences == ()
    spent = reports.totals(gateway.database, since_ns=0, until_ns=2**62)
    assert (spent.requests, spent.cost) == (3, 3 * 5_000_000)


async def test_ledger_metrics_and_reports_agree_over_calls_and_charges(gateway: RunningGateway) -> None:
    call = await gateway.chat(headers={"x-farthing-feature": "plain"})
    await post(gateway, event("a"))
    await post(gateway, event("a"))
    await post(gateway, event("b", cost_usd="0.5", provider="vectors", model="pod"))

    cost = gateway.record_of(call).cost + nano_from_usd("0.502")
    spend = await gateway.client.get("/api/spend?since=2026-01-01", headers={"authorization": f"Bearer {ADMIN_KEY}"})
    assert sum(record.cost for record in gateway.records()) == cost
    assert [nano_from_usd(row["cost_usd"]) for row in spend.json()["rows"]] == [cost]
    assert round(await gateway.metric("farthing_cost_usd_total") * 10**9) == cost
    assert await gateway.metric("farthing_request_duration_seconds_count", endpoint="external") == 2


@pytest.mark.parametrize(
    ("sent", "param", "code"),
    [
        (without("", "specversion"), "specversion", "invalid_parameter"),
        ({**EVENT, "specversion": "0.3"}, "specversion", "invalid_parameter"),
        ({**EVENT, "type": "com.example.other"}, "type", "invalid_parameter"),
        (without("", "id"), "id", "invalid_parameter"),
        ({**EVENT, "id": ""}, "id", "invalid_parameter"),
        ({**EVENT, "source": 7}, "source", "invalid_parameter"),
        ({**EVENT, "source": "a\nb"}, "source", "invalid_parameter"),
        (without("", "time"), "time", "invalid_parameter"),
        ({**EVENT, "time": "2026-11-02T10:00:00"}, "time", "invalid_parameter"),
        ({**EVENT, "time": "1999-11-02T10:00:00Z"}, "time", "invalid_parameter"),
        ({**EVENT, "time": "9999-12-31T23:59:59Z"}, "time", "invalid_parameter"),
        (without("", "data"), "data", "invalid_parameter"),
        ({**EVENT, "data_base64": "e30="}, "data_base64", "invalid_parameter"),
        (without("data", "feature"), "data.feature", "invalid_parameter"),
        (event(feature="nobody"), "data.feature", "unregistered_feature"),
        (event(feature="bad tag"), "data.feature", "invalid_tag"),
        (event(run="a b"), "data.run", "invalid_tag"),
        (event(task="undeclared"), "data.task", "invalid_tag"),
        (event(model="never-heard-of"), "data.model", "unpriced_model"),
        (event(provider="nobody"), "data.model", "unpriced_model"),
        (event(service_tier="batch"), "data.service_tier", "unpriced_model"),
        (event(service_tier=""), "data.service_tier", "invalid_parameter"),
        (without("data", "model"), "data.model", "invalid_parameter"),
        (without("data", "provider"), "data.provider", "invalid_parameter"),
        (without("data", "usage"), "data", "invalid_parameter"),
        (event(usage=[]), "data.usage", "invalid_parameter"),
        (event(usage={"inputs": 1}), "data.usage.inputs", "invalid_parameter"),
        (event(usage={"output": -1}), "data.usage.output", "invalid_parameter"),
        (event(usage={"output": 1.5}), "data.usage.output", "invalid_parameter"),
        (event(usage={"output": True}), "data.usage.output", "invalid_parameter"),
        (event(usage={"output": 10**18}), "data.usage.output", "invalid_parameter"),
        (event(seconds=-1), "data.seconds", "invalid_parameter"),
        (event(currency="EUR"), "data.currency", "invalid_parameter"),
        (event(cost_usd="-0.01"), "data.cost_usd", "invalid_parameter"),
        (event(cost_usd="NaN"), "data.cost_usd", "invalid_parameter"),
        (event(cost_usd="sNaN"), "data.cost_usd", "invalid_parameter"),
        (event(cost_usd=True), "data.cost_usd", "invalid_parameter"),
        (event(cost_usd=10**7), "data.cost_usd", "invalid_parameter"),
        (event(feture="plain"), "data.feture", "invalid_parameter"),
    ],
)
async def test_what_cannot_be_booked_is_told_by_its_field(
    on_file: RunningGateway, sent: Any, param: str, code: str
) -> None:
    answer = await post(on_file, sent)

    assert (answer.status_code, answer.json()["error"]["param"], answer.json()["error"]["code"]) == (400, param, code)
    assert on_file.records() == []


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", SINGLE, 400),
        (b"[]", SINGLE, 400),
        (b"{}", BATCH, 400),
        (b'[1], "more": [2]', BATCH, 400),
        (b"[1]", BATCH, 400),
        (b"{}", "text/csv", 400),
        (b"[" + b",".join([b"{}"] * (MOST_EVENTS + 1)) + b"]", BATCH, 400),
        (b" " * 100_001, SINGLE, 413),
    ],
)
async def test_what_is_no_event_is_refused(on_file: RunningGateway, body: bytes, kind: str, status: int) -> None:
    answer = await post(on_file, body, kind=kind)

    assert answer.status_code == status
    assert on_file.records() == []


async def test_only_admins_book_charges(on_file: RunningGateway) -> None:
    assert (await post(on_file, event(), key=KEY)).status_code == 403
    assert (await post(on_file, event(), key="fk-nobody")).status_code == 401
    assert on_file.records() == []


async def test_a_compressed_body_is_refused(on_file: RunningGateway) -> None:
    headers = {"authorization": f"Bearer {ADMIN_KEY}", "content-encoding": "gzip"}

    answer = await on_file.client.post("/api/charges", content=b"x", headers=headers)

    assert answer.status_code == 415


async def test_other_methods_are_not_taken(on_file: RunningGateway) -> None:
    answer = await on_file.client.get("/api/charges", headers={"authorization": f"Bearer {ADMIN_KEY}"})

    assert answer.status_code == 405


async def test_an_empty_batch_books_nothing(on_file: RunningGateway) -> None:
    answer = await post(on_file, [], kind=BATCH)

    assert (answer.status_code, answer.json()) == (200, {"charges": []})


def now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat()
