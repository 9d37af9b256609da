"""Thresholds: which step each budget account has reached, as far as this worker has seen it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING
from itertools import islice
from typing import Final

from farthing.catalog import Step, Threshold
from farthing.errors import LedgerUnavailable
from farthing.hold import Account, Hold
from farthing.value import Value

MOST_ACCOUNTS: Final = 10_000
"""Accounts kept in memory; of those seen longest ago the step is worked out anew."""
MOST_READ: Final = 200
"""Accounts whose spend is looked at once a second."""
_ORDER: Final = tuple(Step)

ByBudget = Mapping[str, tuple[Threshold, ...]]
Tell = Callable[[Account, Threshold, int], None]
"""Told of an account, a threshold that it has reached, and the nano-dollars used."""
Spent = Callable[[Sequence[str]], Mapping[str, int]]
"""Nano-dollars spent by account id; accounts without any may be left out. Raises LedgerUnavailable."""


class Reached(Value, frozen=True, kw_only=True):
    """The strictest step that one of a call's accounts has reached, and the threshold that asks for it."""

    budget: str
    percent: str
    do: Step


@dataclass(slots=True)
class _Seen:
    """What is known of one account. `steps` of the thresholds have been reached; it never falls."""

    account: Account
    thresholds: tuple[Threshold, ...]
    amounts: tuple[int, ...]
    used: int = 0
    steps: int = 0

    def holds_for(self, account: Account, thresholds: tuple[Threshold, ...]) -> bool:
        """False where the limit or the configuration has changed since."""
        return self.account.limit == account.limit and (self.thresholds is thresholds or self.thresholds == thresholds)


class Thresholds:
    """The steps of one worker; belongs to its loop.

    A step once taken is kept until the account's window ends (each window has an account of its own), its limit
    changes, or its thresholds do: a fill that swings about a threshold changes the route once. What counts is what is
    spent and held by others at the moment of a reservation, and what is spent at each look at the ledger.
    """

    def __init__(self, tell: Tell | None = None, spent: Spent | None = None) -> None:
        self._tell, self._spent = tell, spent
        self._seen: dict[str, _Seen] = {}

    def note(self, hold: Hold, by_budget: ByBudget) -> None:
        """Take up what a reservation has shown of its accounts."""
        amount = hold.intent.amount
        for account, left in zip(hold.intent.accounts, hold.left, strict=True):
            thresholds = by_budget.get(account.budget)
            if thresholds:
                self._see(account, thresholds, account.limit - left - amount)

    def reached(self, accounts: Iterable[Account], by_budget: ByBudget) -> Reached | None:
        """The strictest step that binds a call on these accounts, None where there is none but telling."""
        found: Reached | None = None
        for account in accounts:
            thresholds = by_budget.get(account.budget)
            if not thresholds:
                continue
            last = self._last(self._known(account, thresholds))
            if last is not None and (found is None or _ORDER.index(last.do) > _ORDER.index(found.do)):
                found = Reached(budget=account.budget, percent=last.percent, do=last.do)
        return found

    def look(self) -> None:
        """Read what has been spent, by all workers, on the accounts that this one used last. Raises
        LedgerUnavailable."""
        recent = list(islice(reversed(self._seen.values()), MOST_READ))
        if self._spent is None or not recent:
            return
        spent = self._spent([seen.account.id for seen in recent])
        for seen in recent:
            self._use(seen, spent.get(seen.account.id, 0))

    def _known(self, account: Account, thresholds: tuple[Threshold, ...]) -> _Seen:
        seen = self._seen.get(account.id)
        if seen is not None and seen.holds_for(account, thresholds):
            return seen
        return self._see(account, thresholds, self._ask(account) if seen is None else seen.used)

    def _ask(self, account: Account) -> int:
        """What has been spent of an account that this worker has not seen; 0 if that cannot be read now, since the
        reservation that follows is the one to refuse."""
        try:
            return self._spent([account.id]).get(account.id, 0) if self._spent else 0
        except LedgerUnavailable:
            return 0

    def _see(self, account: Account, thresholds: tuple[Threshold, ...], used: int) -> _Seen:
        seen = self._seen.pop(account.id, None)
        if seen is None or not seen.holds_for(account, thresholds):
            shares = (threshold.at * account.limit for threshold in thresholds)
            amounts = tuple(int(share.to_integral_value(rounding=ROUND_CEILING)) for share in shares)
            seen = _Seen(account, thresholds, amounts)
            if len(self._seen) >= MOST_ACCOUNTS:
                del self._seen[next(iter(self._seen))]
        self._seen[account.id] = seen  # the last, so that the first was not used for longest
        self._use(seen, used)
        return seen

    def _use(self, seen: _Seen, used: int) -> None:
        seen.used = used
        while used > 0 and seen.steps < len(seen.amounts) and used >= seen.amounts[seen.steps]:
            if self._tell is not None:
                self._tell(seen.account, seen.thresholds[seen.steps], used)
            seen.steps += 1

    def _last(self, seen: _Seen) -> Threshold | None:
        """The strictest threshold reached that changes the route."""
        reached = [threshold for threshold in seen.thresholds[: seen.steps] if threshold.do is not Step.NOTIFY]
        return max(reached, key=lambda threshold: _ORDER.index(threshold.do), default=None)
