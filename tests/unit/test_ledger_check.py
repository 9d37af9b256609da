"""The check finds what does not add up, and repair makes the roll-ups say what the records say."""

import pytest

from farthing.errors import ConfigError
from farthing.money import Nano
from farthing.record import CacheOutcome, Outcome
from farthing.tags import Tags
from ledger import reports, rollups
from ledger.check import check, repair
from ledger.testing import ManualClock, example_account, example_intent, example_record
from tests.ledgers import Engine

HOUR_NS = 3_600 * 10**9
DAY = 20_831
"""2027-01-13; the records go on to the 15th."""
ACCOUNT = "b|tenant=acme|month|2027-01"


@pytest.fixture
async def books(engine: Engine) -> Engine:
    """Ten settled calls over three days on a budget, a hit, and one call still open."""
    ledger = await engine.open(ManualClock())
    account = example_account(ACCOUNT, limit=10**9)
    for number in range(10):
        hold = await ledger.reserve(example_intent(f"r{number}", 5_000, account))
        tags = Tags(tenant="acme", key_id="key-1", feature=("search", "chat")[number % 2])
        received_ns = (DAY * 24 + number * 7) * HOUR_NS
        record = example_record(f"r{number}", tags=tags, cost=Nano(number * 100), received_ns=received_ns)
        await ledger.settle(hold, record)
    hit = {"outcome": Outcome.HIT, "cache": CacheOutcome.EXACT}
    await ledger.settle(None, example_record("hit", **hit))
    await ledger.reserve(example_intent("open", 77, account))
    await ledger.close()
    return engine


def test_books_that_add_up_pass(books: Engine) -> None:
    found = check(books.database)

    assert (found.differences, found.days, found.accounts, found.unknowable) == ((), 3, 1, 0)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE rollup_hours SET cost = cost + 5 WHERE id = (SELECT max(id) FROM rollup_hours)", "cost is 5 more"),
        (
            "UPDATE rollup_days SET requests = requests - 1 WHERE id = (SELECT max(id) FROM rollup_days)",
            "requests is 1 l",
        ),
        ("DELETE FROM rollup_hours WHERE id = (SELECT max(id) FROM rollup_hours)", "requests is 1 less"),
        ("DELETE FROM cost_histogram WHERE id = (SELECT max(id) FROM cost_histogram)", "histogram is 1 less"),
        ("DELETE FROM records WHERE id = 'r9'", "cost is 900 more"),
        ("UPDATE records SET feature = 'other' WHERE id = 'r9'", "feature=other"),
        (
            "INSERT INTO rollup_days SELECT 425201762304, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13",
            "requests is 1 more",
        ),
    ],
)
def test_damage_is_found_and_repaired(books: Engine, damage: str, said: str) -> None:
    books.change(damage)
    damaged = check(books.database)

    repair(books.database, damaged.damaged)

    assert any(said in str(difference) for difference in damaged.differences), damaged.differences
    assert check(books.database).damaged == ()


def test_repair_leaves_reports_as_they_were(books: Engine) -> None:
    period = {"since_ns": 0, "until_ns": 2**62}
    before = reports.spend(books.database, by=["feature", "day", "outcome"], **period)  # type: ignore[arg-type]

    repair(books.database, (DAY, DAY + 1, DAY + 2))

    assert reports.spend(books.database, by=["feature", "day", "outcome"], **period) == before  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE accounts SET held = held - 7", "held is 7 less than its open holds"),
        ("DELETE FROM holds", "held is 77 more than its open holds"),
        ("UPDATE accounts SET spent = 4501", "spent is 1 more than all records"),
    ],
)
def test_an_account_that_does_not_add_up_is_named(books: Engine, damage: str, said: str) -> None:
    books.change(damage)

    found = check(books.database)

    (difference,) = found.differences
    assert said in str(difference)
    assert str(difference).startswith(f"account {ACCOUNT}: ")
    assert found.damaged == ()


async def test_a_run_is_compared_with_the_records_of_the_run(engine: Engine) -> None:
    ledger = await engine.open(ManualClock())
    account = example_account("b|tenant=acme,run=r1|run|", limit=10**9)
    await ledger.settle(
        await ledger.reserve(example_intent("a", 10, account)),
        example_record("a", tags=Tags(tenant="acme", key_id="k", feature="f", run="r1"), cost=Nano(6)),
    )
    await ledger.close()
    engine.change("UPDATE accounts SET resets_at = NULL, budget_window = 'run'")
    sound = check(engine.database).differences

    engine.change("UPDATE accounts SET spent = 7")

    assert sound == ()
    assert [difference.excess for difference in check(engine.database).differences] == [1]


async def test_a_ledger_that_waits_for_its_upgrade_is_not_judged(books: Engine) -> None:
    books.change("INSERT INTO meta VALUES ('rollups_pending', '1')")

    with pytest.raises(ConfigError, match="start the gateway once"):
        check(books.database)


async def test_an_empty_ledger_adds_up(engine: Engine) -> None:
    assert check(engine.database).differences == ()


def test_rebuilding_makes_what_writing_made(books: Engine) -> None:
    tables = ("rollup_hours", "rollup_days", "cost_histogram")
    written = [books.rows(f"SELECT * FROM {table} ORDER BY id") for table in tables]

    repair(books.database, (DAY, DAY + 1, DAY + 2))

    assert [books.rows(f"SELECT * FROM {table} ORDER BY id") for table in tables] == written
    with books.database.working() as session:
        assert rollups.catch_up(session) == 0


def test_a_day_far_from_the_others_is_checked_without_those_between(books: Engine) -> None:
    books.change("UPDATE rollup_days SET id = id - (20000 * 4294967296) WHERE id = (SELECT min(id) FROM rollup_days)")

    found = check(books.database)

    assert found.days == 4
    assert found.damaged == (DAY - 20_000, DAY)
