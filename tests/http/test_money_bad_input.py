"""Bad input about money, from callers, providers and the platform team: a clear answer, and books that still add up."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from farthing.money import Nano
from farthing.record import Outcome
from farthing.usage import UsageSource
from gateway.settings import load
from ledger import reports
from ledger.sqlite_file import SQLiteFile
from tests.gateway import RunningGateway, running_gateway, write_tree
from tests.processes import edit, until
from tests.scripted_pipeline import Stair, completion, plain

CAPPED = {"x-farthing-feature": "capped"}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, chunks=10, duration_ms=300) as running:
        yield running


async def change(gateway: RunningGateway, *changes: tuple[str, str]) -> None:
    edit(gateway.config, *changes)
    for _ in range(3):
        await gateway.application.house.tick()


def assert_the_books_add_up(gateway: RunningGateway, budget: str = "capped-day") -> None:
    states = reports.budget_states(SQLiteFile(gateway.application.house.files.ledger), now_ns=0, budget=budget)
    spent = sum(record.cost for record in gateway.records() if record.tags.feature == "capped")
    assert (sum(state.spent for state in states), sum(state.held for state in states)) == (spent, 0)


BAD: dict[str, dict[str, Any]] = {
    "negative max_tokens": {"max_tokens": -5},
    "a fraction of a token": {"max_tokens": 1.5},
    "max_tokens as a string": {"max_tokens": "50"},
    "max_tokens as a truth": {"max_tokens": True},
    "n as a string": {"n": "2"},
    "no choice at all": {"n": 0},
    "a negative choice": {"n": -1},
    "two and a half choices": {"n": 2.5},
    "choices as a list": {"n": [1]},
}


@pytest.mark.parametrize("members", BAD.values(), ids=BAD.keys())
async def test_figures_that_cannot_be_are_answered_with_their_field_and_cost_nothing(
    gateway: RunningGateway, members: dict[str, Any]
) -> None:
    good = await gateway.chat("good", headers=CAPPED, model="plain-model", max_tokens=20)

    bad = await gateway.chat("bad", headers=CAPPED, model="plain-model", **members)

    error = bad.json()["error"]
    assert (good.status_code, bad.status_code) == (200, 400)
    assert error["param"] == next(iter(members))
    assert (gateway.record_of(bad).outcome, gateway.record_of(bad).cost) == (Outcome.REJECTED, 0)
    assert len(gateway.mock.requests) == 1
    assert_the_books_add_up(gateway)


@pytest.mark.parametrize("members", [{"max_tokens": 2**52}, {"max_tokens": 2**80}, {"n": 10**6, "max_tokens": 10}])
async def test_huge_figures_are_refused_by_budget_or_by_bound_and_overflow_nothing(
    gateway: RunningGateway, members: dict[str, Any]
) -> None:
    refused = await gateway.chat("x", headers=CAPPED, model="plain-model", **members)
    small = await gateway.chat("x", headers=CAPPED, model="plain-model", max_tokens=20)

    assert refused.status_code in (400, 402)
    assert small.status_code == 200
    assert len(gateway.mock.requests) == 1
    assert_the_books_add_up(gateway)


async def test_no_max_tokens_at_all_is_held_at_the_features_own_cap(gateway: RunningGateway) -> None:
    await change(gateway, ("capped: {team: web,", "capped: {team: web, max_output_tokens: 30,"))

    answer = await gateway.chat("x", headers=CAPPED, model="plain-model")

    assert answer.status_code == 200
    assert gateway.mock.requests[0].json["max_tokens"] == 30
    assert_the_books_add_up(gateway)


ABSURD: dict[str, Any] = {
    "negative": {"prompt_tokens": -10, "completion_tokens": 5},
    "not numbers": {"prompt_tokens": "many", "completion_tokens": None},
    "as large as 64 bits allow": {"prompt_tokens": 2**63, "completion_tokens": 5},
    "fractions": {"prompt_tokens": 10.5, "completion_tokens": 5.25},
    "more cached than sent": {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 11},
    },
    "no object": [10, 5],
    "zeros": {"prompt_tokens": 0, "completion_tokens": 0},
}


@pytest.mark.parametrize("usage", ABSURD.values(), ids=ABSURD.keys())
async def test_an_absurd_usage_of_the_provider_is_replaced_by_an_estimate_within_the_hold(usage: Any) -> None:
    stair = Stair().open()
    stair.upstream.add(plain(completion("four words of text", usage=usage)))

    answer, _ = await stair.ask(max_tokens=50)

    record = stair.record
    assert answer.status == 200
    assert record.usage.source is UsageSource.ESTIMATED
    assert record.cost > 0
    assert sum(stair.ledger.spent.values()) == record.cost
    assert stair.ledger.overages == 0


# --- the platform team ---------------------------------------------------------------------------


async def test_a_cap_of_zero_stops_all_spending_and_says_so(gateway: RunningGateway) -> None:
    await change(gateway, ('limit_usd: "0.001"', 'limit_usd: "0"'))

    refused = await gateway.chat("x", headers=CAPPED, model="plain-model", max_tokens=1)

    budget = refused.json()["error"]["budget"]
    assert (refused.status_code, budget["limit_usd"]) == (402, "0.000000000")
    assert gateway.mock.requests == []
    assert_the_books_add_up(gateway)


async def test_overlapping_budgets_each_count_the_whole_call_and_the_tightest_refuses(gateway: RunningGateway) -> None:
    others = (
        '  - {id: wider, limit_usd: "0.001", window: week, where: {team: web}}\n'
        '  - {id: tighter, limit_usd: "0.0003", window: hour, where: {feature: capped}, per: [key]}\n'
    )
    await change(gateway, ("budgets:\n", "budgets:\n" + others))

    answers = [
        await gateway.chat(f"{number}", headers=CAPPED, model="plain-model", max_tokens=60) for number in range(90)
    ]

    refused = answers[-1]
    assert refused.status_code == 402
    assert refused.json()["error"]["budget"]["id"] == "tighter"
    for budget in ("capped-day", "wider", "tighter"):
        assert_the_books_add_up(gateway, budget)


async def test_a_feature_deleted_while_it_spends_is_charged_to_the_end_and_refused_from_then_on(
    gateway: RunningGateway,
) -> None:
    calling = asyncio.ensure_future(
        gateway.chat("under way", headers=CAPPED, model="plain-model", max_tokens=50, stream=True)
    )
    await until(lambda: len(gateway.mock.requests) == 1)

    await change(
        gateway,
        ("  capped: {team: web, cache: {exact: false}}\n", ""),
        ('  - {id: capped-day, limit_usd: "0.001", window: day, where: {feature: capped}}\n', ""),
    )
    later = await gateway.chat("later", headers=CAPPED, model="plain-model", max_tokens=50)
    answer = await calling

    assert (answer.status_code, later.status_code) == (200, 400)
    assert later.json()["error"]["code"] == "unregistered_feature"
    record = gateway.record_of(answer)
    assert (record.tags.feature, record.outcome) == ("capped", Outcome.SUCCESS)
    assert record.cost > Nano(0)
    assert len(gateway.mock.requests) == 1
    assert_the_books_add_up(gateway)


@pytest.mark.parametrize("member", ["limit_eur: 5", "limit_usd: 5, currency: EUR", "limit_usd: 5 EUR"])
def test_another_currency_than_usd_is_a_finding_with_its_place(tmp_path: Path, member: str) -> None:
    config = write_tree(tmp_path, "http://127.0.0.1:1/v1")
    edit(config, ("budgets:\n", f"budgets:\n  - {{id: euro, window: day, {member}}}\n"))

    with pytest.raises(Exception, match=r"farthing\.yaml:\d+:\d+: budgets\[0\]"):
        load(config, {})
