"""However attempts fail and bill, a call costs the sum of its attempts and no budget is passed."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from farthing.catalog import Deployment
from farthing.money import Nano
from gateway.upstreams.testing import Scripted
from ledger.adjustments import priced_part
from tests.http.test_billed_failures import failure
from tests.scripted_pipeline import SMALL, Stair, completion, dollars, plain, provider, usage

NAMES = ("one", "two", "three")
CAP = 50
"""Tokens of output; the body of the call has more bytes than the 20 tokens of input that are billed at most."""

bills = st.tuples(st.integers(0, 20), st.integers(0, CAP))


def stair(limit: int) -> Stair:
    places = tuple(Deployment(name=SMALL, provider=provider(name), model=SMALL) for name in NAMES)
    prices = [dollars(name, SMALL, str(number), str(2 * number)) for number, name in enumerate(NAMES, start=1)]
    return Stair(small=places, prices=prices, limit=Nano(limit)).open()


def script(failures: list[tuple[int, int]], answer: tuple[int, int]) -> list[Scripted]:
    failed = [failure({"error": {"message": "no"}, "usage": usage(*bill)}) for bill in failures]
    return [*failed, plain(completion(usage=usage(*answer)))]


@given(st.lists(bills, max_size=3), bills, st.integers(0, 2_000_000))
def test_a_call_costs_what_its_attempts_billed_and_passes_no_budget(
    failures: list[tuple[int, int]], answer: tuple[int, int], limit: int
) -> None:
    built = stair(limit)
    built.upstream.add(*script(failures, answer))

    asyncio.run(built.ask(max_tokens=CAP))

    record = built.record
    spent = sum(built.ledger.spent.values())
    assert record.cost == sum(attempt.cost for attempt in record.attempts) == spent <= limit
    assert sum(built.ledger.held.values()) == 0
    assert priced_part(record) == (record.attempts[-1].cost if record.attempts else 0)
    for attempt, (sent, made), times in zip(record.attempts, failures, (1, 2, 3), strict=False):
        if attempt.status == 502:
            assert attempt.cost == times * (1000 * sent + 2000 * made)
