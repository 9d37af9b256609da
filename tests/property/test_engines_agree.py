"""Whoever asks gets the same answer from either engine, whatever is on the books: the same rows in the same order."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from hypothesis import Phase, given
from hypothesis import strategies as st

from farthing.money import Nano, Rates
from farthing.record import CacheOutcome, Outcome, Record
from farthing.tags import Tags
from farthing.usage import TOKEN_CLASSES, Usage
from ledger import reports
from ledger.adjustments import Repricing, adjustments_of, reprice
from ledger.check import check
from ledger.costs import DIMENSIONS as COST_DIMENSIONS
from ledger.costs import costs
from ledger.outputs import latest_outputs
from ledger.price import Price
from ledger.testing import ManualClock, example_account, example_intent, example_record
from tests.ledgers import Engine

HOUR_NS: Final = 3_600 * 10**9
START_NS: Final = 20_000 * 24 * HOUR_NS
RATES: Final = Rates(input_uncached=10**9)
TOKENS: Final[dict[str, int]] = dict.fromkeys(TOKEN_CLASSES, 0)

names = st.one_of(
    st.sampled_from(
        ("", "a", "A", "a b", "a-b", "ab", "_", "é", "ß", "日本", "%s", "'", '"', "\\", ":x", "?", "\t", "{}")
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4),
)
moments = st.one_of(
    st.integers(0, 72 * HOUR_NS), st.sampled_from((0, 1, HOUR_NS - 1, HOUR_NS, 24 * HOUR_NS, 48 * HOUR_NS - 1))
).map(lambda ns: START_NS + ns)
money = st.one_of(st.integers(0, 40), st.sampled_from((10**9, 10**12, 10**15)))
calls = st.tuples(
    moments,
    st.tuples(names, names, names, names),
    st.sampled_from(Outcome),
    st.sampled_from(CacheOutcome),
    money,
    st.booleans(),
)
scopes = st.text(st.sampled_from("abcAB._:/-"), min_size=1, max_size=3)
drawn = st.tuples(
    scopes, st.sampled_from((10, 10**6, 10**9, 10**9 + 1)), st.sampled_from((0, 1, 7, 10**6)), st.booleans()
)
"""An account: its scope, its limit, what is held or spent, and whether it is spent."""
ranges = st.tuples(moments, moments).map(sorted)


def record_of(number: int, call: tuple[int, tuple[str, ...], Outcome, CacheOutcome, int, bool]) -> Record:
    moment, (feature, run, model, team), outcome, cache, cost, priced = call
    usage = Usage(**(TOKENS | {"input_uncached": cost, "output": number}))
    return example_record(
        f"r{number}",
        received_ns=moment,
        tags=Tags(tenant=team, key_id=run, feature=feature, task=team, run=run, environment=model, team=team),
        model_served=model,
        provider="p",
        tier=team,
        endpoint=feature,
        outcome=outcome,
        cache=cache,
        cost=Nano(cost),
        avoided_cache=Nano(cost // 3),
        avoided_routing=Nano(cost // 7),
        usage=usage,
        rates='{"input_uncached": 1000000000}',
        price_version="v0" if priced else "",
        seconds=cost / 7,
        first_byte_seconds=None if priced else 0.1,
        stated_cost=Nano(cost) if priced else None,
    )


async def write(engine: Engine, records: list[Record], accounts: list[tuple[str, int, int, bool]], days: int) -> None:
    ledger = await engine.open(ManualClock(START_NS + days * 24 * HOUR_NS))
    await asyncio.gather(*(ledger.settle(None, record) for record in records))
    for number, (scope, limit, amount, spent) in enumerate(accounts):
        account = example_account(f"b{number % 3}|feature={scope}|day|{number}", limit=limit)
        hold = await ledger.reserve(example_intent(f"h{number}", min(amount, limit), account))
        if spent:
            await ledger.settle(hold, example_record(f"h{number}", cost=Nano(min(amount, limit)), received_ns=START_NS))
    await ledger.close()


def answers(
    engine: Engine, records: list[Record], period: tuple[int, int], where: dict[str, str], limit: int
) -> dict[str, Any]:
    """All that can be asked."""
    database, (since, until) = engine.database, period
    told: dict[str, Any] = {
        f"spend by {by}": reports.spend(database, by=by, since_ns=since, until_ns=until, where=where, limit=limit)
        for by in [*([name] for name in reports.DIMENSIONS), ["feature", "model"], ["day", "team", "cache"]]
    }
    told["totals"] = reports.totals(database, since_ns=since, until_ns=until)
    told["recent"] = reports.recent(database, 7)
    told["budgets"] = reports.budget_states(database, now_ns=0)
    told["budgets of one"] = reports.budget_states(database, now_ns=0, budget="b1", limit=2)
    told["holds"] = reports.open_holds(database)
    told["check"] = check(database)
    told["outputs"] = latest_outputs(database, [*where.values(), "a"])
    for name in COST_DIMENSIONS:
        told[f"costs by {name}"] = costs(database, by=[name], since_ns=since, until_ns=until)
        told[f"costs by {name} in many"] = costs(database, by=[name], since_ns=since, until_ns=until, few=0)
    for record in records:
        told[record.id] = reports.record(database, record.id), adjustments_of(database, record.id)
    return told


def test_both_engines_answer_the_same(engine_named: Callable[[str], Engine]) -> None:
    engines = [engine_named(name) for name in ("sqlite", "postgres")]

    @engines[1].tries(90, phases=[p for p in Phase if p is not Phase.shrink])
    @given(
        made=st.lists(calls, max_size=12),
        accounts=st.lists(drawn, max_size=6),
        days=st.integers(0, 4),
        period=ranges,
        where=st.dictionaries(st.sampled_from(("feature", "run", "day", "outcome")), names, max_size=2),
        limit=st.sampled_from((1, 2, 3, 1_000)),
        rate=st.integers(0, 3),
    )
    def law(
        made: list[Any],
        accounts: list[Any],
        days: int,
        period: tuple[int, int],
        where: dict[str, str],
        limit: int,
        rate: int,
    ) -> None:
        records = [record_of(number, call) for number, call in enumerate(made)]
        told: list[dict[str, Any]] = []
        for engine in engines:
            engine.empty()
            asyncio.run(write(engine, records, accounts, days))
            price = Price("v1", ((-1, Rates(input_uncached=rate * 10**9)),))
            anew = Repricing(since_ns=period[0], until_ns=period[1], now_ns=START_NS)
            done = reprice(engine.database, anew, lambda *_, price=price: price)
            told.append({"repriced": done, **answers(engine, records, period, where, limit)})

        assert told[0].keys() == told[1].keys()
        for question, answer in told[0].items():
            assert told[1][question] == answer, question

    law()
