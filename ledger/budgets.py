"""Budgets: which accounts a call draws on, by the calendar of each budget's timezone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from farthing.catalog import Budget, Window
from farthing.hold import Account
from farthing.tags import Tags

NEVER_NS: Final = 2**63 - 1
_HOUR_NS: Final = 3_600 * 10**9
_MEMO_SIZE: Final = 8_192


@dataclass(frozen=True, slots=True)
class Period:
    """One turn of a window: its name, and the wall ns at which the next one begins."""

    key: str
    end_ns: int
    resets_at: str | None


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
        return _ending(f"{day:%Y-%m-%d}", day + timedelta(days=1))
    if window is Window.WEEK:
        year, week, weekday = day.isocalendar()
        return _ending(f"{year}-W{week:02}", day + timedelta(days=8 - weekday))
    if window is Window.MONTH:
        return _ending(f"{day:%Y-%m}", _first_of_month(day, day.month + 1))
    quarter = (day.month + 2) // 3
    return _ending(f"{day.year}-Q{quarter}", _first_of_month(day, quarter * 3 + 1))


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    return ZoneInfo(name)


def _hour(local: datetime, now_ns: int) -> Period:
    into_hour = (local.minute * 60 + local.second) * 10**9 + now_ns % 10**9
    end_ns = now_ns - into_hour + _HOUR_NS
    # The offset tells the two hours apart that share a name when clocks go back.
    return _named(f"{local:%Y-%m-%dT%H%z}", end_ns, local.tzinfo)


def _first_of_month(day: datetime, month: int) -> datetime:
    return day.replace(year=day.year + (month - 1) // 12, month=(month - 1) % 12 + 1, day=1)


def _ending(key: str, end: datetime) -> Period:
    # Going through UTC names a midnight that the clocks skip by the first moment after it.
    return _named(key, int(end.astimezone(UTC).timestamp()) * 10**9, end.tzinfo)


def _named(key: str, end_ns: int, zone: tzinfo | None) -> Period:
    return Period(key, end_ns, datetime.fromtimestamp(end_ns // 10**9, zone).isoformat())


def _account(budget: Budget, tags: Tags, turn: Period) -> Account:
    pairs = (*budget.where, *((name, tags.scope(name)) for name in budget.per))
    scope = ",".join(f"{name}={value}" for name, value in pairs)
    return Account(
        id=f"{budget.id}|{scope}|{budget.window.value}|{turn.key}",
        budget=budget.id,
        scope=scope or "all",
        window=budget.window.value,
        limit=budget.limit,
        resets_at=turn.resets_at,
    )


def accounts(budgets: Sequence[Budget], tags: Tags, now_ns: int) -> tuple[Account, ...]:
    """The accounts of all budgets that bind a call with these tags at `now_ns`, in the order given."""
    return tuple(
        _account(budget, tags, period(budget.window, budget.timezone, now_ns))
        for budget in budgets
        if budget.binds(tags)
    )


class BudgetBook:
    """`accounts` for the hot path: remembers the answer for each set of tags until a window turns."""

    def __init__(self, budgets: Sequence[Budget]) -> None:
        self._budgets = tuple(budgets)
        self._periods: tuple[Period, ...] = ()
        self._from_ns, self._until_ns = 0, 0
        self._memo: dict[Tags, tuple[Account, ...]] = {}

    def accounts(self, tags: Tags, now_ns: int) -> tuple[Account, ...]:
        """The same as the function of that name for this book's budgets."""
        if not self._from_ns <= now_ns < self._until_ns:
            self._turn(now_ns)
        found = self._memo.get(tags)
        if found is None:
            if len(self._memo) >= _MEMO_SIZE:
                self._memo.clear()
            found = self._memo[tags] = self._find(tags)
        return found

    def _turn(self, now_ns: int) -> None:
        self._periods = tuple(period(budget.window, budget.timezone, now_ns) for budget in self._budgets)
        self._from_ns = now_ns
        self._until_ns = min((turn.end_ns for turn in self._periods), default=NEVER_NS)
        self._memo.clear()

    def _find(self, tags: Tags) -> tuple[Account, ...]:
        pairs = zip(self._budgets, self._periods, strict=True)
        return tuple(_account(budget, tags, turn) for budget, turn in pairs if budget.binds(tags))
