"""Records as rows."""

import pytest

from farthing.money import Nano
from farthing.record import Attempt, CacheOutcome, Outcome, Record
from farthing.tags import Tags
from farthing.usage import Usage, UsageSource
from ledger.rows import COLUMNS, draft_of, lost, record_of, row_of
from ledger.testing import example_record

FULL = Record(
    id="r-1",
    tags=Tags(tenant="t", key_id="k", feature="f", task="a", run="r", environment="e", team="m"),
    endpoint="responses",
    stream=True,
    received_ns=1,
    outcome=Outcome.ABORTED,
    status=200,
    model_requested="auto",
    model_served="gpt",
    provider="p",
    deployment="p/gpt",
    tier="small",
    reference_tier="large",
    policy="cheapest_passing",
    route_reason="passed",
    task_source="header",
    cache=CacheOutcome.MISS,
    usage=Usage(
        input_uncached=1,
        cache_read=2,
        cache_write_5m=3,
        cache_write_1h=4,
        output=5,
        reasoning=6,
        input_audio=7,
        output_audio=8,
        input_image=9,
        source=UsageSource.ESTIMATED,
    ),
    cost=Nano(10),
    avoided_cache=Nano(11),
    avoided_routing=Nano(12),
    rates='{"output":1}',
    price_version="v",
    seconds=1.5,
    first_byte_seconds=0.25,
    error_code="code",
    finish_reason="stop",
    attempts=(
        Attempt(deployment="p/a", status=503, error="overloaded", seconds=0.5),
        Attempt(deployment="p/gpt", status=200, error="", seconds=1.0, cost=Nano(10)),
    ),
)


@pytest.mark.parametrize("record", [FULL, example_record("plain")])
def test_a_record_survives_the_journey_through_its_row(record: Record) -> None:
    row = row_of(record)

    assert record_of(row) == record
    assert len(row) == len(COLUMNS)


def test_a_row_holds_only_exact_sqlite_types() -> None:
    # sqlite3 adapts subclasses (StrEnum, bool) several times slower than it binds exact types.
    assert {type(value) for value in row_of(FULL)} <= {str, int, float, type(None)}


def test_a_lost_call_keeps_its_draft_and_is_charged_the_hold() -> None:
    record = lost(draft_of(FULL), Nano(700))

    assert (record.outcome, record.cost, record.usage.source) == (Outcome.LOST, 700, UsageSource.ESTIMATED)
    assert (record.id, record.tags, record.attempts) == (FULL.id, FULL.tags, FULL.attempts)
