"""Hold: money set aside before a call, and the accounts it is set aside in."""

from farthing.money import Nano
from farthing.record import Record
from farthing.value import Value


class Account(Value, frozen=True, kw_only=True):
    """One budget in one window for one combination of scope values; `id` is unique for all three.

    `resets_at` is ISO 8601 with offset, None for a budget that does not reset. `scope` and `window` are for people.
    """

    id: str
    budget: str
    scope: str
    window: str
    limit: Nano
    resets_at: str | None = None


class Intent(Value, frozen=True, kw_only=True):
    """What a call may cost at most, where it counts, and the row to write if nobody ever settles it.

    `expires_ns`: wall ns after which a hold that nobody settled is charged. `draft` is the record as known before
    the call; recovery completes it with outcome LOST and cost `amount`.
    """

    id: str
    amount: Nano
    accounts: tuple[Account, ...]
    expires_ns: int
    draft: Record


class Hold(Value, frozen=True, kw_only=True):
    """A committed intent. `remaining` is the least that any of its accounts has left after it, None without one;
    `left` what each of them has, in the order of the intent."""

    intent: Intent
    remaining: Nano | None = None
    left: tuple[Nano, ...] = ()

    def left_of(self, window: str) -> Nano | None:
        """The least that any of its accounts with that window has left, None without one."""
        pairs = zip(self.intent.accounts, self.left, strict=True)
        return min((left for account, left in pairs if account.window == window), default=None)
