"""What spend reports say; that they sum up is a property, tested elsewhere."""

import re
from typing import Any

import pytest

from farthing.errors import InvalidParameter, LedgerUnavailable
from farthing.money import Nano
from farthing.record import CacheOutcome, Outcome
from farthing.tags import Tags
from farthing.usage import Usage
from ledger import reports
from ledger.database import Database
from ledger.testing import ManualClock, example_account, example_intent, example_record
from tests.ledgers import Engine

DAY_NS = 86_400 * 10**9
EVER: dict[str, Any] = {"since_ns": 0, "until_ns": 2**62}


def of(feature: str, team: str = "") -> Tags:
    return Tags(tenant="acme", key_id="key-1", feature=feature, team=team)


@pytest.fixture
async def books(engine: Engine) -> Database:
    hit = {"cache": CacheOutcome.EXACT, "outcome": Outcome.HIT, "avoided_cache": Nano(30)}
    await engine.settle(
        example_record("1", tags=of("search", "web"), cost=Nano(30), received_ns=1, usage=Usage(output=3)),
        example_record("2", tags=of("search", "web"), received_ns=2, **hit),
        example_record("3", tags=of("chat"), cost=Nano(50), received_ns=DAY_NS, avoided_routing=Nano(7)),
    )
    return engine.database


async def test_spend_by_feature_is_dearest_first(books: Database) -> None:
    rows = reports.spend(books, by=["feature"], **EVER)

    assert [(row.keys, row.requests, row.hits, row.cost) for row in rows] == [
        (("chat",), 1, 0, 50),
        (("search",), 2, 1, 30),
    ]
    assert (rows[1].avoided_cache, rows[0].avoided_routing, rows[1].usage.output) == (30, 7, 3)


async def test_keys_come_in_the_order_asked_for(books: Database) -> None:
    rows = reports.spend(books, by=["day", "team", "cache"], **EVER)

    assert {row.keys for row in rows} == {
        ("1970-01-02", "", "bypass"),
        ("1970-01-01", "web", "bypass"),
        ("1970-01-01", "web", "exact"),
    }


async def test_the_end_of_a_period_is_outside_it(books: Database) -> None:
    whole = reports.totals(books, since_ns=1, until_ns=DAY_NS)

    assert (whole.keys, whole.requests, whole.cost) == ((), 2, 30)


async def test_a_filter_keeps_only_its_value(books: Database) -> None:
    rows = reports.spend(books, by=["outcome"], where={"feature": "search", "key": "key-1"}, **EVER)

    assert {row.keys for row in rows} == {("success",), ("hit",)}


async def test_groups_beyond_the_limit_are_folded_and_not_dropped(books: Database) -> None:
    rows = reports.spend(books, by=["feature", "outcome"], limit=2, **EVER)

    assert [(row.keys, row.cost) for row in rows] == [(("chat", "success"), 50), ((reports.OTHER,) * 2, 30)]


@pytest.mark.parametrize("name", ["cost", "id; DROP TABLE records", "received_ns", ""])
async def test_only_known_dimensions_reach_the_database(books: Database, name: str) -> None:
    with pytest.raises(InvalidParameter, match="only by feature"):
        reports.spend(books, by=[name], **EVER)
    with pytest.raises(InvalidParameter):
        reports.spend(books, by=[], where={name: "x"}, **EVER)


async def test_a_value_is_never_sql(books: Database) -> None:
    rows = reports.spend(books, by=["feature"], where={"feature": "x' OR '1'='1"}, **EVER)

    assert rows == []


async def test_nothing_spent_is_a_row_of_zeros(engine: Engine) -> None:
    whole = reports.totals(engine.database, **EVER)

    assert (whole.requests, whole.cost, whole.usage.input_total) == (0, 0, 0)


async def test_recent_records_are_newest_first_and_bounded(books: Database) -> None:
    assert [record.id for record in reports.recent(books, 2)] == ["3", "2"]


async def test_an_unknown_request_has_no_record(books: Database) -> None:
    assert reports.record(books, "nobody") is None


async def test_budget_states_tell_what_is_left_in_windows_that_have_not_ended(engine: Engine) -> None:
    ledger = await engine.open(ManualClock())
    full = example_account("full|tenant=acme|day|2027-01-15", limit=100)
    ample = example_account("ample|tenant=acme|day|2027-01-15", limit=1000)
    hold = await ledger.reserve(example_intent("a", 80, full, ample))
    await ledger.settle(hold, example_record("a", cost=Nano(60)))
    await ledger.reserve(example_intent("b", 30, full, ample))
    reset_ns = 1_800_057_600 * 10**9  # 2027-01-16T00:00:00Z

    before = reports.budget_states(engine.database, now_ns=reset_ns - 1)
    after = reports.budget_states(engine.database, now_ns=reset_ns)

    await ledger.close()
    assert [(state.account, state.spent, state.held, state.left) for state in before] == [
        (full, 60, 30, 10),
        (ample, 60, 30, 910),
    ]
    assert reports.budget_states(engine.database, now_ns=0, budget="ample") == [before[1]]
    assert after == []


async def test_reports_cannot_write(books: Database) -> None:
    with pytest.raises(LedgerUnavailable, match=r"read-?only"), books.reading() as session:
        session.execute("DELETE FROM records")


async def test_reports_read_while_the_gateway_writes(engine: Engine) -> None:
    ledger = await engine.open(ManualClock())
    await ledger.settle(None, example_record("a", cost=Nano(5)))

    whole = reports.totals(engine.database, **EVER)

    await ledger.close()
    assert whole.cost == 5


def test_a_missing_ledger_is_said_to_be_missing(engine: Engine) -> None:
    engine.remove()

    said = rf"{re.escape(engine.database.label)} cannot be read .* this version of the gateway has run once"
    with pytest.raises(LedgerUnavailable, match=said):
        reports.recent(engine.database)


async def test_rows_of_one_cost_come_in_the_order_of_their_bytes(engine: Engine) -> None:
    names = ("B", "a b", "a", "a-b", "Z", "_", "é")
    await engine.settle(*(example_record(name, tags=of(name), cost=Nano(1)) for name in names))

    rows = reports.spend(engine.database, by=["feature"], limit=4, **EVER)

    assert [row.keys[0] for row in rows] == ["B", "Z", "_", reports.OTHER]
    assert rows[-1].requests == 4


async def test_budgets_that_are_nearly_as_full_come_in_their_order(engine: Engine) -> None:
    ledger = await engine.open(ManualClock())
    for name, limit in (("a", 10**12 + 1), ("b", 10**12), ("c", 10**12 - 1)):
        await ledger.reserve(example_intent(name, 10**11, example_account(f"{name}|feature=f|day|d", limit=limit)))
    await ledger.close()

    states = reports.budget_states(engine.database, now_ns=0)

    assert [state.account.budget for state in states] == ["c", "b", "a"]
