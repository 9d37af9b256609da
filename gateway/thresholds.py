"""Thresholds: which step each budget account has reached, as far as this worker has seen it."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING
from typing import Final

from farthing.catalog import Step, Threshold
from farthing.errors import LedgerUnavailable
from farthing.hold import Account, Hold
from farthing.value import Value

MOST_ACCOUNTS: Final = 10_000
"""Accounts kept in memory; of those first seen longest ago the step is worked out anew."""
MOST_READ: Final = 200
"""Accounts whose spend is looked at once a second."""
_ORDER: Final = tuple(Step)
_NEVER: Final = 2**127

ByBudget = Mapping[str, tuple[Threshold, ...]]
Tell = Callable[[Account, Threshold, int], None]
"""Told of an account, a threshold that it has reached, and the nano-dollars used."""
Spent = Callable[[Sequence[str]], Awaitable[Mapping[str, int]]]
"""Nano-dollars spent by account id; accounts without any may be left out. Raises LedgerUnavailable."""


class Reached(Value, frozen=True, kw_only=True):
    """The strictest step that one of a call's accounts has reached, and the threshold that asks for it."""

    budget: str
    percent: str
    do: Step


@dataclass(slots=True)
class _Seen:
    """What is known of one account. `steps` of the thresholds have been reached; it never falls. `amount` is where the
    next one lies, and `last` the strictest of those reached that changes a route."""

    account: Account
    thresholds: tuple[Threshold, ...]
    limit: int
    used: int = 0
    steps: int = 0
    amount: int = 0
    last: Threshold | None = None

    def __post_init__(self) -> None:
        self._aim()

    def _aim(self) -> None:
        """Of a limit of 0 nothing is ever used, so nothing is reached."""
        if self.steps == len(self.thresholds):
            self.amount = _NEVER
            return
        share = self.thresholds[self.steps].at * self.limit
        self.amount = max(int(share.to_integral_value(rounding=ROUND_CEILING)), 1)

    def climb(self) -> Iterator[Threshold]:
        """The thresholds newly reached."""
        while self.used >= self.amount:
            threshold = self.thresholds[self.steps]
            if threshold.do is not Step.NOTIFY and (self.last is None or stricter(threshold.do, self.last.do)):
                self.last = threshold
            self.steps += 1
            self._aim()
            yield threshold


def stricter(one: Step, other: Step) -> bool:
    """True where `one` is the stricter step."""
    return _ORDER.index(one) > _ORDER.index(other)


class Thresholds:
    """The steps of one worker; belongs to its loop.

    A step once taken is kept until the account's window ends (each window has an account of its own), its limit
    changes, or its thresholds do: a fill that swings about a threshold changes the route once. What counts is what is
    spent and held by others at the moment of a reservation, and what is spent at each look at the ledger.
    """

    def __init__(self, tell: Tell | None = None, spent: Spent | None = None) -> None:
        self._tell, self._spent = tell, spent
        self._seen: dict[str, _Seen] = {}
        self._unread: list[_Seen] = []

    def note(self, hold: Hold, by_budget: ByBudget) -> None:
        """Take up what a reservation has shown of its accounts."""
        amount = hold.intent.amount
        for account, left in zip(hold.intent.accounts, hold.left, strict=True):
            thresholds = by_budget.get(account.budget)
            if thresholds:
                used = account.limit - left - amount
                seen = self._seen.get(account.id)
                if seen is None or seen.limit != account.limit or seen.thresholds is not thresholds:
                    self._weigh(account, thresholds, used)
                    continue
                seen.used = used
                if used >= seen.amount:
                    self._climb(seen)

    async def reached(self, accounts: Iterable[Account], by_budget: ByBudget) -> Reached | None:
        """The strictest step that binds a call on these accounts, None where there is none but telling."""
        found, budget = None, ""
        for account in accounts:
            thresholds = by_budget.get(account.budget)
            if thresholds:
                seen = self._seen.get(account.id)
                if seen is None or seen.limit != account.limit or seen.thresholds is not thresholds:
                    seen = self._weigh(account, thresholds, await self._ask(account) if seen is None else seen.used)
                last = seen.last
                if last is not None and (found is None or stricter(last.do, found.do)):
                    found, budget = last, account.budget
        return None if found is None else Reached(budget=budget, percent=found.percent, do=found.do)

    async def look(self) -> None:
        """Read what has been spent, by all workers, on accounts that this one has seen; if there are many, on others at
        each look. Raises LedgerUnavailable."""
        if self._spent is None:
            return
        if not self._unread:
            self._unread = list(self._seen.values())
        batch, self._unread = self._unread[-MOST_READ:], self._unread[:-MOST_READ]
        spent = await self._spent([seen.account.id for seen in batch]) if batch else {}
        for seen in batch:
            seen.used = spent.get(seen.account.id, 0)
            self._climb(seen)

    async def _ask(self, account: Account) -> int:
        """What has been spent of an account that this worker has not seen; 0 if that cannot be read now, since the
        reservation that follows is the one to refuse."""
        try:
            return (await self._spent([account.id])).get(account.id, 0) if self._spent else 0
        except LedgerUnavailable:
            return 0

    def _weigh(self, account: Account, thresholds: tuple[Threshold, ...], used: int) -> _Seen:
        """Begin with an account, or anew where its limit or the configuration has changed."""
        known = self._seen.get(account.id)
        if known is not None and known.limit == account.limit and known.thresholds == thresholds:
            known.thresholds, known.used = thresholds, used  # a reload that changed nothing here
            self._climb(known)
            return known
        if len(self._seen) >= MOST_ACCOUNTS:
            del self._seen[next(iter(self._seen))]
        seen = self._seen[account.id] = _Seen(account, thresholds, account.limit, used)
        self._climb(seen)
        return seen

    def _climb(self, seen: _Seen) -> None:
        for threshold in seen.climb():
            if self._tell is not None:
                self._tell(seen.account, threshold, seen.used)
