"""The ledger's records and adjustments together are what every report says, whatever was priced anew how often."""

import asyncio
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from farthing.money import Nano, Rates
from farthing.record import Record
from farthing.tags import Tags
from farthing.usage import Usage
from gateway.spendquery import read_query
from ledger import reports
from ledger.adjustments import Repricing, adjustments_of, reprice
from ledger.charges import Charge, EventKey
from ledger.prices import Price
from ledger.testing import ManualClock, example_record
from tests.ledgers import Engine

START_NS = 1_800_000_000 * 10**9
HOUR_NS = 3600 * 10**9
AT_ONE = Rates(input_uncached=10**9)

calls = st.tuples(st.integers(0, 100), st.integers(0, 80), st.sampled_from("abc"), st.sampled_from("xy"), st.booleans())
pricings = st.tuples(st.integers(0, 5), st.integers(0, 80), st.integers(0, 80), st.sampled_from(("", "x", "y")))


def record_of(number: int, call: tuple[int, int, str, str, bool]) -> Record:
    tokens, hour, feature, model, _ = call
    usage = Usage(input_uncached=tokens)
    return example_record(
        EventKey("acme", "s", str(number)).record_id,
        tags=Tags(tenant="acme", key_id="k", feature=feature),
        received_ns=START_NS + hour * HOUR_NS + number,
        usage=usage,
        cost=AT_ONE.cost(usage),
        model_served=model,
        provider="p",
        rates='{"input_uncached":1000000000}',
        price_version="v0",
    )


async def write(engine: Engine, made: list[tuple[int, int, str, str, bool]]) -> list[Record]:
    """Calls, and charges from outside where the last value says so."""
    ledger = await engine.open(ManualClock())
    records = [record_of(number, call) for number, call in enumerate(made)]
    for number, (record, call) in enumerate(zip(records, made, strict=True)):
        key = EventKey("acme", "s", str(number))
        charge = Charge(key=key, record=record, accounts=(), booked_ns=1, booked_by="k")
        await (ledger.book(charge) if call[4] else ledger.settle(None, record))
    await ledger.close()
    return records


def price_anew(engine: Engine, pricing: tuple[int, int, int, str]) -> int:
    rate, since, until, model = pricing
    price = Price(f"v{rate}", ((-1, Rates(input_uncached=rate * 10**9)),))
    asked = Repricing(
        since_ns=START_NS + since * HOUR_NS, until_ns=START_NS + until * HOUR_NS, model=model, now_ns=START_NS
    )
    told = reprice(engine.database, asked, lambda *_: price, dry_run=True).delta
    done = reprice(engine.database, asked, lambda *_: price).delta
    assert told == done
    assert reprice(engine.database, asked, lambda *_: price).delta == 0
    return done


def test_records_and_adjustments_are_every_report(engine: Engine) -> None:
    @engine.tries(40, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(calls, max_size=12), st.lists(pricings, max_size=4), st.integers(0, 80))
    def law(made: list[Any], anew: list[Any], cut: int) -> None:
        engine.empty()
        records = asyncio.run(write(engine, made))

        deltas = sum(price_anew(engine, pricing) for pricing in anew)

        now = {
            record.id: Nano(record.cost + sum(one.delta for one in adjustments_of(engine.database, record.id)))
            for record in records
        }
        assert sum(now.values()) == sum(record.cost for record in records) + deltas
        split = START_NS + cut * HOUR_NS + 1800 * 10**9
        for by in ("feature", "model", "day", "endpoint", "run", "feature,day"):
            halves = [
                row
                for since, until in ((0, split), (split, 2**62))
                for row in reports.spend(engine.database, by=by.split(","), since_ns=since, until_ns=until)
            ]
            assert sum(row.cost for row in halves) == sum(now.values())
            assert sum(row.requests for row in halves) == len(records)
        for feature in "abc":
            query = read_query(
                by="model", since="2026-01-01", until="2028-01-01", where=[f"feature={feature}"], now_ns=START_NS
            )
            expected = sum(now[record.id] for record in records if record.tags.feature == feature)
            assert sum(row.cost for row in query.answer(engine.database)) == expected

    law()
