"""Service tiers: held at the dearest that may come, charged in the one that the answer names."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from farthing.call import Endpoint
from farthing.catalog import Deployment
from farthing.record import Outcome
from farthing.usage import UsageSource
from gateway.pipeline import serve
from ledger.adjustments import Repricing, reprice
from ledger.price import tier_in, version_in_tier
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import SQLiteFile
from ledger.testing import ManualClock, example_record
from tests.scripted_pipeline import (
    Stair,
    chunk,
    completion,
    dollars,
    frames,
    plain,
    provider,
    stream,
    usage,
    usage_chunk,
)

PLACE = Deployment(name="m", provider=provider("one"), model="m")
PRICES = (
    dollars("one", "m", "1", "2"),
    dollars("one", "m", "2", "4", service_tier="priority"),
    dollars("one", "m", "0.5", "1", service_tier="flex"),
)
STANDARD = 10 * 1000 + 5 * 2000


def stair(**changes: Any) -> Stair:
    return Stair(small=(PLACE,), prices=changes.get("prices", PRICES)).open()


def answer(**more: Any) -> dict[str, Any]:
    return completion(usage=usage(10, 5), **more)


@pytest.mark.parametrize(
    ("asked", "answered", "cost"),
    [
        ({}, {}, STANDARD),
        ({}, {"service_tier": "default"}, STANDARD),
        ({"service_tier": "auto"}, {"service_tier": "auto"}, STANDARD),
        ({"service_tier": "auto"}, {"service_tier": "priority"}, STANDARD * 2),
        ({"service_tier": "priority"}, {"service_tier": "priority"}, STANDARD * 2),
        ({"service_tier": "priority"}, {"service_tier": "default"}, STANDARD),  # downgraded, and billed so
        ({"service_tier": "priority"}, {}, STANDARD * 2),
        ({"service_tier": "flex"}, {"service_tier": "flex"}, STANDARD // 2),
        ({"service_tier": "flex"}, {}, STANDARD),
        ({"service_tier": None}, {}, STANDARD),
    ],
)
async def test_an_answer_is_charged_in_the_tier_that_it_names(
    asked: dict[str, Any], answered: dict[str, Any], cost: int
) -> None:
    built = stair()
    built.upstream.add(plain(answer(**answered)))

    await built.ask(**asked)

    assert (built.record.cost, built.record.usage.source) == (cost, UsageSource.PROVIDER)
    assert built.record.service_tier == tier_in(built.record.price_version)
    assert built.ledger.overages == 0


async def test_a_stream_is_charged_in_the_tier_that_its_usage_names() -> None:
    built = stair()
    built.upstream.add(stream(*frames(chunk("a", "stop"), {**usage_chunk(10, 5), "service_tier": "flex"})))

    await built.ask(stream=True, service_tier="flex")

    assert built.record.cost == STANDARD // 2
    assert (built.record.service_tier, tier_in(built.record.price_version)) == ("flex", "flex")


async def test_a_response_names_its_tier_inside() -> None:
    built = stair()
    figures = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    done = {"id": "r", "service_tier": "priority", "usage": figures}
    built.upstream.add(stream(*frames({"type": "response.completed", "response": done}, done=False)))

    await built.ask(Endpoint.RESPONSES, stream=True, input="hello", service_tier="auto")

    assert built.record.cost == STANDARD * 2


async def test_what_broke_off_is_estimated_in_the_dearer_tier_that_was_asked_for() -> None:
    standard, dearer = stair(), stair()
    for built, tier in ((standard, "default"), (dearer, "priority")):
        built.upstream.add(stream(*frames(chunk("abcd"), done=False)))
        await built.ask(stream=True, service_tier=tier)

    assert dearer.record.usage.source is UsageSource.ESTIMATED
    # The body that names the longer tier is longer by a byte, which is no token more here.
    assert dearer.record.cost == 2 * standard.record.cost


@pytest.mark.parametrize(("tier", "factor"), [("", 1), ("flex", 1), ("priority", 2), ("auto", 2)])
async def test_a_call_holds_the_dearest_tier_that_it_may_be_served_in(tier: str, factor: int) -> None:
    usual, asked = stair(), stair()
    amounts = []
    for built, named in ((usual, ""), (asked, tier)):
        built.upstream.add(stream(*frames(chunk("a", "stop"), usage_chunk(1, 1))))
        async with await serve(built.request(stream=True, service_tier=named), built.runtime) as answering:
            (hold,) = built.ledger.holds.values()
            amounts.append(hold.amount - len(tier) * 1000 * factor if named else hold.amount)
            async for _ in answering.chunks():
                pass

    assert amounts[1] == amounts[0] * factor


@pytest.mark.parametrize("tier", ["priority", "scale", "flexx"])
async def test_a_tier_without_a_price_is_refused_before_anything_is_sent(tier: str) -> None:
    built = stair(prices=PRICES[:1])

    refused, body = await built.ask(service_tier=tier)

    error = orjson.loads(body)["error"]
    assert (refused.status, error["code"], error["param"]) == (400, "unpriced_model", "service_tier")
    assert built.record.outcome is Outcome.REFUSED
    assert not built.upstream.sent


async def test_a_cheaper_tier_without_a_price_costs_the_standard_one_and_is_an_estimate() -> None:
    built = stair(prices=PRICES[:1])
    built.upstream.add(plain(answer(service_tier="flex")))

    await built.ask(service_tier="flex")

    assert (built.record.cost, built.record.usage.source) == (STANDARD, UsageSource.ESTIMATED)


@pytest.mark.parametrize("named", [7, None, {"a": 1}, "", "x" * 500, "line\nbreak"])
async def test_a_tier_that_is_no_word_is_as_good_as_none(named: object) -> None:
    built = stair()
    built.upstream.add(plain(answer(service_tier=named)))

    await built.ask()

    assert built.record.cost == STANDARD
    assert tier_in(built.record.price_version) == ""


async def test_a_record_is_priced_again_in_its_own_tier(tmp_path: Path) -> None:
    book = stair().runtime.generation.pricing.book
    price = book.price("one", "m", 0, "flex")
    built = stair()
    built.upstream.add(plain(answer(service_tier="flex")))
    await built.ask(service_tier="flex")
    ledger = await SQLiteLedger.open(tmp_path / "ledger.db", ManualClock())
    await ledger.settle(None, built.record)
    await ledger.settle(None, example_record("none"))
    await ledger.close()

    done = reprice(
        SQLiteFile(tmp_path / "ledger.db"), Repricing(since_ns=0, until_ns=2**62, now_ns=0), book.answered_price
    )

    assert done.delta == 0
    assert version_in_tier(price.version, "flex") == built.record.price_version
