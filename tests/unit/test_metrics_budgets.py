"""Budget gauges: what Prometheus is told about budgets equals the ledger, and stays bounded."""

from farthing.catalog import Budget, Window
from farthing.money import Nano
from farthing.tags import Tags
from gateway.budget_gauges import budget_lines
from ledger.database import Database
from tests.http.admin_setup import EACH_RUN, MONTHLY, NOW_NS, make_record, write_books
from tests.ledgers import Engine
from tests.unit.test_metrics_requests import make_metrics, value

EACH_FEATURE = Budget(id="feature-day", limit=Nano(5 * 10**9), window=Window.DAY, per=("feature",))


def page_of(database: Database, *budgets: Budget) -> bytes:
    metrics = make_metrics()
    metrics.add_source(lambda: budget_lines(database, budgets, NOW_NS))
    return metrics.render()


async def test_gauges_equal_what_the_ledger_holds(engine: Engine) -> None:
    await write_books(engine, [make_record("a"), make_record("b")], [MONTHLY, EACH_FEATURE])

    page = page_of(engine.database, MONTHLY, EACH_FEATURE)

    month = {"budget": "search-month", "feature": "search", "window": "month"}
    assert value(page, "farthing_budget_limit_usd", **month) == 10
    assert value(page, "farthing_budget_spent_usd", **month) == 0.004
    assert value(page, "farthing_budget_reserved_usd", **month) == 0
    assert value(page, "farthing_budget_spent_usd", budget="feature-day", feature="search", window="day") == 0.004


async def test_a_budget_for_each_run_makes_no_series(engine: Engine) -> None:
    tags = [Tags(tenant="acme", key_id="app", feature="search", run=f"r{number}") for number in range(3)]
    records = [make_record(tag.run, tags=tag) for tag in tags]
    await write_books(engine, records, [EACH_RUN])

    assert b"agent-run" not in page_of(engine.database, EACH_RUN)


def test_a_ledger_that_cannot_be_read_leaves_the_other_metrics(engine: Engine) -> None:
    engine.remove()

    page = page_of(engine.database, MONTHLY)

    assert value(page, "farthing_config_ok") == 1
    assert b"farthing_budget_limit" not in page
