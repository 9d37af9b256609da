"""Cache books: hits, what they saved and what that cost, by feature and cache, equal to the ledger on both engines."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from cache.published import DomainState, FeatureReport, State, semantic_report
from farthing.catalog import Feature
from farthing.money import Nano, format_usd
from farthing.record import CacheOutcome, Record
from farthing.tags import CACHE, SHADOW, Tags
from farthing.usage import Usage
from gateway.cachebooks import (
    CacheBooks,
    Caching,
    Effect,
    FeatureBooks,
    Kind,
    SemanticFigures,
    Verdict,
    caching_of,
    read_cache_books,
)
from gateway.cachedesk import CacheRules
from gateway.cachemembers import books_members, lines, quality_lines
from ledger import reports
from tests.http.admin_setup import HIT, NOW_NS, make_record, write_books
from tests.ledgers import Engine

DAY_NS = 86_400 * 10**9
USES = {"search": Caching(exact=True, max_wrong=0.005), "mail": Caching(exact=True, max_wrong=None)}
SEMANTIC = {**HIT, "cache": CacheOutcome.SEMANTIC}
RATES = json.dumps({"input_uncached": 3 * 10**9, "cache_read": 3 * 10**8, "cache_write_5m": 375 * 10**7})


def tagged(feature: str, key: str = "app", task: str = "") -> Tags:
    return Tags(tenant="acme", key_id=key, feature=feature, task=task)


def aside(id_: str, task: str, cost: int, feature: str = SHADOW) -> Record:
    tags = tagged(feature, feature, task)
    return make_record(id_, tags=tags, cache=CacheOutcome.BYPASS, cost=Nano(cost))


TRAFFIC = [
    make_record("miss"),
    make_record("bypass", cache=CacheOutcome.BYPASS),
    make_record("exact-1", **HIT),
    make_record("exact-2", **HIT),
    make_record("coalesced", **HIT | {"cache": CacheOutcome.COALESCED}),
    make_record("semantic", **SEMANTIC),
    make_record("mail-miss", tags=tagged("mail")),
    make_record("mail-hit", tags=tagged("mail"), **HIT),
    aside("shadow", "shadow:search", 700_000),
    aside("judge", "judge:search", 50_000),
]


async def books_of(
    engine: Engine,
    records: Sequence[Record],
    figures: SemanticFigures | None = None,
    caching: Mapping[str, Caching] | None = None,
    **options: Any,
) -> CacheBooks:
    await write_books(engine, records)
    return read_cache_books(
        engine.database,
        figures or SemanticFigures(),
        USES if caching is None else caching,
        since_ns=NOW_NS - 30 * DAY_NS,
        until_ns=NOW_NS,
        **options,
    )


def feature_of(books: CacheBooks, name: str) -> FeatureBooks:
    return next(one for one in books.features if one.feature == name)


async def test_each_cache_has_its_hits_of_all_that_asked_and_what_they_saved(engine: Engine) -> None:
    search = feature_of(await books_of(engine, TRAFFIC), "search")

    assert (search.asked, search.bypassed) == (5, 1)
    assert search.effects == {
        Kind.EXACT: Effect(requests=5, hits=2, saved=Nano(4_000_000)),
        Kind.COALESCED: Effect(requests=5, hits=1, saved=Nano(2_000_000)),
        Kind.SEMANTIC: Effect(requests=5, hits=1, saved=Nano(2_000_000), own_cost=Nano(750_000)),
    }
    assert search.effects[Kind.SEMANTIC].net == 1_250_000
    assert search.whole == Effect(requests=5, hits=4, saved=Nano(8_000_000), own_cost=Nano(750_000))
    assert search.whole.rate == 0.8


async def test_all_together_is_what_the_ledger_avoided_and_paid(engine: Engine) -> None:
    whole = (await books_of(engine, TRAFFIC)).whole

    period = {"since_ns": NOW_NS - 30 * DAY_NS, "until_ns": NOW_NS}
    assert whole.saved == reports.totals(engine.database, **period).avoided_cache
    assert whole.own_cost == reports.totals(engine.database, **period, where={"feature": SHADOW}).cost
    assert whole.hits == reports.totals(engine.database, **period).hits


async def test_the_gateways_own_calls_are_no_feature_with_a_cache(engine: Engine) -> None:
    books = await books_of(engine, TRAFFIC)

    assert [one.feature for one in books.features] == ["search", "mail"]


async def test_a_providers_embeddings_are_the_semantic_caches_own_cost(engine: Engine) -> None:
    books = await books_of(engine, [*TRAFFIC, aside("vectors", "embed:search", 30_000, CACHE)])

    assert [one.feature for one in books.features] == ["search", "mail"]
    assert feature_of(books, "search").effects[Kind.SEMANTIC].own_cost == 780_000


async def test_what_names_no_feature_is_paid_by_all(engine: Engine) -> None:
    """Earlier versions did not say for whom they asked."""
    books = await books_of(engine, [*TRAFFIC, aside("old", "", 9_000_000)])

    assert books.unassigned == 9_000_000
    assert books.whole.own_cost == 9_750_000
    assert books.whole.net == 10_000_000 - 9_750_000


async def test_a_cache_that_costs_more_than_it_saves_has_a_net_below_nothing(engine: Engine) -> None:
    books = await books_of(engine, [*TRAFFIC, aside("dear", "shadow:search", 5_000_000)])

    assert feature_of(books, "search").effects[Kind.SEMANTIC].net == 2_000_000 - 5_750_000


async def test_a_client_that_names_the_shadow_feature_is_no_cost_of_the_cache(engine: Engine) -> None:
    stranger = make_record("stranger", tags=tagged(SHADOW, task="shadow:search"))

    books = await books_of(engine, [*TRAFFIC, stranger])

    assert books.whole.own_cost == 750_000


async def test_what_grades_tiers_is_no_cost_of_the_cache(engine: Engine) -> None:
    books = await books_of(engine, [*TRAFFIC, aside("live", "live:search", 5_000_000)])

    assert books.whole.own_cost == 750_000


async def test_embeddings_stand_apart_with_what_was_known_in_part(engine: Engine) -> None:
    vectors = {"tags": tagged("mail"), "endpoint": "embeddings"}
    partial = {"cache": CacheOutcome.PARTIAL, "avoided_cache": Nano(30_000), "inputs": 10, "inputs_sent": 3}
    records = [
        make_record("all", **HIT | vectors),
        make_record("some", **vectors, **partial),
        make_record("none", **vectors),
    ]

    mail = feature_of(await books_of(engine, records), "mail")

    assert mail.effects == {Kind.EMBEDDING: Effect(requests=3, hits=1, partial=1, saved=Nano(2_030_000))}


async def test_an_input_that_was_asked_for_twice_in_one_call_saves_as_well(engine: Engine) -> None:
    twice = make_record("twice", tags=tagged("mail"), endpoint="embeddings", avoided_cache=Nano(7))

    mail = feature_of(await books_of(engine, [twice]), "mail")

    assert mail.effects == {Kind.EMBEDDING: Effect(requests=1, saved=Nano(7))}


async def test_a_cache_that_is_off_and_did_nothing_is_left_out(engine: Engine) -> None:
    caching = {"search": Caching(exact=False, max_wrong=0.01), "mail": Caching(exact=True, max_wrong=None)}

    books = await books_of(engine, [make_record("a"), make_record("b", tags=tagged("mail"))], caching=caching)

    assert list(feature_of(books, "search").effects) == [Kind.SEMANTIC]
    assert list(feature_of(books, "mail").effects) == [Kind.EXACT]


async def test_a_cache_that_is_off_by_now_is_shown_with_what_it_did(engine: Engine) -> None:
    off = {"search": Caching(exact=False, max_wrong=None)}

    books = await books_of(engine, [make_record("a"), make_record("b", **SEMANTIC)], caching=off)

    assert list(feature_of(books, "search").effects) == [Kind.SEMANTIC]


async def test_a_feature_that_is_gone_still_counts_with_what_it_asked(engine: Engine) -> None:
    books = await books_of(engine, [make_record("a", tags=tagged("gone")), make_record("b", **HIT)])

    assert feature_of(books, "gone").effects == {Kind.EXACT: Effect(requests=1)}
    assert books.whole.rate == 0.5


async def test_the_providers_prompt_cache_counts_with_its_premium(engine: Engine) -> None:
    read = Usage(input_uncached=100, cache_read=1_000, output=10)
    written = Usage(input_uncached=100, cache_write_5m=1_000, output=10)
    records = [make_record("a", usage=read, rates=RATES), make_record("b", usage=written, rates=RATES)]

    search = feature_of(await books_of(engine, records), "search")

    prompt = search.effects[Kind.PROMPT]
    assert prompt == Effect(requests=2, hits=1, saved=Nano(2_700_000), own_cost=Nano(750_000))
    assert (search.whole.hits, search.whole.net) == (0, 1_950_000)


async def test_of_more_records_than_a_page_may_read_prompt_caches_are_left_out_and_it_is_said(engine: Engine) -> None:
    records = [make_record("a", usage=Usage(cache_read=1_000), rates=RATES), make_record("b", **HIT)]

    books = await books_of(engine, records, most_records=1)

    assert books.prompts_left_out
    assert list(feature_of(books, "search").effects) == [Kind.EXACT, Kind.SEMANTIC]


async def test_what_was_asked_before_the_period_is_not_in_it(engine: Engine) -> None:
    books = await books_of(engine, [make_record("old", **HIT | {"received_ns": NOW_NS - 40 * DAY_NS})])

    assert books.features == ()


def test_the_budget_of_a_feature_wins_over_that_of_all() -> None:
    rules = CacheRules(
        exact=True, semantic=True, exact_ttl_s=1, semantic_ttl_s=1, threshold=0.5, max_entry_bytes=1, max_wrong=0.005
    )
    features = [
        Feature(name="own", semantic_cache=True, semantic_max_wrong=0.01),
        Feature(name="all", semantic_cache=True),
        Feature(name="none", exact_cache=False),
    ]

    assert caching_of(features, rules) == {
        "own": Caching(exact=True, max_wrong=0.01),
        "all": Caching(exact=True, max_wrong=0.005),
        "none": Caching(exact=False, max_wrong=None),
    }


# --- what is shown -------------------------------------------------------------------------------


def quality(**sums: float) -> FeatureReport:
    (report,) = semantic_report({"search": sums}, {"search": (1, 1, 0)})
    return report


GRADED = quality(requests=1000, hits=250, graded=100, weight=200, squares=400, wrong=2, wrong_weight=4)
DOMAIN = DomainState(tenant="acme", feature="search", environment="production", state=State.CALIBRATED, compared=412)


async def test_the_json_has_exact_amounts_and_the_estimate_beside_its_budget(engine: Engine) -> None:
    figures = SemanticFigures(reports=[GRADED], domains=[DOMAIN])
    books = await books_of(engine, TRAFFIC, figures)

    members = books_members(books, since_ns=NOW_NS - DAY_NS, until_ns=NOW_NS)

    search = members["features"][0]
    assert search["caches"]["semantic"] == {
        "requests": 5,
        "hits": 1,
        "partial": 0,
        "hit_rate": 0.2,
        "saved_usd": "0.002000000",
        "own_cost_usd": "0.000750000",
        "net_usd": "0.001250000",
    }
    assert search["semantic"]["max_wrong"] == 0.005
    assert search["semantic"]["wrong_per_request"]["estimate"] == 0.005
    assert search["semantic"]["domains"] == [
        {"tenant": "acme", "environment": "production", "state": "calibrated", "compared": 412}
    ]
    assert members["features"][1]["semantic"] is None
    assert members["total"]["net_usd"] == format_usd(books.whole.net)


@pytest.mark.parametrize(
    ("wrong", "graded", "max_wrong", "verdict"),
    [
        (0, 0, 0.005, None),
        (2, 100, None, None),
        (2, 100, 0.005, Verdict.UNCLEAR),
        (2, 100, 0.02, Verdict.WITHIN),
        (90, 100, 0.005, Verdict.OVER),
    ],
)
def test_an_interval_is_within_its_budget_or_over_it_or_neither(
    wrong: int, graded: int, max_wrong: float | None, verdict: Verdict | None
) -> None:
    found = quality(requests=1000, hits=250, graded=graded, weight=graded, squares=graded, wrong_weight=wrong)

    assert FeatureBooks(feature="search", quality=found, max_wrong=max_wrong).verdict == verdict


async def test_where_nothing_was_graded_no_estimate_is_claimed(engine: Engine) -> None:
    books = await books_of(engine, TRAFFIC, SemanticFigures(reports=[quality(requests=10, hits=2)]))

    members = books_members(books, since_ns=0, until_ns=NOW_NS)

    assert members["features"][0]["semantic"]["wrong_per_request"] is None
    assert "not graded" in next(quality_lines(books))


async def test_the_table_has_a_line_for_each_cache_and_one_for_all(engine: Engine) -> None:
    figures = SemanticFigures(reports=[GRADED], domains=[DOMAIN])
    books = await books_of(engine, [*TRAFFIC, aside("old", "", 1_000)], figures)

    assert [line[:5] for line in lines(books)] == [
        ("search", "exact", "5", "2", "40.0%"),
        ("search", "coalesced", "5", "1", "20.0%"),
        ("search", "semantic", "5", "1", "20.0%"),
        ("mail", "exact", "2", "1", "50.0%"),
        ("(unknown)", "semantic", "0", "0", "-"),
        ("total", "", "7", "5", "71.4%"),
    ]
    (line,) = quality_lines(books)
    assert line[:2] == ("search", "1,000")
    assert line[6:8] == ("0.5% (0.14–1.75%)", "0.5%")
    assert line[-1] == "1 calibrated"
