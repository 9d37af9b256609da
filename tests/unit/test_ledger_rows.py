"""Records as rows."""

import msgspec
import pytest

from farthing.money import Nano
from farthing.record import Attempt, CacheOutcome, Extra, Outcome, Record
from farthing.tags import Tags
from farthing.usage import Usage, UsageSource
from farthing.value import changed
from ledger.price import version_in_tier
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
    service_tier="flex",
    stated_cost=Nano(9),
    refused_by="monthly|feature=f",
    extras=(
        Extra(name="web_searches", quantity=3, rate=10**13),
        Extra(name="output", quantity=9, rate=-5, model="other", part=1),
    ),
    inputs=100,
    inputs_sent=3,
)
AT_FIRST = COLUMNS.index("service_tier")
"""Columns of a row before there were more."""


@pytest.mark.parametrize("record", [FULL, example_record("plain")])
def test_a_record_survives_the_journey_through_its_row(record: Record) -> None:
    row = row_of(record)

    assert record_of(row) == record
    assert len(row) == len(COLUMNS)


def test_a_row_holds_only_exact_sqlite_types() -> None:
    # sqlite3 adapts subclasses (StrEnum, bool) several times slower than it binds exact types.
    assert {type(value) for value in row_of(FULL)} <= {str, int, float, type(None)}


@pytest.mark.parametrize("kept", range(AT_FIRST, len(COLUMNS)))
def test_a_row_with_fewer_columns_reads_as_one_without_the_later_facts(kept: int) -> None:
    later = {"service_tier": "", "stated_cost": None, "refused_by": "", "extras": (), "inputs": 0, "inputs_sent": 0}
    missing = {name: later[name] for name in COLUMNS[kept:]}

    assert record_of(row_of(FULL)[:kept]) == changed(FULL, **missing)


def test_extras_are_kept_in_few_words() -> None:
    assert row_of(FULL)[COLUMNS.index("extras")] == (
        '[{"name":"web_searches","quantity":3,"rate":10000000000000},'
        '{"name":"output","quantity":9,"rate":-5,"model":"other","part":1}]'
    )
    assert row_of(example_record("plain"))[COLUMNS.index("extras")] == "[]"


def test_an_old_row_has_its_service_tier_in_the_version_of_its_price() -> None:
    old = row_of(changed(FULL, service_tier="", price_version=version_in_tier("book 7", "flex")))

    assert record_of(old).service_tier == "flex"
    assert record_of(old[:AT_FIRST]).service_tier == "flex"


def test_the_draft_of_an_older_version_can_still_be_charged() -> None:
    draft = msgspec.json.encode(row_of(FULL)[:AT_FIRST]).decode()

    record = lost(draft, Nano(700))

    assert (record.outcome, record.cost, record.tags) == (Outcome.LOST, 700, FULL.tags)
    assert (record.service_tier, record.stated_cost, record.refused_by, record.extras) == ("", None, "", ())


def test_a_lost_call_keeps_its_draft_and_is_charged_the_hold() -> None:
    record = lost(draft_of(FULL), Nano(700))

    assert (record.outcome, record.cost, record.usage.source) == (Outcome.LOST, 700, UsageSource.ESTIMATED)
    assert (record.id, record.tags, record.attempts) == (FULL.id, FULL.tags, FULL.attempts)
