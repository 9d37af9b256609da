"""What is known to have gone wrong with money in other gateways, tried here; docs/money-failures.md lists all of it."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from farthing.catalog import Deployment
from farthing.money import Nano, nano_from_usd
from farthing.record import Outcome
from farthing.tags import Tags
from farthing.usage import UsageSource
from gateway.pipeline import serve
from ledger import reports
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import SQLiteFile
from ledger.testing import ManualClock, example_account, example_intent, example_record
from tests.gateway import RunningGateway, running_gateway
from tests.scripted_pipeline import (
    SMALL,
    Stair,
    chunk,
    completion,
    dollars,
    frames,
    plain,
    provider,
    stream,
    usage,
    with_window,
)

FOREVER_NS = 2**62


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path) as running:
        yield running


# --- budgets -------------------------------------------------------------------------------------


async def test_the_first_calls_of_a_scope_that_nobody_has_seen_share_its_cap(gateway: RunningGateway) -> None:
    run = {"x-farthing-run": "never-seen-before", "x-farthing-feature": "plain"}

    answers = await asyncio.gather(
        *(gateway.chat(f"first {number}", headers=run, model="plain-model", max_tokens=50) for number in range(30))
    )

    served = [answer for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} == {200, 402}
    assert len(served) == len(gateway.mock.requests)
    assert sum(record.cost for record in gateway.records()) <= 500_000  # each-run: 0.0005 USD


ENDPOINTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 600},
    "/v1/completions": {"prompt": "x", "max_tokens": 600},
    "/v1/responses": {"input": "x", "max_output_tokens": 600},
    "/v1/embeddings": {"input": ["x" * 100] * 20},
}


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_no_route_to_a_provider_passes_by_the_budget(gateway: RunningGateway, path: str) -> None:
    asked = {"model": "plain-model", **ENDPOINTS[path]}

    refused = await gateway.client.post(path, json=asked, headers={"x-farthing-feature": "capped"})
    served = await gateway.client.post(path, json=asked, headers={"x-farthing-feature": "plain"})

    assert (refused.status_code, served.status_code) == (402, 200)
    assert len(gateway.mock.requests) == 1


async def test_a_budget_serves_to_its_end_and_not_beyond(gateway: RunningGateway) -> None:
    for number in range(400):
        answer = await gateway.chat(
            f"{number}", headers={"x-farthing-feature": "capped"}, model="plain-model", max_tokens=50
        )
        if answer.status_code != 200:
            break

    budget = answer.json()["error"]["budget"]
    left = Decimal(budget["limit_usd"]) - Decimal(budget["spent_usd"]) - Decimal(budget["reserved_usd"])
    assert answer.status_code == 402
    assert 0 <= left < Decimal(budget["estimate_usd"])  # it was refused for what was missing, and for nothing else
    assert sum(record.cost for record in gateway.records()) <= 1_000_000


async def test_a_call_that_does_not_fit_is_refused_and_not_admitted_with_a_smaller_hold(tmp_path: Path) -> None:
    ledger = await SQLiteLedger.open(tmp_path / "ledger.db", ManualClock())
    account = example_account(limit=1_000)
    first = await ledger.reserve(example_intent("a", 990, account))

    outcomes = await asyncio.gather(
        *(ledger.reserve(example_intent(f"b{number}", 11, account)) for number in range(5)), return_exceptions=True
    )
    fits = await ledger.reserve(example_intent("c", 10, account))

    await ledger.close()
    assert first.remaining == 10
    assert {type(outcome).__name__ for outcome in outcomes} == {"BudgetExceeded"}
    assert fits.remaining == 0


async def test_a_refusal_names_the_figures_of_the_report(gateway: RunningGateway) -> None:
    headers = {"x-farthing-feature": "capped"}
    for number in range(3):
        await gateway.chat(f"spend {number}", headers=headers, model="plain-model", max_tokens=50)

    refused = await gateway.chat("too dear", headers=headers, model="plain-model", max_tokens=5000)

    said = refused.json()["error"]["budget"]
    (state,) = reports.budget_states(SQLiteFile(gateway.application.house.files.ledger), now_ns=0, budget="capped-day")
    whole = reports.totals(SQLiteFile(gateway.application.house.files.ledger), since_ns=0, until_ns=FOREVER_NS)
    assert nano_from_usd(said["spent_usd"]) == state.spent == whole.cost == sum(r.cost for r in gateway.records())
    assert nano_from_usd(said["reserved_usd"]) == state.held == 0


async def test_a_stream_is_held_before_its_first_byte_and_not_counted_at_its_end() -> None:
    stair = Stair(limit=Nano(350_000)).open()  # 100 tokens out at 2000, and some input: one such hold at a time
    stair.upstream.add(*(stream(*frames(chunk("x"), chunk(finish="stop"))) for _ in range(2)))

    async with await serve(stair.request(stream=True), stair.runtime) as first:
        held = sum(stair.ledger.held.values())
        async with await serve(stair.request(stream=True, temperature=0.5), stair.runtime) as second:
            told = second.status
        async for _ in first.chunks():
            pass

    assert held > 175_000
    assert (first.status, told) == (200, 402)
    assert len(stair.upstream.sent) == 1
    assert sum(stair.ledger.held.values()) == 0


# --- losing spend --------------------------------------------------------------------------------


async def test_a_flush_of_many_rows_keeps_every_one(tmp_path: Path) -> None:
    rows = 250
    ledger = await SQLiteLedger.open(tmp_path / "ledger.db", ManualClock())
    settled = [
        ledger.settle(
            None,
            example_record(
                f"r{number}", cost=Nano(number), tags=Tags(tenant="t", key_id=f"k{number}", feature=f"f{number}")
            ),
        )
        for number in range(rows)
    ]
    await asyncio.gather(*settled)
    await ledger.close()

    by_feature = reports.spend(
        SQLiteFile(tmp_path / "ledger.db"), by=["feature", "key"], since_ns=0, until_ns=FOREVER_NS
    )

    assert len(by_feature) == rows
    assert sum(row.cost for row in by_feature) == sum(range(rows))


async def test_a_cancelled_stream_is_charged_for_every_delta_that_was_delivered() -> None:
    stair = Stair().open()
    stair.upstream.add(stream(*frames(*(chunk("w ") for _ in range(900)), chunk(finish="length"))))
    deltas = 0

    async with await serve(stair.request(stream=True, max_tokens=1000), stair.runtime) as answer:
        async for part in answer.chunks():
            deltas += part.count(b'"content"')
            if deltas >= 806:
                break

    record = stair.record
    assert (record.outcome, record.usage.source) == (Outcome.ABORTED, UsageSource.ESTIMATED)
    assert record.usage.output_total >= 806


# --- wrong cost ----------------------------------------------------------------------------------


async def test_cached_tokens_are_counted_once_and_at_their_own_price() -> None:
    prices = (dollars("one", SMALL, "1", "2", cache_read_per_mtok=Decimal("0.1")),)
    stair = Stair(prices=(*prices, dollars("one", "large-model"))).open()
    figures = usage(1_000, 10) | {"prompt_tokens_details": {"cached_tokens": 900}}
    stair.upstream.add(plain(completion(usage=figures)))

    await stair.ask()

    record = stair.record
    assert (record.usage.input_uncached, record.usage.cache_read) == (100, 900)
    assert record.cost == 100 * 1_000 + 900 * 100 + 10 * 2_000


async def test_a_bill_beyond_what_the_model_can_read_is_not_believed() -> None:
    small = (with_window(Deployment(name=SMALL, provider=provider("one"), model=SMALL), 128_000),)
    stair = Stair(small=small).open()
    stair.upstream.add(plain(completion("short", usage=usage(1_170_000, 5))))

    await stair.ask()

    record = stair.record
    assert record.usage.source is UsageSource.ESTIMATED
    assert record.usage.input_total < 1_000
