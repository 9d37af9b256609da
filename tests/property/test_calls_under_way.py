"""Whatever becomes of calls, what counts as under way at a deployment is what is: never below zero, at last none."""

import asyncio
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.catalog import Balance
from farthing.errors import FarthingError
from farthing.money import Nano
from gateway.pipeline import serve
from gateway.upstreams.testing import Ending, Scripted
from tests.deployments_farm import STREAM, WELL, barn, farm_of
from tests.scripted_pipeline import Stair, frames, plain, stream

SAYINGS = {
    "well": None,
    "dead": Scripted(ending=Ending.REFUSED),
    "silent": Scripted(ending=Ending.SILENT),
    "unanswered": Scripted(ending=Ending.UNANSWERED),
    "sick": plain({"error": {"message": "x"}}, 500),
    "limited": plain({"error": {"message": "x"}}, 429, **{"retry-after": "1"}),
    "refused": plain({"error": {"message": "x"}}, 401),
    "bad": plain({"error": {"message": "x"}}, 400),
    "cut": stream(*frames({"choices": []}, done=False), ending=Ending.CUT),
    "stall": stream(*frames({"choices": []}, done=False), ending=Ending.STALL),
    "nonsense": Scripted(chunks=(b"<html>",)),
    "plain for a stream": WELL,
    "a stream for plain": STREAM,
}
CALLS = st.tuples(st.booleans(), st.sampled_from(["stays", "leaves at once", "leaves later", "leaves mid-stream"]))


@given(
    says=st.lists(st.sampled_from(sorted(SAYINGS)), min_size=4, max_size=4),
    calls=st.lists(CALLS, min_size=1, max_size=12),
    pauses=st.lists(st.sampled_from([0, 1, 11]), min_size=1),
    limit=st.sampled_from([10**12, 0, 4_000_000]),
    balance=st.sampled_from(Balance),
    fallback=st.sampled_from(["", "large"]),
)
@settings(max_examples=120, deadline=None)
def test_nothing_is_under_way_once_all_calls_have_ended(
    says: list[str], calls: list[tuple[bool, str]], pauses: list[int], limit: int, balance: Balance, fallback: str
) -> None:
    asyncio.run(_play(says, calls, pauses, limit, balance, fallback))


async def _play(
    says: list[str], calls: list[tuple[bool, str]], pauses: list[int], limit: int, balance: Balance, fallback: str
) -> None:
    stair = Stair(limit=Nano(limit), balance=balance, fallback=fallback)
    barn(1, 2, 1, stair=stair)
    for number, name in enumerate(says):
        if (script := SAYINGS[name]) is not None:
            farm_of(stair).says[f"p{number}/small-model" if number < 3 else "one/large-model"] = script

    known = stair.runtime.forwarder.balancer.lines
    assert len(known) == (4 if fallback else 3)
    running = []
    for number, (streams, manner) in enumerate(calls):
        running.append(asyncio.ensure_future(_call(stair, streams, manner)))
        if pause := pauses[number % len(pauses)]:
            await asyncio.sleep(0)
            stair.clock.advance(pause)
        assert all(line.outstanding >= 0 for line in known.values())
    await asyncio.gather(*running)
    await stair.runtime.drains.settle()

    assert {line.outstanding for line in known.values()} == {0}
    stair.clock.advance(10_000)
    assert all(line.breaker.admits(stair.clock.monotonic()) for line in known.values())  # no probe was lost
    assert len(stair.records) == len(calls)
    assert not stair.ledger.holds
    assert stair.ledger.overages == 0


async def _call(stair: Stair, streams: bool, manner: str) -> None:
    task = asyncio.ensure_future(_served(stair, streams, manner))
    if manner.startswith("leaves") and manner != "leaves mid-stream":
        for _ in range(1 if manner == "leaves at once" else 4):
            await asyncio.sleep(0)
        task.cancel()
    with suppress(asyncio.CancelledError, FarthingError):
        await task


async def _served(stair: Stair, streams: bool, manner: str) -> None:
    async with await serve(stair.request(stream=streams), stair.runtime) as answer:
        if answer.streams:
            async for _ in answer.chunks():
                if manner == "leaves mid-stream":
                    raise asyncio.CancelledError
