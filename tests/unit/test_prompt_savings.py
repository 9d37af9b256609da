"""Prompt savings: what was read for less and written for more, from the rates on each record, on both engines."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.money import Nano, Rates
from farthing.record import Record
from farthing.tags import Tags
from farthing.usage import Usage
from ledger.database import Database
from ledger.promptsavings import prompt_cache_effect, prompt_savings
from ledger.testing import example_record
from tests.ledgers import Engine

SONNET = Rates(
    input_uncached=3 * 10**9, cache_read=3 * 10**8, cache_write_5m=375 * 10**7, cache_write_1h=6 * 10**9, output=1
)
"""3 USD a million, 0.30 read, 3.75 and 6 written."""
TOKENS = st.integers(0, 10**6)
RATE = st.integers(0, 10**10)


def text(rates: Rates) -> str:
    return json.dumps(rates.as_dict())


def call(id_: str, usage: Usage, *, feature: str = "search", rates: Rates = SONNET, **changes: Any) -> Record:
    tags = Tags(tenant="acme", key_id="k", feature=feature)
    fields = {"model_served": "sonnet", "provider": "anthropic", **changes}
    return example_record(id_, tags=tags, usage=usage, rates=text(rates), **fields)


def test_reading_saves_and_writing_costs_more() -> None:
    usage = Usage(input_uncached=9, cache_read=1_000, cache_write_5m=100, cache_write_1h=10)

    effect = prompt_cache_effect(usage, text(SONNET))

    assert effect == (2_700_000, 75_000 + 30_000)


def test_a_call_without_any_has_no_effect_whatever_its_rates() -> None:
    assert prompt_cache_effect(Usage(input_uncached=9), "not even JSON") == (0, 0)


@given(TOKENS, TOKENS, TOKENS, TOKENS, RATE, RATE, RATE)
def test_without_the_cache_the_same_input_would_have_cost_the_difference_more(
    uncached: int, read: int, write_5m: int, write_1h: int, input_: int, below: int, above: int
) -> None:
    rates = Rates(
        input_uncached=input_,
        cache_read=max(input_ - below, 0),
        cache_write_5m=input_ + above,
        cache_write_1h=input_ + 2 * above,
    )
    usage = Usage(input_uncached=uncached, cache_read=read, cache_write_5m=write_5m, cache_write_1h=write_1h)

    saved, premium = prompt_cache_effect(usage, text(rates))

    all_uncached = rates.cost(Usage(input_uncached=usage.input_total))
    assert abs((all_uncached - rates.cost(usage)) - (saved - premium)) <= 2  # each is rounded once


@pytest.fixture
async def books(engine: Engine) -> Database:
    await engine.settle(
        call("a", Usage(input_uncached=10, cache_read=1_000)),
        call("b", Usage(input_uncached=90, cache_write_5m=900), rates=SONNET),
        call("c", Usage(cache_write_1h=1_000), feature="mail"),
        call("d", Usage(input_uncached=50), feature="quiet"),
        call("e", Usage(cache_read=10**6), received_ns=1),
    )
    return engine.database


async def test_features_are_told_by_what_they_saved_net(books: Database) -> None:
    search, mail = prompt_savings(books, since_ns=2, until_ns=2**62)

    assert (search.feature, search.calls, search.inputs, search.read, search.written) == (
        "search",
        2,
        2_000,
        1_000,
        900,
    )
    assert (search.saved, search.premium, search.net) == (2_700_000, 675_000, 2_025_000)
    assert search.read_share == 0.5
    assert (mail.feature, mail.saved, mail.net) == ("mail", Nano(0), -3_000_000)
