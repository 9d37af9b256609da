"""Costs of inferences: exact for few, within a thirty-second for many."""

from pathlib import Path

import pytest

from farthing.errors import InvalidParameter
from farthing.money import Nano
from farthing.record import CacheOutcome, Outcome
from farthing.tags import Tags
from ledger import costs
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import SQLiteFile
from ledger.testing import ManualClock, example_record

DAY_NS = 86_400 * 10**9
DAY = 20_833


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Feature search costs 1,000, 2,000 … 200,000; chat costs nothing twice, and fails once at 77."""
    path = tmp_path / "ledger.db"
    ledger = await SQLiteLedger.open(path, ManualClock())
    for number in range(1, 201):
        moment = DAY * DAY_NS + number * 10**9
        await ledger.settle(None, example_record(f"s{number:03}", cost=Nano(number * 1_000), received_ns=moment))
    chat = Tags(tenant="acme", key_id="key-1", feature="chat")
    free = {"tags": chat, "received_ns": DAY * DAY_NS}
    await ledger.settle(None, example_record("free-1", **free))
    await ledger.settle(None, example_record("free-2", **free))
    await ledger.settle(None, example_record("failed", outcome=Outcome.UPSTREAM_ERROR, cost=Nano(77), **free))
    await ledger.settle(None, example_record("hit", outcome=Outcome.HIT, cache=CacheOutcome.EXACT, **free))
    await ledger.settle(None, example_record("refused", outcome=Outcome.REFUSED, **free))
    await ledger.close()
    return path


def test_of_few_the_percentiles_are_those_of_the_records(path: Path) -> None:
    report = costs.costs(SQLiteFile(path), by=["feature"], since_ns=0, until_ns=2**62)

    assert report.exact
    assert [(row.keys, row.inferences, row.median, row.p99) for row in report.rows] == [
        (("search",), 200, 100_000, 198_000),
        (("chat",), 3, 0, 77),
    ]


def test_of_many_they_are_near_and_over_whole_days(path: Path) -> None:
    report = costs.costs(
        SQLiteFile(path), by=["feature", "tier"], since_ns=DAY * DAY_NS + 5, until_ns=DAY * DAY_NS + 10**12, few=10
    )

    assert not report.exact
    assert (report.since_ns, report.until_ns) == (DAY * DAY_NS, (DAY + 1) * DAY_NS)
    search, chat = report.rows
    assert (search.keys, search.inferences, chat.inferences) == (("search", ""), 200, 3)
    assert abs(search.median - 100_000) <= 100_000 // 32
    assert abs(search.p99 - 198_000) <= 198_000 // 32
    assert chat.median == 0


def test_an_exact_report_ends_where_it_was_asked_to(path: Path) -> None:
    report = costs.costs(SQLiteFile(path), by=[], since_ns=DAY * DAY_NS + 10**9, until_ns=DAY * DAY_NS + 3 * 10**9)

    assert [(row.keys, row.inferences, row.p99) for row in report.rows] == [((), 2, 2_000)]


def test_a_period_without_inferences_has_no_rows(path: Path) -> None:
    assert costs.costs(SQLiteFile(path), by=["model"], since_ns=0, until_ns=1).rows == ()


def test_costs_are_not_kept_by_every_dimension(path: Path) -> None:
    with pytest.raises(InvalidParameter, match="only by feature, tier, model"):
        costs.costs(SQLiteFile(path), by=["tenant"], since_ns=0, until_ns=1)
