"""Whatever happened, what the caches saved by the books is what the ledger avoided, and no hit is left out."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from farthing.call import Endpoint
from farthing.money import Nano
from farthing.record import CacheOutcome, Record
from farthing.tags import CACHE, SHADOW, Tags
from gateway.cachebooks import Caching, SemanticFigures, read_cache_books
from ledger import reports
from ledger.reports import SpendRow
from ledger.testing import ManualClock, example_record
from tests.http.admin_setup import NOW_NS
from tests.ledgers import Engine

PERIOD = {"since_ns": NOW_NS - 3_600 * 10**9, "until_ns": NOW_NS + 1}
POSSIBLE = [
    (endpoint, cache)
    for endpoint, never in ((Endpoint.CHAT, CacheOutcome.PARTIAL), (Endpoint.EMBEDDINGS, CacheOutcome.SEMANTIC))
    for cache in CacheOutcome
    if cache is not never
]
Fact = tuple[str, str, str, tuple[Endpoint, CacheOutcome], int]
facts = st.tuples(
    st.sampled_from(("search", "mail", SHADOW, CACHE)),
    st.sampled_from(("app", SHADOW, CACHE)),
    st.sampled_from(("", "shadow:search", "judge:gone", "embed:mail", "triage")),
    st.sampled_from(POSSIBLE),
    st.integers(0, 10**12),
)
usings = st.dictionaries(
    st.sampled_from(("search", "mail")), st.builds(Caching, exact=st.booleans(), max_wrong=st.just(0.01) | st.none())
)


def record_of(number: int, fact: Fact) -> Record:
    feature, key, task, (endpoint, cache), amount = fact
    whole = cache.is_hit or endpoint is Endpoint.EMBEDDINGS  # of other calls nothing is known in part
    return example_record(
        f"r{number}",
        received_ns=NOW_NS,
        tags=Tags(tenant="acme", key_id=key, feature=feature, task=task),
        endpoint=endpoint.value,
        cache=cache,
        cost=Nano(0 if cache.is_hit else amount),
        avoided_cache=Nano(amount // 3 if whole else 0),
    )


def test_what_the_books_say_was_saved_and_spent_is_what_the_ledger_has(engine: Engine) -> None:
    @engine.tries(40)
    @given(st.lists(facts, max_size=12), usings)
    def law(found: list[Fact], caching: dict[str, Caching]) -> None:
        engine.empty()
        asyncio.run(write(engine, [record_of(number, fact) for number, fact in enumerate(found)]))

        whole = read_cache_books(engine.database, SemanticFigures(), caching, **PERIOD).whole

        everything, bypassed = totals(engine), totals(engine, cache="bypass")
        own = [totals(engine, feature=name, key=name).cost for name in (SHADOW, CACHE)]
        assert (whole.saved, whole.own_cost) == (everything.avoided_cache, sum(own))
        assert (whole.hits, whole.requests) == (everything.hits, everything.requests - bypassed.requests)

    law()


async def write(engine: Engine, records: list[Record]) -> None:
    ledger = await engine.open(ManualClock(NOW_NS))
    await asyncio.gather(*(ledger.settle(None, record) for record in records))
    await ledger.close()


def totals(engine: Engine, **where: str) -> SpendRow:
    return reports.totals(engine.database, **PERIOD, where=where)
