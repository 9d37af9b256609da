"""Roll-ups say what the records say, for any period and any grouping; buckets of costs keep their promise."""

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from farthing.money import Nano
from farthing.record import CacheOutcome, Outcome, Record
from farthing.tags import Tags
from farthing.usage import Usage
from ledger import reports
from ledger.rollups import bucket_of, cost_of
from ledger.spans import spans
from ledger.testing import ManualClock, example_record
from tests.ledgers import Engine

HOUR_NS = 3_600 * 10**9
START_NS = 20_000 * 24 * HOUR_NS
moments = st.one_of(
    st.integers(0, 72 * HOUR_NS),
    st.integers(0, 72).map(lambda hour: hour * HOUR_NS),
    st.sampled_from((24, 48)).map(lambda hour: hour * HOUR_NS - 1),
).map(lambda ns: START_NS + ns)
facts = st.tuples(
    moments,
    st.sampled_from(("search", "chat")),
    st.sampled_from(("small", "large", "")),
    st.sampled_from(CacheOutcome),
    st.sampled_from((Outcome.SUCCESS, Outcome.HIT, Outcome.REFUSED)),
    st.integers(0, 10**12),
)
DIMENSIONS = ("feature", "tier", "cache", "outcome", "day", "run")


def record_of(number: int, fact: tuple[int, str, str, CacheOutcome, Outcome, int]) -> Record:
    moment, feature, tier, cache, outcome, cost = fact
    return example_record(
        f"r{number}",
        received_ns=moment,
        tags=Tags(tenant="acme", key_id="key-1", feature=feature, run=tier),
        tier=tier,
        model_served=tier,
        cache=cache,
        outcome=outcome,
        cost=Nano(cost),
        avoided_cache=Nano(cost // 3),
        usage=Usage(input_uncached=cost % 7, reasoning=cost % 5),
    )


async def write(engine: Engine, records: list[Record], closed_days: int) -> None:
    """Half of them in one batch, the others one by one; before that some days are over already."""
    ledger = await engine.open(ManualClock(START_NS + closed_days * 24 * HOUR_NS))
    half = len(records) // 2
    await asyncio.gather(*(ledger.settle(None, record) for record in records[:half]))
    for record in records[half:]:
        await ledger.settle(None, record)
    await ledger.close()


def key_of(record: Record, by: list[str]) -> tuple[str, ...]:
    day = f"2024-10-{4 + (record.received_ns - START_NS) // (24 * HOUR_NS):02}"
    values = {
        "feature": record.tags.feature,
        "tier": record.tier,
        "cache": record.cache.value,
        "outcome": record.outcome.value,
        "run": record.tags.run,
        "day": day,
    }
    return tuple(values[name] for name in by)


def test_a_report_from_roll_ups_is_the_sum_of_the_records(engine: Engine) -> None:
    @engine.tries(60)
    @given(
        facts=st.lists(facts, max_size=20),
        by=st.lists(st.sampled_from(DIMENSIONS), unique=True, max_size=3),
        ends=st.tuples(moments, moments),
        feature=st.sampled_from(("", "search")),
        closed_days=st.integers(0, 4),
    )
    def law(
        facts: list[tuple[int, str, str, CacheOutcome, Outcome, int]],
        by: list[str],
        ends: tuple[int, int],
        feature: str,
        closed_days: int,
    ) -> None:
        records = [record_of(number, fact) for number, fact in enumerate(facts)]
        since, until = min(ends), max(ends)

        engine.empty()
        asyncio.run(write(engine, records, closed_days))
        rows = reports.spend(
            engine.database, by=by, since_ns=since, until_ns=until, where={"feature": feature} if feature else {}
        )

        picked = [
            record for record in records if since <= record.received_ns < until and feature in ("", record.tags.feature)
        ]
        expected: Counter[tuple[tuple[str, ...], str]] = Counter()
        for record in picked:
            key = key_of(record, by)
            expected[key, "requests"] += 1
            expected[key, "hits"] += record.cache.is_hit
            expected[key, "cost"] += record.cost
            expected[key, "avoided"] += record.avoided_cache
            expected[key, "input"] += record.usage.input_uncached
            expected[key, "reasoning"] += record.usage.reasoning
        told: Counter[tuple[tuple[str, ...], str]] = Counter()
        for row in rows:
            told[row.keys, "requests"] = row.requests
            told[row.keys, "hits"] = row.hits
            told[row.keys, "cost"] = row.cost
            told[row.keys, "avoided"] = row.avoided_cache
            told[row.keys, "input"] = row.usage.input_uncached
            told[row.keys, "reasoning"] = row.usage.reasoning
        assert told == expected

    law()


@given(st.integers(0, 10**15), st.integers(0, 10**15), st.integers(0, 15))
def test_spans_are_the_period_without_gap_or_overlap(one: int, other: int, days_until: int) -> None:
    since, until = min(one, other), max(one, other)
    cut = spans(since, until, days_until)

    ranges = sorted(
        [(first * 24 * HOUR_NS, last * 24 * HOUR_NS) for first, last in cut.days]
        + [(first * HOUR_NS, last * HOUR_NS) for first, last in cut.hours]
        + list(cut.rest)
    )

    assert [first for first, _ in ranges] == [since, *(last for _, last in ranges)][: len(ranges)]
    assert not ranges or ranges[-1][1] == until
    assert since == until or ranges
    assert all(last <= days_until for _, last in cut.days)
    assert all(last - first < HOUR_NS for first, last in cut.rest) or not (cut.days or cut.hours)


@given(st.integers(0, 2**63 - 1))
def test_the_middle_of_a_bucket_is_near_every_cost_in_it(cost: int) -> None:
    bucket = bucket_of(cost)

    assert abs(cost_of(bucket) - cost) * 32 <= cost
    assert bucket_of(cost_of(bucket)) == bucket
    assert bucket < 1024


@given(st.integers(0, 2**62), st.integers(0, 2**62))
def test_buckets_keep_the_order_of_costs(one: int, other: int) -> None:
    low, high = min(one, other), max(one, other)

    assert bucket_of(low) <= bucket_of(high)
