"""Every priced row explains its cost: its tokens at its rates, and its extras, are what it cost."""

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import usage_golden
from bench.usage_golden import RECORDINGS, events, manifest
from farthing.catalog import PriceOverride
from farthing.errors import UnpricedModel
from farthing.money import Nano, Rates
from farthing.record import Attempt, Record, extras_cost
from farthing.usage import TOKEN_CLASSES, Usage, UsageSource
from ledger.adjustments import priced_part
from ledger.bills import Bill, bill_for, portions_of
from ledger.prices import PriceBook
from ledger.rows import record_of, row_of
from ledger.statement import Portion, Statement
from ledger.testing import example_record
from ledger.usage import UsageReader
from tests.scripted_pipeline import SMALL, Stair, chunk, completion, dollars, frames, plain, stream, usage

OWN = PriceOverride(
    provider="own",
    model="m",
    input_per_mtok=Decimal("0.0375"),
    output_per_mtok=Decimal("1.25"),
    cached_audio_per_mtok=Decimal("0.333"),
    per_request=Decimal("0.001"),
    per_second=Decimal("0.0004"),
    per_web_search=Decimal("0.0101"),
)
BOOK = PriceBook([OWN, replace(OWN, above_input_tokens=1_000, input_per_mtok=Decimal("0.07"))])
AT_NS = 1_795_000_000 * 10**9
EXTRAS = (
    *("cached_audio", "cached_image", "input_video", "output_image", "output_video"),
    *("output_citation", "web_searches", "storage_searches"),
)

counts = st.integers(0, 3_000)
portions = st.builds(
    lambda tokens, model, extras: Portion(usage=Usage(**tokens), model=model, extras=tuple(extras.items())),
    st.fixed_dictionaries(dict.fromkeys(TOKEN_CLASSES, counts)),
    st.sampled_from(("", "", "m", "gpt-5", "imaginary")),
    st.dictionaries(st.sampled_from(EXTRAS), st.integers(1, 50)),
)
models = st.sampled_from(
    (("own", "m"), ("openai", "gpt-5"), ("google", "gemini-3-flash-preview"), ("anthropic", "claude-sonnet-4-6"))
)


def explained(record: Record) -> int:
    """What the row says that the attempt cost that answered, worked out from what the row holds."""
    seconds = record.attempts[-1].seconds if record.attempts else record.seconds
    rates: dict[str, Any] = json.loads(record.rates)
    return Rates(**rates).cost(record.usage, seconds) + extras_cost(record.extras)


def booked(bill: Bill, seconds: float) -> Record:
    """The record of a bill, after its journey through the ledger."""
    attempt = Attempt(deployment="d", status=200, error="", seconds=seconds, cost=bill.cost)
    rates = json.dumps(bill.rates.as_dict())
    record = example_record(
        "r", usage=bill.usage, cost=bill.cost, rates=rates, extras=bill.extras, attempts=(attempt,), seconds=99.0
    )
    return record_of(row_of(record))


@given(models, st.lists(portions, min_size=1, max_size=4), st.sampled_from(("", "flex", "scale")), st.floats(0, 600))
def test_any_bill_is_explained_by_its_row(
    model: tuple[str, str], parts: list[Portion], tier: str, seconds: float
) -> None:
    first, *others = parts
    statement = Statement(portions=(replace_model(first, ""), *others), service_tier=tier)
    bill = bill_for(BOOK, *model, statement, at_ns=AT_NS, seconds=seconds)

    record = booked(bill, seconds)

    assert explained(record) == record.cost == priced_part(record) == bill.cost
    assert bill.cost >= 0
    assert sum(portion.usage.input_total for portion in portions_of(record.usage, record.extras)) == (
        record.usage.input_total
    )


def replace_model(portion: Portion, model: str) -> Portion:
    return Portion(usage=portion.usage, model=model, extras=portion.extras)


@given(st.lists(portions, min_size=2, max_size=4))
def test_the_sum_of_a_bill_is_that_of_bills_of_its_parts(parts: list[Portion]) -> None:
    """Each part rounded by itself, so within a nano-dollar for each rounding."""
    first, *others = [replace_model(part, "") for part in parts]
    bill = bill_for(BOOK, "openai", "gpt-5", Statement(portions=(first, *others)), at_ns=AT_NS)

    alone = [bill_for(BOOK, "openai", "gpt-5", Statement(portions=(part,)), at_ns=AT_NS) for part in (first, *others)]

    assert abs(bill.cost - sum(one.cost for one in alone)) <= 1 + len(parts)


@pytest.mark.skipif(not manifest(), reason="the recorded streams are not beside this checkout")
def test_the_cost_of_every_recorded_stream_is_explained_by_its_row() -> None:
    seen, with_extras = 0, 0
    for entry in manifest():
        stream_ = list(events(RECORDINGS / entry["file"]))
        reader = UsageReader()
        for event in stream_:
            reader.take(event)
        statement, _ = usage_golden._statement(reader, stream_, entry)
        if statement is None:
            continue  # a tool server is no model
        try:
            provider = usage_golden._provider(entry["url"])
            bill = bill_for(BOOK, provider, entry["model"], statement, at_ns=AT_NS, seconds=1.5)
        except UnpricedModel:
            bill = bill_for(BOOK, "own", "m", statement, at_ns=AT_NS, seconds=1.5)
        record = booked(bill, 1.5)
        assert explained(record) == record.cost == priced_part(record), entry["file"]
        told = [(portion.model, portion.extras) for portion in portions_of(record.usage, record.extras)]
        assert told == [(portion.model, portion.extras) for portion in statement.portions]
        seen += 1
        with_extras += bool(record.extras)

    assert (seen, with_extras) == (146, 18)


SEARCHED = {"server_tool_use_details": {"web_search_requests": 2}}
IMAGES = {"completion_tokens_details": {"image_tokens": 4}}
AUDIO = {"prompt_tokens_details": {"cached_tokens": 8, "cached_tokens_details": {"audio_tokens": 3}}}


@pytest.mark.parametrize("figures", [{}, SEARCHED, IMAGES, AUDIO, SEARCHED | IMAGES | AUDIO])
@pytest.mark.parametrize("streamed", [False, True])
async def test_the_row_of_a_call_explains_its_cost(figures: Mapping[str, Any], streamed: bool) -> None:
    price = dollars(
        "one", SMALL, "0.0375", per_web_search=Decimal("0.01"), per_second=Decimal("0.0001"), per_request=Decimal(1)
    )
    stair = Stair(prices=(price,)).open()
    counted = {**usage(10, 5), **figures}
    said = frames(chunk("a"), chunk(finish="stop"), {"choices": [], "usage": counted})
    stair.upstream.add(stream(*said) if streamed else plain(completion(usage=counted)))

    await stair.ask(stream=streamed)

    record = record_of(row_of(stair.record))
    assert explained(record) == record.cost > Nano(10**9)
    assert bool(record.extras) == bool(figures)


async def test_output_that_came_after_the_last_usage_is_in_the_tokens_that_explain_the_cost() -> None:
    stair = Stair(prices=(dollars("one", SMALL, per_web_search=Decimal("0.01")),)).open()
    early = {**chunk("a"), "usage": usage(10, 1) | SEARCHED}
    stair.upstream.add(stream(*frames(early, *(chunk("beyond it ") for _ in range(9)), chunk(finish="stop"))))

    await stair.ask(stream=True)

    record = stair.record
    assert record.usage.output > 1
    assert record.usage.source is UsageSource.ESTIMATED
    assert explained(record) == record.cost
