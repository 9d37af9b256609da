"""Figures: the numbers of the overview page, read from the ledger and folded into what the page shows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from farthing.catalog import Budget, Window
from farthing.money import ZERO, Nano
from farthing.record import Outcome, Record
from gateway.cachebooks import MOST_RECORDS, CacheBooks, Caching, SemanticFigures, read_cache_books
from gateway.periods import NS, month_start
from ledger import raises, reports
from ledger.amendments import Raise, raised
from ledger.database import Database
from ledger.reports import BudgetState, SpendRow

DAYS: Final = 30
MOST_ROWS: Final = 50
"""Bars and requests shown; the bars that are left are summed in one."""
ACCOUNTS_A_BUDGET: Final = 10
ANSWERED: Final = frozenset({Outcome.SUCCESS.value, Outcome.HIT.value})
_MOST_GROUPS: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One line of a bar chart: `share` of the longest bar's amount, and of the whole."""

    name: str
    amount: int
    requests: int
    length: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLine:
    """One budget account in its present window."""

    budget: str
    scope: str
    window: str
    limit: Nano
    spent: Nano
    held: Nano
    resets_at: str | None
    raises: tuple[Raise, ...] = ()
    """Those that are in `limit`."""

    @property
    def used(self) -> float:
        """(spent + held) / limit."""
        return (self.spent + self.held) / self.limit if self.limit else 1.0

    @property
    def level(self) -> str:
        """The word that goes with the colour."""
        return "full" if self.used >= 0.95 else "high" if self.used >= 0.8 else "fine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """Requests of the last 24 hours that got no answer, by how they ended, most first."""

    requests: int
    endings: tuple[tuple[str, int], ...]

    @property
    def count(self) -> int:
        """How many of `requests`."""
        return sum(number for _, number in self.endings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All of the overview page. Amounts in nano-dollars; `month_*` since the UTC month began, `unanswered` 24 hours,
    the rest 30 days."""

    month_cost: Nano
    cost: Nano
    requests: int
    avoided_routing: Nano
    caches: CacheBooks
    unanswered: Unanswered
    budgets: tuple[BudgetLine, ...]
    features: tuple[Bar, ...]
    tiers: tuple[Bar, ...]
    recent: tuple[Record, ...]


def read_budgets(database: Database, budgets: Sequence[Budget], now_ns: int) -> tuple[BudgetLine, ...]:
    """The accounts of these budgets in their present windows, fullest first, at most ACCOUNTS_A_BUDGET of
    each.

    A budget that nothing drew on yet has a line as well. Blocks: run it in a thread.
    """
    lines: list[BudgetLine] = []
    live = raises.live(database, now_ns=now_ns)
    for budget in budgets:
        states = reports.budget_states(database, now_ns=now_ns, budget=budget.id, limit=ACCOUNTS_A_BUDGET)
        mine = tuple(one for one in live if one.budget == budget.id)
        lines += [_used(state, budget, mine) for state in states] or [_unused(budget, mine)]
    return tuple(sorted(lines, key=lambda line: (-line.used, line.budget, line.scope)))


def _used(state: BudgetState, budget: Budget, live: tuple[Raise, ...]) -> BudgetLine:
    """The account under the limit of now. The one it was last held by is older; it is what an opened run was given."""
    account = state.account
    lifts = tuple(one for one in live if one.lifts(budget.id, account.scope))
    base = account.limit if budget.window is Window.RUN else budget.limit + raised(lifts, budget.id, account.scope)
    return BudgetLine(
        budget=account.budget,
        scope=account.scope,
        window=account.window,
        limit=Nano(base),
        spent=state.spent,
        held=state.held,
        resets_at=account.resets_at,
        raises=lifts,
    )


def _unused(budget: Budget, live: tuple[Raise, ...]) -> BudgetLine:
    pairs = (*(f"{name}={value}" for name, value in budget.where), *(f"each {name}" for name in budget.per))
    return BudgetLine(
        budget=budget.id,
        scope=",".join(pairs) or "all",
        window=budget.window.value,
        limit=Nano(budget.limit + raised(live, budget.id, "")),
        spent=ZERO,
        held=ZERO,
        resets_at=None,
        raises=tuple(one for one in live if not one.scope),
    )


def read_overview(
    database: Database,
    budgets: Sequence[Budget],
    now_ns: int,
    *,
    semantic: SemanticFigures,
    caching: Mapping[str, Caching],
) -> Overview | None:
    """The figures at this moment, None where nothing was recorded yet. Blocks: run it in a thread."""
    if not database.is_there():
        return None
    recent = tuple(reports.recent(database, MOST_ROWS))
    if not recent:
        return None
    since = now_ns - DAYS * 86_400 * NS
    until = now_ns + 1
    by_feature = reports.spend(database, by=("feature",), since_ns=since, until_ns=until, limit=_MOST_GROUPS)
    by_tier = reports.spend(database, by=("tier",), since_ns=since, until_ns=until)
    by_outcome = reports.spend(database, by=("outcome",), since_ns=now_ns - 86_400 * NS, until_ns=until)
    month = reports.totals(database, since_ns=month_start(now_ns), until_ns=until)
    caches = read_cache_books(database, semantic, caching, since_ns=since, until_ns=until, most_records=MOST_RECORDS)
    return Overview(
        month_cost=month.cost,
        cost=_sum(row.cost for row in by_feature),
        requests=sum(row.requests for row in by_feature),
        avoided_routing=_sum(row.avoided_routing for row in by_feature),
        caches=caches,
        unanswered=_unanswered(by_outcome),
        budgets=read_budgets(database, budgets, now_ns),
        features=_bars(by_feature),
        tiers=_bars(by_tier),
        recent=recent,
    )


def _sum(amounts: Iterable[int]) -> Nano:
    return Nano(sum(amounts))


def _bars(rows: Sequence[SpendRow]) -> tuple[Bar, ...]:
    sums: dict[str, tuple[int, int]] = {row.keys[0]: (row.cost, row.requests) for row in rows}
    ranked = sorted(sums.items(), key=lambda item: (-item[1][0], -item[1][1], item[0]))
    shown, rest = ranked[:MOST_ROWS], ranked[MOST_ROWS:]
    if rest:
        shown.append((f"{len(rest)} more", (sum(c for _, (c, _) in rest), sum(r for _, (_, r) in rest))))
    whole = sum(cost for _, (cost, _) in shown)
    longest = max((cost for _, (cost, _) in shown), default=0)
    return tuple(
        Bar(
            name=name,
            amount=cost,
            requests=requests,
            length=cost / longest if longest else 0.0,
            share=cost / whole if whole else 0.0,
        )
        for name, (cost, requests) in shown
    )


def _unanswered(rows: Sequence[SpendRow]) -> Unanswered:
    counts = {row.keys[0]: row.requests for row in rows}
    endings = [(name, count) for name, count in counts.items() if name not in ANSWERED]
    return Unanswered(
        requests=sum(counts.values()), endings=tuple(sorted(endings, key=lambda ending: (-ending[1], ending[0])))
    )
