"""Budget gauges: what Prometheus is told about budgets equals the ledger, and stays bounded."""

from pathlib import Path

from farthing.catalog import Budget, Window
from farthing.money import Nano
from farthing.tags import Tags
from gateway.budget_gauges import budget_lines
from ledger.sqlite_file import SQLiteFile
from tests.http.admin_setup import EACH_RUN, MONTHLY, NOW_NS, make_record, write_ledger
from tests.unit.test_metrics_requests import make_metrics, value

EACH_FEATURE = Budget(id="feature-day", limit=Nano(5 * 10**9), window=Window.DAY, per=("feature",))


def page_of(ledger: Path, *budgets: Budget) -> bytes:
    metrics = make_metrics()
    metrics.add_source(lambda: budget_lines(SQLiteFile(ledger), budgets, NOW_NS))
    return metrics.render()


async def test_gauges_equal_what_the_ledger_holds(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    await write_ledger(ledger, [make_record("a"), make_record("b")], [MONTHLY, EACH_FEATURE])

    page = page_of(ledger, MONTHLY, EACH_FEATURE)

    month = {"budget": "search-month", "feature": "search", "window": "month"}
    assert value(page, "farthing_budget_limit_usd", **month) == 10
    assert value(page, "farthing_budget_spent_usd", **month) == 0.004
    assert value(page, "farthing_budget_reserved_usd", **month) == 0
    assert value(page, "farthing_budget_spent_usd", budget="feature-day", feature="search", window="day") == 0.004


async def test_a_budget_for_each_run_makes_no_series(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    tags = [Tags(tenant="acme", key_id="app", feature="search", run=f"r{number}") for number in range(3)]
    records = [make_record(tag.run, tags=tag) for tag in tags]
    await write_ledger(ledger, records, [EACH_RUN])

    assert b"agent-run" not in page_of(ledger, EACH_RUN)


def test_a_ledger_that_cannot_be_read_leaves_the_other_metrics(tmp_path: Path) -> None:
    page = page_of(tmp_path / "nowhere.db", MONTHLY)

    assert value(page, "farthing_config_ok") == 1
    assert b"farthing_budget_limit" not in page
