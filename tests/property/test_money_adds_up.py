"""One truth about money: after any sequence of calls, whatever became of them, the ledger, the metrics, the witnesses
and every report give the same sums."""

import asyncio
from typing import Any, Final

from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from farthing.catalog import Deployment
from farthing.money import Nano
from farthing.record import Record
from gateway.books import Books
from gateway.metrics import Metrics
from gateway.pipeline import serve
from gateway.upstreams.testing import Ending, Scripted, ScriptedUpstream
from ledger import reports
from tests.ledgers import Engine
from tests.scripted_pipeline import (
    SMALL,
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

FOREVER: Final = 2**62
TWO: Final = (
    Deployment(name=SMALL, provider=provider("one"), model=SMALL),
    Deployment(name=SMALL, provider=provider("two"), model=SMALL),
)
STREAMED: Final = frames(chunk("Hel"), chunk("lo."), chunk(finish="stop"), usage_chunk(12, 3))
ANSWERS: Final[dict[str, tuple[Scripted, ...]]] = {
    "plain": (plain(completion(usage=usage(20, 7))),),
    "without usage": (plain(completion("some words of an answer")),),
    "absurd usage": (plain(completion(usage=usage(-5, 10**15))),),
    "stream": (stream(*STREAMED),),
    "cut stream": (stream(*STREAMED[:2], ending=Ending.CUT),),
    "stalled stream": (stream(*STREAMED[:1], ending=Ending.STALL),),
    "failover": (plain({"error": {}}, status=500), plain(completion(usage=usage(20, 7)))),
    "failure": (plain({"error": {}}, status=500), plain({"error": {}}, status=429)),
    "bad request": (plain({"error": {"message": "no"}}, status=400),),
    "silence": (Scripted(ending=Ending.SILENT),),
    "broken": (Scripted(ending=Ending.UNANSWERED),),
    "unreachable": (),
    "stream that is left": (stream(*STREAMED),),
}
"""What the provider does in each kind of call; a plain answer in those that are not named here."""
SHAPES: Final[dict[str, dict[str, Any]]] = {
    "too dear": {"max_tokens": 10**7},
    "not admitted": {"n": "two"},
    "unknown model": {"model": "no-such-model"},
    "choices": {"n": 2},
    "repeated": {"messages": [{"role": "user", "content": "the same again"}]},
}
KINDS: Final = (*ANSWERS, *SHAPES)

calls = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3)), min_size=1, max_size=25)


async def one_call(stair: Stair, kind: str, number: int) -> None:
    """One call of a kind; a provider that is asked more often than expected is unreachable."""
    stair.runtime.forwarder.upstream = ScriptedUpstream(*ANSWERS.get(kind, ANSWERS["plain"]))
    shape: dict[str, Any] = {"messages": [{"role": "user", "content": f"question {number}"}], **SHAPES.get(kind, {})}
    if "stream" in kind:
        shape["stream"] = True
    if kind == "stream that is left":
        await leave(stair, shape)
    else:
        await stair.ask(**shape)


async def leave(stair: Stair, shape: dict[str, Any]) -> None:
    """Read one part of a stream, and go."""
    async with await serve(stair.request(**shape), stair.runtime) as answer:
        if answer.streams:
            async for _ in answer.chunks():
                break


def total(page: bytes, name: str) -> int:
    """The sum of a metric over all of its labels, in billionths."""
    lines = [line for line in page.decode().splitlines() if line.startswith((name + "{", name + " "))]
    return sum(round(float(line.rsplit(" ", 1)[1]) * 1e9) for line in lines)


def test_ledger_metrics_witnesses_and_every_report_give_the_same_sums(engine: Engine) -> None:
    async def work(calls: list[tuple[str, int]], limit: int) -> tuple[list[Record], bytes]:
        stair = Stair(small=TWO, prices=(dollars("one", SMALL), dollars("two", SMALL, "2", "3")), limit=Nano(limit))
        stair.open()
        metrics = Metrics(clock=stair.clock, version="0")
        metrics.register(features=["chat"], tiers=["small"], models=[SMALL], providers=["one", "two"])
        ledger = await engine.open(stair.clock)
        old = stair.runtime.books
        stair.runtime.books = Books(ledger, old.clock, old.accounts, (*old.witnesses, metrics.observe))
        for number, (kind, seconds) in enumerate(calls):
            stair.clock.advance(seconds * 20_000)
            await one_call(stair, kind, number)
        await ledger.close()
        page = metrics.render()
        metrics.close()
        return stair.records, page

    @engine.tries(40, suppress_health_check=[HealthCheck.too_slow])
    @given(calls, st.sampled_from((300_000, 1_000_000, 10**12)))
    def law(calls: list[tuple[str, int]], limit: int) -> None:
        engine.empty()
        witnessed, page = asyncio.run(work(calls, limit))
        kept = list(reversed(reports.recent(engine.database, 1_000)))
        states = reports.budget_states(engine.database, now_ns=0)
        whole = reports.totals(engine.database, since_ns=0, until_ns=FOREVER)
        grouped = {
            name: reports.spend(engine.database, by=[name], since_ns=0, until_ns=FOREVER, limit=2)
            for name in reports.DIMENSIONS
        }

        cost = sum(record.cost for record in kept)
        tokens = sum(record.usage.input_total + record.usage.output_total for record in kept)
        assert sorted(record.id for record in kept) == sorted(record.id for record in witnessed)
        assert len(kept) == len(calls)
        assert (whole.requests, whole.cost) == (len(calls), cost)
        assert whole.usage.input_total + whole.usage.output_total == tokens
        for name, rows in grouped.items():
            assert (sum(row.requests for row in rows), sum(row.cost for row in rows)) == (len(calls), cost), name
        assert total(page, "farthing_requests_total") == len(calls) * 10**9
        assert total(page, "farthing_cost_usd_total") == cost
        assert total(page, "farthing_tokens_total") == tokens * 10**9
        assert sum(state.spent for state in states) == cost
        assert sum(state.held for state in states) == 0

    law()
