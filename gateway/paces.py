"""Paces: whether budgets are spent faster than their windows pass, as far as this worker has seen it."""

from collections.abc import Iterable
from typing import Final

from farthing.errors import LedgerUnavailable
from farthing.hold import Account, Hold
from gateway.thresholds import Spent
from ledger.budgets import BudgetBook

STEP: Final = 0.05
"""Pressure is told in steps of so much of the limit. One is left when the spend has fallen back by a whole step."""
MOST_ACCOUNTS: Final = 10_000
MOST_READ: Final = 200
"""Accounts whose spend is looked at once a second."""
_IDLE_LOOKS: Final = 600
"""After so many looks without a call an account is forgotten."""


class Pace:
    """One account: nano-dollars `used` of `limit`, and the level at which its pressure is held."""

    __slots__ = ("idle", "level", "limit", "used")

    def __init__(self, limit: int, used: int) -> None:
        self.limit, self.used = limit, used
        self.level = self.idle = 0

    def pressure(self, elapsed: float) -> float:
        """The share used less the share of the window that has passed, in whole steps: it rises at once, and falls only
        when the spend has come back by a whole step, so that a spend which swings about one does not change the route
        each time."""
        level = (self.used / self.limit - elapsed) / STEP
        if level >= self.level + 1 or level < self.level - 1:
            self.level = max(int(level // 1), 0)
        return self.level * STEP


class Paces:
    """Those of one worker; belongs to its loop. Nothing is kept of accounts that no policy asks about."""

    def __init__(self, spent: Spent | None = None) -> None:
        self._spent = spent
        self._paces: dict[str, Pace] = {}

    def note(self, hold: Hold) -> None:
        """Take up what a reservation has shown of its accounts: spent, and held by others."""
        if not self._paces:
            return
        for account, left in zip(hold.intent.accounts, hold.left, strict=True):
            if (pace := self._paces.get(account.id)) is not None:
                pace.used, pace.limit = account.limit - left - hold.intent.amount, account.limit

    async def pressure(self, accounts: Iterable[Account], book: BudgetBook, now_ns: int) -> float | None:
        """The worst of the accounts, None where none has a pace: a run has no end, and a limit of 0 no shares."""
        worst = None
        for account in accounts:
            elapsed = book.elapsed(account.budget, now_ns)
            if elapsed is not None and account.limit > 0:
                pace = self._paces.get(account.id) or await self._begin(account)
                pace.idle, pace.limit = 0, account.limit
                worst = max(worst or 0.0, pace.pressure(elapsed))
        return worst

    async def look(self) -> None:
        """Read what has been spent, by all workers, on the accounts asked about since the last look. Raises
        LedgerUnavailable."""
        asked = [id_ for id_, pace in self._paces.items() if not pace.idle][:MOST_READ]
        for id_ in [id_ for id_, pace in self._paces.items() if pace.idle > _IDLE_LOOKS]:
            del self._paces[id_]
        spent = await self._spent(asked) if asked and self._spent else {}
        for id_ in asked:
            if id_ in self._paces:
                self._paces[id_].used = spent.get(id_, 0)
        for pace in self._paces.values():
            pace.idle += 1

    async def _begin(self, account: Account) -> Pace:
        if len(self._paces) >= MOST_ACCOUNTS:
            del self._paces[next(iter(self._paces))]
        pace = self._paces[account.id] = Pace(account.limit, await self._ask(account))
        return pace

    async def _ask(self, account: Account) -> int:
        """What has been spent; 0 if that cannot be read now: the reservation that follows is the one to refuse."""
        try:
            return (await self._spent([account.id])).get(account.id, 0) if self._spent else 0
        except LedgerUnavailable:
            return 0
