"""Reviews of the traffic add up, whatever was called and however it ended."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.money import Nano
from farthing.record import CacheOutcome, Outcome, Record
from farthing.tags import Tags
from farthing.usage import Usage
from farthing.value import changed
from gateway.commands.mix import finding_out
from gateway.destination import Destinations
from gateway.mix import BY, Evidence, review
from gateway.pricing import Pricing
from gateway.runtime import Generation
from ledger import reports
from ledger.prices import PriceBook
from ledger.testing import example_record
from tests.ledgers import Engine
from tests.unit.test_mix import CATALOG, NOW_NS, PRICES
from tests.unit.test_policy_diff import BASE, FIXED_SMALL, PASSED, REFERENCE, diff, generation

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
            Evidence(question=Destinations(CATALOG, (), NOW_NS).question, suites={}),
            span_ns=until_ns - since_ns,
            finding=finding_out("evals"),
        )

        whole = reports.totals(engine.database, since_ns=since_ns, until_ns=until_ns)
        assert found.actual == whole.cost
        assert sum(line.requests for line in found.lines) == whole.requests
        assert found.net.avoided == whole.avoided_routing

    holds()


CONFIGURATIONS = (
    generation(),
    generation(cards=(PASSED, REFERENCE), counts=True),
    generation(FIXED_SMALL, keys=()),
    generation(replace(BASE, features={}), counts=True),
)
named = st.fixed_dictionaries(
    {
        "model_requested": st.sampled_from(("auto", "small", "tier/middle", "nobody")),
        "task_source": st.sampled_from(("header", "metadata", "key", "feature", "rule", "default")),
    }
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CONFIGURATIONS), st.lists(st.tuples(places, facts, named), max_size=12))
def test_a_configuration_beside_itself_costs_the_same_and_risks_nothing(
    same: Generation, made: list[tuple[tuple[str, str], dict[str, object], dict[str, object]]]
) -> None:
    rows = [record_of(number, place, fact | more) for number, (place, fact, more) in enumerate(made)]

    found = diff([changed(row, tags=changed(row.tags, key_id="app")) for row in rows], same, same)

    assert found.total.old == found.total.new
    assert (found.moved, found.risks, found.quality.moved) == ((), (), 0)
    assert all((line.old, line.old_requests) == (line.new, line.new_requests) for line in found.mix.values())


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(CONFIGURATIONS),
    st.sampled_from(CONFIGURATIONS),
    st.lists(st.tuples(places, facts, named), max_size=12),
)
def test_what_the_change_saves_is_what_the_way_back_costs(
    one: Generation, other: Generation, made: list[tuple[tuple[str, str], dict[str, object], dict[str, object]]]
) -> None:
    rows = [record_of(number, place, fact | more) for number, (place, fact, more) in enumerate(made)]

    there, back = diff(rows, one, other), diff(rows, other, one)

    assert there.total.delta == -back.total.delta
    assert (there.total.requests, there.total.hits) == (back.total.requests, back.total.hits)
    assert sum(line.new for line in there.mix.values()) == there.total.new
