"""Budget gauges: how full the budgets are, read from the ledger when Prometheus asks."""

from collections.abc import Sequence
from typing import Final

from farthing.catalog import Budget
from farthing.errors import LedgerUnavailable
from gateway.exposition import Family, Kind, Unit, value_lines
from ledger import raises, reports
from ledger.amendments import raised
from ledger.database import Database
from ledger.reports import BudgetState

MOST_ACCOUNTS: Final = 1_000


def _gauge(part: str, text: str) -> Family:
    return Family(
        name=f"farthing_budget_{part}_usd",
        kind=Kind.GAUGE,
        help=text,
        labels=("budget", "feature", "window"),
        unit=Unit.USD,
    )


LIMIT: Final = _gauge("limit", "USD that the budget allows in a window.")
SPENT: Final = _gauge("spent", "USD spent in the present window.")
RESERVED: Final = _gauge("reserved", "USD set aside for calls under way.")
BUDGET_GAUGES: Final = (LIMIT, SPENT, RESERVED)


def budget_lines(database: Database, budgets: Sequence[Budget], now_ns: int) -> list[str]:
    """The three gauges, for `Metrics.add_source`; nothing where the ledger cannot be read. Blocks.

    Only budgets without `per`, or with `per: [feature]`, have one account for each (budget, feature, window);
    of the others (one account for each run, say) the number is not bounded, so they are left to the ledger
    and the pages.
    """
    shown = [budget for budget in budgets if set(budget.per) <= {"feature"}]
    try:
        live = raises.live(database, now_ns=now_ns)
        states = [(budget, state) for budget in shown for state in _states(database, budget, now_ns)]
    except LedgerUnavailable:
        return []
    labels = [_labels(state) for _, state in states]
    limits = (budget.limit + raised(live, budget.id, state.account.scope) for budget, state in states)
    return [
        *value_lines(LIMIT, zip(labels, limits, strict=True)),
        *value_lines(SPENT, zip(labels, (state.spent for _, state in states), strict=True)),
        *value_lines(RESERVED, zip(labels, (state.held for _, state in states), strict=True)),
    ]


def _states(database: Database, budget: Budget, now_ns: int) -> list[BudgetState]:
    return reports.budget_states(database, now_ns=now_ns, budget=budget.id, limit=MOST_ACCOUNTS)


def _labels(state: BudgetState) -> tuple[str, str, str]:
    pairs = dict(pair.split("=", 1) for pair in state.account.scope.split(",") if "=" in pair)
    return state.account.budget, pairs.get("feature", ""), state.account.window
