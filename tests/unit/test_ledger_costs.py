"""Costs of inferences: exact for few, within a thirty-second for many."""

import pytest

from farthing.errors import InvalidParameter
from farthing.money import Nano
from farthing.record import CacheOutcome, Outcome
from farthing.tags import Tags
from ledger import costs
from ledger.database import Database
from ledger.testing import example_record
from tests.ledgers import Engine

DAY_NS = 86_400 * 10**9
DAY = 20_833


@pytest.fixture
async def books(engine: Engine) -> Database:
    """Feature search costs 1,000, 2,000 … 200,000; chat costs nothing twice, and fails once at 77."""
    chat = Tags(tenant="acme", key_id="key-1", feature="chat")
    free = {"tags": chat, "received_ns": DAY * DAY_NS}
    await engine.settle(
        *(
            example_record(f"s{number:03}", cost=Nano(number * 1_000), received_ns=DAY * DAY_NS + number * 10**9)
            for number in range(1, 201)
        ),
        example_record("free-1", **free),
        example_record("free-2", **free),
        example_record("failed", outcome=Outcome.UPSTREAM_ERROR, cost=Nano(77), **free),
        example_record("hit", outcome=Outcome.HIT, cache=CacheOutcome.EXACT, **free),
        example_record("refused", outcome=Outcome.REFUSED, **free),
    )
    return engine.database


def test_of_few_the_percentiles_are_those_of_the_records(books: Database) -> None:
    report = costs.costs(books, by=["feature"], since_ns=0, until_ns=2**62)

    assert report.exact
    assert [(row.keys, row.inferences, row.median, row.p99) for row in report.rows] == [
        (("search",), 200, 100_000, 198_000),
        (("chat",), 3, 0, 77),
    ]


def test_of_many_they_are_near_and_over_whole_days(books: Database) -> None:
    report = costs.costs(
        books, by=["feature", "tier"], since_ns=DAY * DAY_NS + 5, until_ns=DAY * DAY_NS + 10**12, few=10
    )

    assert not report.exact
    assert (report.since_ns, report.until_ns) == (DAY * DAY_NS, (DAY + 1) * DAY_NS)
    search, chat = report.rows
    assert (search.keys, search.inferences, chat.inferences) == (("search", ""), 200, 3)
    assert abs(search.median - 100_000) <= 100_000 // 32
    assert abs(search.p99 - 198_000) <= 198_000 // 32
    assert chat.median == 0


def test_an_exact_report_ends_where_it_was_asked_to(books: Database) -> None:
    report = costs.costs(books, by=[], since_ns=DAY * DAY_NS + 10**9, until_ns=DAY * DAY_NS + 3 * 10**9)

    assert [(row.keys, row.inferences, row.p99) for row in report.rows] == [((), 2, 2_000)]


def test_a_period_without_inferences_has_no_rows(books: Database) -> None:
    assert costs.costs(books, by=["model"], since_ns=0, until_ns=1).rows == ()


def test_costs_are_not_kept_by_every_dimension(books: Database) -> None:
    with pytest.raises(InvalidParameter, match="only by feature, tier, model"):
        costs.costs(books, by=["tenant"], since_ns=0, until_ns=1)
