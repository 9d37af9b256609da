"""However a cascade goes, a call costs the sum of its answers, once, and no budget is passed."""

import asyncio
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from farthing.money import Nano
from farthing.record import Outcome
from gateway.upstreams.testing import Ending, Scripted
from ledger.adjustments import priced_part
from tests.http.test_cascades import CASCADE, stair
from tests.scripted_pipeline import chunk, completion, frames, plain, stream, usage, usage_chunk

CAP = 50
bills = st.tuples(st.integers(1, 20), st.integers(0, CAP))
faults = st.sampled_from(["none", "refusal", "error", "broken", "no usage", "unreachable"])


def first_of(kind: str, bill: tuple[int, int]) -> Scripted:
    refusal = completion("I'm sorry, but I can't help with that.", usage=usage(*bill))
    answers = {
        "none": plain(completion(usage=usage(*bill))),
        "refusal": plain(refusal),
        "error": plain({"error": {"message": "no"}, "usage": usage(*bill)}, 500),
        "broken": replace(plain(refusal), ending=Ending.CUT),
        "no usage": plain(completion("")),
        "unreachable": Scripted(ending=Ending.REFUSED),
    }
    return answers[kind]


def second_of(bill: tuple[int, int], streamed: bool) -> Scripted:
    said = frames(chunk("Paris."), chunk(finish="stop"), usage_chunk(*bill))
    return stream(*said) if streamed else plain(completion(usage=usage(*bill)))


@given(fault=faults, first=bills, second=bills, streamed=st.booleans(), limit=st.integers(0, 5_000_000))
def test_a_cascade_costs_what_its_answers_cost_and_passes_no_budget(
    fault: str, first: tuple[int, int], second: tuple[int, int], streamed: bool, limit: int
) -> None:
    built = stair(feature=CASCADE, limit=Nano(limit))
    built.upstream.add(first_of(fault, first), second_of(second, streamed))

    answer, raw = asyncio.run(built.ask(max_tokens=CAP, stream=streamed))

    record = built.record
    spent = sum(built.ledger.spent.values())
    assert record.cost == sum(attempt.cost for attempt in record.attempts) == spent <= limit
    assert sum(built.ledger.held.values()) == 0
    assert priced_part(record) == (record.attempts[-1].cost if record.attempts else 0)
    if fault in ("refusal", "none"):
        assert record.outcome in (Outcome.SUCCESS, Outcome.REFUSED)
        assert (answer.status == 200) is (record.outcome is Outcome.SUCCESS)
    if fault == "refusal" and record.tier == "large":
        assert record.attempts[0].cost == 1000 * first[0] + 2000 * first[1]
        assert record.attempts[1].cost == 10_000 * second[0] + 20_000 * second[1]
        assert b"sorry" not in raw
