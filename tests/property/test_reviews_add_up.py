"""A review of the traffic adds up to what the ledger has, whatever was called and however it ended."""

from hypothesis import given
from hypothesis import strategies as st

from farthing.money import Nano
from farthing.record import CacheOutcome, Outcome, Record
from farthing.tags import Tags
from farthing.usage import Usage
from gateway.mix import BY, Evidence, review
from gateway.pricing import Pricing
from ledger import reports
from ledger.prices import PriceBook
from ledger.testing import example_record
from tests.ledgers import Engine
from tests.unit.test_mix import CATALOG, NOW_NS, PRICES

HOUR_NS = 3_600 * 10**9
facts = st.fixed_dictionaries(
    {
        "received_ns": st.integers(NOW_NS - 50 * HOUR_NS, NOW_NS),
        "tier": st.sampled_from(("small", "large", "gone", "")),
        "cache": st.sampled_from(CacheOutcome),
        "outcome": st.sampled_from((Outcome.SUCCESS, Outcome.HIT, Outcome.REFUSED, Outcome.LOST)),
        "endpoint": st.sampled_from(("chat/completions", "embeddings", "external")),
        "cost": st.integers(0, 10**10).map(Nano),
        "usage": st.builds(Usage, input_uncached=st.integers(0, 9_999), output=st.integers(0, 999)),
    }
)
places = st.tuples(
    st.sampled_from(("search", "chat", "evals", "farthing-shadow", "unregistered")), st.sampled_from(("faq", ""))
)


def record_of(number: int, place: tuple[str, str], fact: dict[str, object]) -> Record:
    tags = Tags(tenant="acme", key_id="key-1", feature=place[0], task=place[1])
    return example_record(f"r{number}", tags=tags, **fact)


def test_the_actual_cost_of_a_mix_is_the_total_of_the_report(engine: Engine) -> None:
    pricing = Pricing(PriceBook(PRICES), CATALOG)
    since_ns, until_ns = NOW_NS - 48 * HOUR_NS, NOW_NS - HOUR_NS // 2

    @engine.tries(30)
    @given(st.lists(st.tuples(places, facts), max_size=12))
    def holds(made: list[tuple[tuple[str, str], dict[str, object]]]) -> None:
        engine.empty()
        engine.write(*(record_of(number, *one) for number, one in enumerate(made)))

        rows = reports.spend(engine.database, by=BY, since_ns=since_ns, until_ns=until_ns, limit=5)
        found = review(
            rows,
            CATALOG,
            lambda place: pricing.price(place, NOW_NS),
            Evidence(scorecards=(), demotions=(), suites={}, now_ns=NOW_NS),
            span_ns=until_ns - since_ns,
            own=("evals",),
        )

        whole = reports.totals(engine.database, since_ns=since_ns, until_ns=until_ns)
        assert found.actual == whole.cost
        assert sum(line.requests for line in found.lines) == whole.requests
        assert found.net.avoided == whole.avoided_routing

    holds()
