"""Breaker: whether a deployment is fit to be asked, learned from what came of the calls before."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

SLICES: Final = 10
"""Into so many parts the window is cut that slides over the outcomes."""
OUTSIDE: Final = -1
"""The entry of a call that was sent although its deployment is left out, for want of another."""


class State(StrEnum):
    """Of a breaker."""

    CLOSED = "closed"
    """Calls pass."""
    HALF_OPEN = "half_open"
    """One call is let through, and shows whether the deployment has recovered."""
    OPEN = "open"
    """The deployment is left out."""


class Fault(StrEnum):
    """How a call to a deployment went wrong."""

    ERROR = "error"
    """A status of its own fault, no answer in time, one that broke off: counted, for it happens to any."""
    UNREACHABLE = "unreachable"
    """No connection: the next call would find none either."""
    LIMITED = "limited"
    """Too many calls, and the provider said how long to wait."""
    REFUSED = "refused"
    """The provider does not serve this account: its key is wrong, or its money is spent."""
    UNHEALTHY = "unhealthy"
    """A health check found it so."""

    @property
    def opens(self) -> bool:
        """True where one is enough."""
        return self is not Fault.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRules:
    """A breaker opens after `failures` in a row, or where at least `error_rate` of the outcomes of the last `window_s`
    seconds were failures and these were `least_calls` or more. It stays open for `cooldown_s` seconds at first, twice
    as long each time that it opens again at once, `longest_s` at most. With `cooldown_s` 0 it never opens."""

    failures: int = 5
    error_rate: float = 0.5
    window_s: float = 30.0
    least_calls: int = 20
    cooldown_s: float = 30.0
    longest_s: float = 120.0

    def cooldown(self, openings: int) -> float:
        """Seconds for which a breaker stays open that has opened so often, 1 or more, without a recovery between."""
        doubled = self.cooldown_s * 2.0 ** min(openings - 1, 30)
        return min(doubled, max(self.longest_s, self.cooldown_s))


class Breaker:
    """Times are monotonic seconds, given by the caller. A call takes an entry when it is sent and gives it back with
    its outcome; what calls bring that were sent before the state last changed says nothing about now.

    Heads and bodies are two rows: a head breaks the row of calls without one, and only a whole body that of those that
    broke off. Else the failures among many long streams would make a row before the first of these has ended, and a
    server that breaks off everything would never have one.

    closed -> open -> (its time is over, and one call is let through) half open -> closed, or open again.
    """

    __slots__ = (
        *("_at", "_bad", "_closed_at", "_cut_in_a_row", "_epoch", "_fault", "_good", "_in_a_row", "_last_s"),
        *("_openings", "_probing", "_rules", "_until"),
    )

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self._until: float | None = None  # None while it is closed
        self._probing = False
        self._epoch = 0
        self._fault = Fault.ERROR
        self._in_a_row = self._cut_in_a_row = self._openings = 0
        self._closed_at = self._last_s = 0.0
        self._at = [-1] * SLICES
        self._good, self._bad = [0] * SLICES, [0] * SLICES

    # --- what it is --------------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """True where nothing keeps calls from it."""
        return self._until is None

    @property
    def until(self) -> float:
        """When a call may try again whether it has recovered; 0 while it is closed."""
        return self._until or 0.0

    @property
    def fault(self) -> Fault:
        """What opened it last."""
        return self._fault

    def state(self, now: float) -> State:
        """Half open from the moment at which a call may try it."""
        if self._until is None:
            return State.CLOSED
        return State.HALF_OPEN if self._probing or now >= self._until else State.OPEN

    def admits(self, now: float) -> bool:
        """True where a call may be sent: it is closed, or half open with nobody trying it."""
        return self._until is None or (now >= self._until and not self._probing)

    # --- calls -------------------------------------------------------------------------------------

    def enter(self, now: float) -> int:
        """A call is sent; its entry. One that finds it half open is the one that tries it."""
        if self._until is None:
            return self._epoch
        if not self.admits(now):
            return OUTSIDE
        self._probing = True
        self._epoch += 1
        return self._epoch

    def answered(self, entry: int, now: float) -> int:
        """The head of an answer has come: where it was open, it is closed. The entry from here on."""
        if self._until is None:
            if entry == self._epoch:
                self._in_a_row = 0
                self._good[self._slice(now)] += 1
            return entry
        if entry in (self._epoch, OUTSIDE):
            self._close(now)
            return self._epoch
        return entry

    def succeeded(self, entry: int) -> None:
        """The body has come to its end, or as far as its client wanted it."""
        if entry == self._epoch:
            self._cut_in_a_row = 0

    def failed(self, entry: int, fault: Fault, now: float, wait_s: float | None = None) -> float | None:
        """The call went wrong before its head. `wait_s`: what the provider said. Seconds for which it is open now where
        this opened it, else None."""
        if entry != self._epoch:
            return None
        if self._until is not None:
            return self._open(fault, now, wait_s)
        self._in_a_row += 1
        return self._count(fault, now, wait_s)

    def broke(self, entry: int, now: float) -> float | None:
        """The body broke off. As `failed`."""
        if entry != self._epoch or self._until is not None:
            return None
        self._cut_in_a_row += 1
        return self._count(Fault.ERROR, now, None)

    def left(self, entry: int) -> None:
        """Nobody waited for the head: another one may try."""
        if entry == self._epoch:
            self._probing = False

    # --- health checks -----------------------------------------------------------------------------

    def suspect(self, now: float) -> float | None:
        """A health check failed: calls that are under way say nothing any more. As `failed`."""
        if self._until is not None and (self._probing or now < self._until):
            return None
        return self._open(Fault.UNHEALTHY, now, None)

    def clear(self, now: float) -> bool:
        """A health check found it well: it is closed where want of that was why it opened. True where this closed it.

        What calls found is for a call to find out: a server may list its models and answer none.
        """
        if self._until is None or self._fault not in (Fault.UNHEALTHY, Fault.UNREACHABLE):
            return False
        self._close(now)
        return True

    # --- inner -------------------------------------------------------------------------------------

    def _open(self, fault: Fault, now: float, wait_s: float | None) -> float | None:
        rules = self._rules
        if rules.cooldown_s <= 0:
            return None
        if self._until is None and now - self._closed_at > self._last_s:
            self._openings = 0  # it was well for longer than it had been ill
        if fault is Fault.LIMITED and wait_s is not None:
            seconds = min(wait_s, max(rules.longest_s, rules.cooldown_s))
        elif fault is Fault.REFUSED:
            seconds = max(rules.longest_s, rules.cooldown_s)
        else:
            self._openings += 1
            seconds = rules.cooldown(self._openings)
        self._until, self._last_s, self._fault = now + seconds, seconds, fault
        self._probing = False
        self._epoch += 1
        return seconds

    def _count(self, fault: Fault, now: float, wait_s: float | None) -> float | None:
        self._bad[self._slice(now)] += 1
        return self._open(fault, now, wait_s) if fault.opens or self._is_too_much(now) else None

    def _close(self, now: float) -> None:
        self._until = None
        self._probing = False
        self._closed_at = now
        self._in_a_row = self._cut_in_a_row = 0
        self._at = [-1] * SLICES
        self._epoch += 1

    def _slice(self, now: float) -> int:
        """Where outcomes of now are counted; what was there a window ago is gone."""
        number = int(now * SLICES / self._rules.window_s)
        place = number % SLICES
        if self._at[place] != number:
            self._at[place] = number
            self._good[place] = self._bad[place] = 0
        return place

    def _is_too_much(self, now: float) -> bool:
        rules = self._rules
        if max(self._in_a_row, self._cut_in_a_row) >= rules.failures:
            return True
        oldest = int(now * SLICES / rules.window_s) - SLICES
        live = [place for place in range(SLICES) if self._at[place] > oldest]
        bad = sum(self._bad[place] for place in live)
        calls = bad + sum(self._good[place] for place in live)
        return calls >= rules.least_calls and bad >= rules.error_rate * calls
