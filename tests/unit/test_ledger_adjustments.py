"""Adjustments: later corrections of what records cost."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from farthing.errors import InvalidParameter, LedgerUnavailable, UnpricedModel
from farthing.money import Nano, Rates
from farthing.record import Attempt, Record
from farthing.tags import Tags
from farthing.usage import Usage
from ledger import adjustments, reports
from ledger.adjustments import Repricing, adjustments_of, reprice
from ledger.check import check, repair
from ledger.price import Price
from ledger.testing import example_record
from tests.ledgers import Engine

OLD, NEW = Rates(input_uncached=10**9, output=2 * 10**9), Rates(input_uncached=10**9, output=3 * 10**9)
USAGE = Usage(input_uncached=100, output=50)
NOW_NS = 1_800_000_000 * 10**9
ALL = Repricing(since_ns=0, until_ns=2**62, reason="invoice", author="finance", now_ns=NOW_NS)


def priced(id_: str, **changes: Any) -> Record:
    """100 tokens at 1,000 nano-dollars and 50 at 2,000: 200,000; at the new rates 250,000."""
    values = {
        "usage": USAGE,
        "provider": "mock",
        "model_served": "m",
        "cost": OLD.cost(USAGE),
        "rates": json.dumps(OLD.as_dict()),
        "price_version": "old",
    }
    return example_record(id_, **{**values, **changes})


def at(rates: Rates) -> Callable[[str, str, int, str], Price]:
    return lambda provider, model, at_ns, tier: Price("new", ((-1, rates),))


def cost_of(engine: Engine, **where: str) -> int:
    return reports.totals(engine.database, since_ns=0, until_ns=2**62, where=where).cost


def test_a_record_that_costs_more_now_gets_the_difference_beside_it(engine: Engine) -> None:
    engine.write(priced("a"))

    done = reprice(engine.database, ALL, at(NEW))

    assert done.delta == 50_000
    (adjustment,) = adjustments_of(engine.database, "a")
    assert (adjustment.old_cost, adjustment.new_cost, adjustment.delta) == (200_000, 250_000, 50_000)
    assert (adjustment.price_version, adjustment.reason, adjustment.author) == ("new", "invoice", "finance")
    assert (json.loads(adjustment.rates), adjustment.created_ns) == (NEW.as_dict(), NOW_NS)
    record = reports.record(engine.database, "a")
    assert record is not None
    assert record.cost == 200_000


def test_pricing_twice_writes_nothing_new(engine: Engine) -> None:
    engine.write(priced("a"))
    reprice(engine.database, ALL, at(NEW))

    again = reprice(engine.database, ALL, at(NEW))

    assert again.delta == 0
    assert len(adjustments_of(engine.database, "a")) == 1


def test_a_second_correction_starts_from_the_first(engine: Engine) -> None:
    engine.write(priced("a"))
    reprice(engine.database, ALL, at(NEW))

    back = reprice(engine.database, ALL, at(OLD))

    assert back.delta == -50_000
    assert [(one.old_cost, one.new_cost) for one in adjustments_of(engine.database, "a")] == [
        (200_000, 250_000),
        (250_000, 200_000),
    ]
    assert cost_of(engine) == 200_000


def test_a_dry_run_tells_and_writes_nothing(engine: Engine) -> None:
    engine.write(priced("a"))

    told = reprice(engine.database, ALL, at(NEW), dry_run=True)

    assert told.delta == 50_000
    assert adjustments_of(engine.database, "a") == []
    assert cost_of(engine) == 200_000


def test_reports_count_a_correction_on_the_day_and_feature_of_its_record(engine: Engine) -> None:
    mail = Tags(tenant="acme", key_id="k", feature="mail")
    engine.write(priced("a"), priced("b", tags=mail, received_ns=NOW_NS + 86_400 * 10**9))

    reprice(engine.database, ALL, at(NEW))

    rows = reports.spend(engine.database, by=("feature", "day"), since_ns=0, until_ns=2**62)
    assert {row.keys: (row.requests, row.cost) for row in rows} == {
        ("search", "2027-01-15"): (1, 250_000),
        ("mail", "2027-01-16"): (1, 250_000),
    }


def test_corrections_count_also_while_the_roll_ups_are_not_complete(engine: Engine) -> None:
    engine.write(priced("a"))
    reprice(engine.database, ALL, at(NEW))
    engine.change("INSERT INTO meta VALUES ('rollups_pending', '20000')")

    assert cost_of(engine) == 250_000


@pytest.mark.parametrize("left_out", [{"provider": "other"}, {"model": "other"}, {"since_ns": NOW_NS + 1}])
def test_only_what_was_asked_for_is_priced(engine: Engine, left_out: dict[str, Any]) -> None:
    engine.write(priced("a"))
    asked = Repricing(**{"since_ns": 0, "until_ns": 2**62, "now_ns": NOW_NS, **left_out})

    assert reprice(engine.database, asked, at(NEW)).models == {}


def test_a_cost_that_was_stated_or_never_computed_is_left_alone(engine: Engine) -> None:
    engine.write(priced("stated", rates="{}", price_version=""), example_record("hit"))

    assert reprice(engine.database, ALL, at(NEW)).models == {}


def test_a_model_that_was_free_may_cost_something_now(engine: Engine) -> None:
    engine.write(priced("a", rates="{}", cost=Nano(0)))

    assert reprice(engine.database, ALL, at(NEW)).delta == 250_000


def test_what_failed_attempts_billed_stays(engine: Engine) -> None:
    attempts = (
        Attempt(deployment="x/m", status=500, error="upstream_error", seconds=1, cost=Nano(7)),
        Attempt(deployment="y/m", status=200, error="", seconds=1, cost=Nano(200_000)),
    )
    engine.write(priced("a", cost=Nano(200_007), attempts=attempts))

    reprice(engine.database, ALL, at(NEW))

    assert cost_of(engine) == 250_007


def test_a_price_by_the_second_uses_the_seconds_of_the_upstream(engine: Engine) -> None:
    attempts = (Attempt(deployment="y/m", status=200, error="", seconds=2.0, cost=Nano(2_000)),)
    hourly = json.dumps({"per_second": 1_000})
    engine.write(priced("a", usage=Usage(), cost=Nano(2_000), rates=hourly, seconds=9.0, attempts=attempts))

    reprice(engine.database, ALL, at(Rates(per_second=Nano(1_500))))

    assert cost_of(engine) == 3_000


def test_a_cost_that_its_rates_do_not_explain_is_counted_and_left(engine: Engine) -> None:
    engine.write(priced("a", cost=Nano(999)))

    done = reprice(engine.database, ALL, at(NEW))

    assert (done.models["mock", "m"].composed, done.delta) == (1, 0)


def test_a_model_without_a_price_is_counted_and_left(engine: Engine) -> None:
    def nothing(provider: str, model: str, at_ns: int, tier: str) -> Price:
        raise UnpricedModel(provider, model)

    engine.write(priced("a"))

    done = reprice(engine.database, ALL, nothing)

    assert (done.models["mock", "m"].unpriced, done.delta) == (1, 0)


def test_more_records_than_one_transaction_holds_are_each_priced_once(engine: Engine) -> None:
    count = adjustments.CHUNK + 7
    engine.write(*(priced(f"r{number}", received_ns=NOW_NS + number // 3) for number in range(count)))

    done = reprice(engine.database, ALL, at(NEW))

    assert done.models["mock", "m"].changed == count
    assert cost_of(engine) == count * 250_000


def test_runs_at_once_do_not_correct_a_record_twice(engine: Engine) -> None:
    """The second run begins when the first has read its records and not yet written."""
    engine.write(priced("a"), priced("b"))
    others: list[Nano] = []

    def price_of(*asked: Any) -> Price:
        if not others:
            others.append(Nano(0))
            others.append(reprice(engine.database, ALL, at(NEW)).delta)
        return at(NEW)(*asked)

    late = reprice(engine.database, ALL, price_of)

    assert (others[1], late.delta) == (100_000, 0)
    assert cost_of(engine) == 500_000


def test_the_sums_of_hours_and_days_are_those_of_the_adjustments(engine: Engine) -> None:
    engine.write(*(priced(f"r{number}", received_ns=NOW_NS + number * 3_600 * 10**9) for number in range(30)))
    reprice(engine.database, ALL, at(NEW))
    reprice(engine.database, Repricing(since_ns=NOW_NS + 10**9, until_ns=2**62, now_ns=NOW_NS), at(OLD))

    tables = ("adjustments", "adjusted_hours", "adjusted_days")
    assert [engine.rows(f"SELECT sum(delta) FROM {table}") for table in tables] == [[(50_000,)]] * 3
    assert engine.rows("SELECT count(*) FROM adjusted_hours") == [(30,)]


@pytest.mark.parametrize("table", ["adjusted_hours", "adjusted_days"])
def test_a_sum_that_is_wrong_is_found_and_made_anew(engine: Engine, table: str) -> None:
    engine.write(priced("a"), priced("b", received_ns=NOW_NS + 86_400 * 10**9))
    reprice(engine.database, ALL, at(NEW))
    engine.change(f"UPDATE {table} SET delta = delta + 7 WHERE id = (SELECT min(id) FROM {table})")

    found = check(engine.database)
    repair(engine.database, found.damaged)

    assert [(one.figure, one.excess) for one in found.differences] == [("the correction", 7)]
    assert check(engine.database).differences == ()
    assert cost_of(engine) == 500_000


def test_a_ledger_that_cannot_be_written_says_so_and_keeps_what_it_had(engine: Engine) -> None:
    engine.write(priced("a"))
    engine.change("DROP TABLE adjustments")

    with pytest.raises(LedgerUnavailable):
        reprice(engine.database, ALL, at(NEW))


def test_a_reason_has_a_length() -> None:
    with pytest.raises(InvalidParameter):
        Repricing(since_ns=0, until_ns=1, reason="x" * 501, now_ns=0)
