"""Budgets: which accounts a call draws on, by the calendar of each budget's timezone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from farthing.catalog import Budget, Threshold, Window
from farthing.errors import RunClosed
from farthing.hold import Account
from farthing.money import Nano
from farthing.tags import Tags
from ledger.amendments import UNAMENDED, Amendments, Raise, Run, raised

NEVER_NS: Final = 2**63 - 1
_HOUR_NS: Final = 3_600 * 10**9
_MEMO_SIZE: Final = 8_192


@dataclass(frozen=True, slots=True)
class Period:
    """One turn of a window: its name, the wall ns at which the next one begins, and at which it began itself."""

    key: str
    end_ns: int
    resets_at: str | None
    begin_ns: int = 0

    def elapsed(self, now_ns: int) -> float | None:
        """The share of it that has passed, in [0, 1]; None for one that never ends."""
        if self.end_ns == NEVER_NS:
            return None
        return min(max((now_ns - self.begin_ns) / (self.end_ns - self.begin_ns), 0.0), 1.0)


FOREVER: Final = Period("", NEVER_NS, None)


def period(window: Window, timezone: str, now_ns: int) -> Period:
    """The turn of the window that holds `now_ns`. Days begin at local midnight, however long they are; an hour
    that a clock change repeats is two hours; weeks are ISO weeks and begin on Monday."""
    if window is Window.RUN:
        return FOREVER
    zone = _zone(timezone)
    local = datetime.fromtimestamp(now_ns // 10**9, zone)
    if window is Window.HOUR:
        return _hour(local, now_ns)
    day = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if window is Window.DAY:
        return _turn(f"{day:%Y-%m-%d}", day, day + timedelta(days=1))
    if window is Window.WEEK:
        year, week, weekday = day.isocalendar()
        return _turn(f"{year}-W{week:02}", day - timedelta(days=weekday - 1), day + timedelta(days=8 - weekday))
    if window is Window.MONTH:
        return _turn(f"{day:%Y-%m}", _first_of_month(day, day.month), _first_of_month(day, day.month + 1))
    quarter = (day.month + 2) // 3
    first, next_first = _first_of_month(day, quarter * 3 - 2), _first_of_month(day, quarter * 3 + 1)
    return _turn(f"{day.year}-Q{quarter}", first, next_first)


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    return ZoneInfo(name)


def _hour(local: datetime, now_ns: int) -> Period:
    into_hour = (local.minute * 60 + local.second) * 10**9 + now_ns % 10**9
    end_ns = now_ns - into_hour + _HOUR_NS
    # The offset tells the two hours apart that share a name when clocks go back.
    return _named(f"{local:%Y-%m-%dT%H%z}", end_ns - _HOUR_NS, end_ns, local.tzinfo)


def _first_of_month(day: datetime, month: int) -> datetime:
    return day.replace(year=day.year + (month - 1) // 12, month=(month - 1) % 12 + 1, day=1)


def _turn(key: str, begin: datetime, end: datetime) -> Period:
    # Going through UTC names a midnight that the clocks skip by the first moment after it.
    return _named(key, _wall_ns(begin), _wall_ns(end), end.tzinfo)


def _wall_ns(local: datetime) -> int:
    return int(local.astimezone(UTC).timestamp()) * 10**9


def _named(key: str, begin_ns: int, end_ns: int, zone: tzinfo | None) -> Period:
    return Period(key, end_ns, datetime.fromtimestamp(end_ns // 10**9, zone).isoformat(), begin_ns)


OPENED_RUN: Final = "opened run"
"""The budget of runs that were opened with a cap of their own; no id in a configuration can hold a space."""


def opened_run(tenant: str, name: str, cap: Nano) -> Account:
    """The account of an opened run: everything that the tenant spends on it counts."""
    scope = f"tenant={tenant},run={name}"
    return Account(id=f"{OPENED_RUN}|{scope}|run|", budget=OPENED_RUN, scope=scope, window=Window.RUN.value, limit=cap)


def run_account(budget: Budget, tenant: str, name: str) -> Account | None:
    """The account that a run has with a budget of runs, None where the budget also divides by something else, or binds
    no call of the tenant."""
    where = dict(budget.where)
    if budget.window is not Window.RUN or not set(budget.per) <= {"run", "tenant"}:
        return None
    if where.get("tenant", tenant) != tenant or where.get("run", name) != name:
        return None
    tags = Tags(tenant=tenant, key_id="", feature="", run=name)
    return _account(budget, tags, FOREVER, (), None)


def _account(budget: Budget, tags: Tags, turn: Period, raises: tuple[Raise, ...], run: Run | None) -> Account:
    pairs = (*budget.where, *((name, tags.scope(name)) for name in divided_by(budget)))
    scope = ",".join(f"{name}={value}" for name, value in pairs) or "all"
    limit = budget.limit
    if run is not None and run.cap is not None and budget.window is Window.RUN:
        limit = max(limit, min(run.cap, most_for_a_run(budget)))
    return Account(
        id=f"{budget.id}|{'' if scope == 'all' else scope}|{budget.window.value}|{turn.key}",
        budget=budget.id,
        scope=scope,
        window=budget.window.value,
        limit=Nano(limit + raised(raises, budget.id, scope)) if raises else limit,
        resets_at=turn.resets_at,
    )


def divided_by(budget: Budget) -> tuple[str, ...]:
    """The scopes of `per`; a run's name means nothing without its tenant, or two tenants would share an account."""
    named = {*budget.per, *(name for name, _ in budget.where)}
    return ("tenant", *budget.per) if "run" in named and "tenant" not in named else budget.per


def most_for_a_run(budget: Budget) -> Nano:
    """The cap that an opened run may have under this budget."""
    return budget.limit if budget.max_run is None else budget.max_run


def accounts(budgets: Sequence[Budget], tags: Tags, now_ns: int) -> tuple[Account, ...]:
    """The accounts of all budgets that bind a call with these tags at `now_ns`, in the order given, by the
    configuration alone."""
    return BudgetBook(budgets).accounts(tags, now_ns)


class BudgetBook:
    """The accounts of calls, for the hot path: remembers the answer for each set of tags until a window turns, a raise
    ends or an amendment is made. `thresholds` by budget, of those budgets that have some."""

    def __init__(self, budgets: Sequence[Budget], amendments: Amendments = UNAMENDED) -> None:
        self._budgets = tuple(budgets)
        self._amendments = amendments
        self.thresholds: dict[str, tuple[Threshold, ...]] = {
            budget.id: budget.thresholds for budget in budgets if budget.thresholds
        }
        self._periods: tuple[Period, ...] = ()
        self._turns: dict[str, Period] = {}
        self._raises: tuple[Raise, ...] = ()
        self._from_ns, self._until_ns, self._version = 0, 0, -1
        self._memo: dict[Tags, tuple[Account, ...]] = {}

    def accounts(self, tags: Tags, now_ns: int) -> tuple[Account, ...]:
        """The accounts that bind a call with these tags at `now_ns`, an opened run's last.

        Raises RunClosed for a run that takes no more calls, LedgerUnavailable where it cannot be looked up.
        """
        if not self._from_ns <= now_ns < self._until_ns or self._version != self._amendments.version:
            self._turn(now_ns)
        found = self._memo.get(tags)
        if found is None:
            if len(self._memo) >= _MEMO_SIZE:
                self._memo.clear()
            found = self._memo[tags] = self._find(tags, now_ns)
        return found

    def elapsed(self, budget: str, now_ns: int) -> float | None:
        """The share of a budget's present window that has passed; None for one that never ends, or is not of this
        book. To be asked after `accounts`."""
        turn = self._turns.get(budget)
        return None if turn is None else turn.elapsed(now_ns)

    def _turn(self, now_ns: int) -> None:
        self._version = self._amendments.version
        self._periods = tuple(period(budget.window, budget.timezone, now_ns) for budget in self._budgets)
        self._turns = {budget.id: turn for budget, turn in zip(self._budgets, self._periods, strict=True)}
        self._raises = tuple(one for one in self._amendments.raises() if one.counts_at(now_ns))
        ends = (*(turn.end_ns for turn in self._periods), *(one.until_ns for one in self._raises))
        self._from_ns = now_ns
        self._until_ns = min(ends, default=NEVER_NS)
        self._memo.clear()

    def _find(self, tags: Tags, now_ns: int) -> tuple[Account, ...]:
        run = self._run(tags, now_ns) if tags.run else None
        pairs = zip(self._budgets, self._periods, strict=True)
        found = tuple(_account(budget, tags, turn, self._raises, run) for budget, turn in pairs if budget.binds(tags))
        if run is None or run.cap is None:
            return found
        return (*found, opened_run(tags.tenant, tags.run, run.cap))

    def _run(self, tags: Tags, now_ns: int) -> Run | None:
        run = self._amendments.run(tags.tenant, tags.run)
        if run is None:
            return None
        if run.is_closed_at(now_ns):
            raise RunClosed(f"The run '{tags.run}' has been closed, or its time is over: begin another one.")
        if run.until_ns is not None:
            self._until_ns = min(self._until_ns, run.until_ns)
        return run
