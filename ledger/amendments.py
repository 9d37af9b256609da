"""Amendments: what was changed beside the configuration: raises of limits, and runs with caps of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from farthing.money import ZERO, Nano


@dataclass(frozen=True, slots=True, kw_only=True)
class Raise:
    """More money for a budget until `until_ns` (wall ns), for every account of it or those of one `scope`. `author` is
    the id of the key that made it. `ended_ns`: ended before its time."""

    id: str
    budget: str
    scope: str
    amount: Nano
    made_ns: int
    until_ns: int
    ended_ns: int | None
    author: str
    reason: str

    def counts_at(self, now_ns: int) -> bool:
        """True while it lifts the limit."""
        return now_ns < self.until_ns and self.ended_ns is None

    def lifts(self, budget: str, scope: str) -> bool:
        """True for the accounts that it is meant for."""
        return self.budget == budget and self.scope in ("", scope)


class RunState(StrEnum):
    """How a run stands."""

    OPEN = "open"
    PAUSED = "paused"
    """The last refused call still does not fit: raising the cap resumes the run."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as it was opened; `cap` is None where nobody opened it. Times in wall ns. `refused` is the worst case of
    the call that did not fit."""

    tenant: str
    name: str
    cap: Nano | None
    feature: str = ""
    author: str = ""
    opened_ns: int | None = None
    until_ns: int | None = None
    closed_ns: int | None = None
    refused: Nano | None = None

    def is_closed_at(self, now_ns: int) -> bool:
        """True where it was closed, or its time is over."""
        return self.closed_ns is not None or (self.until_ns is not None and now_ns >= self.until_ns)

    def state_at(self, now_ns: int, left: Nano) -> RunState:
        """How it stands with so much left."""
        if self.is_closed_at(now_ns):
            return RunState.CLOSED
        stuck = left <= ZERO if self.refused is None else left < self.refused
        return RunState.PAUSED if stuck else RunState.OPEN


class Drawn(NamedTuple):
    """An account as it stands, nano-dollars."""

    cap: int
    spent: int
    held: int


class Amendments(Protocol):
    """What one process knows of them; `version` changes with any of it."""

    version: int

    def raises(self) -> tuple[Raise, ...]:
        """Those that may still count."""

    def run(self, tenant: str, name: str) -> Run | None:
        """The run, None where nothing is known of it. Raises LedgerUnavailable."""


class SharedAmendments(Amendments, Protocol):
    """The same, shared with other processes by way of the ledger's tables. Nothing here blocks."""

    async def refresh(self) -> bool:
        """Look for changes; True where there were any. Raises LedgerUnavailable."""

    async def know(self, tenant: str, name: str) -> None:
        """See to it that `run` tells how this run stands now. Raises LedgerUnavailable."""

    async def balances(self, accounts: Sequence[str]) -> Mapping[str, Drawn]:
        """Those of the accounts on which something was drawn. Raises LedgerUnavailable."""

    async def close(self) -> None:
        """Let go."""


class Unamended:
    """No amendments: the configuration is all there is."""

    version = 0

    def raises(self) -> tuple[Raise, ...]:
        """None."""
        return ()

    def run(self, tenant: str, name: str) -> Run | None:
        """None."""
        del tenant, name
        return None


UNAMENDED: Final = Unamended()


def raised(raises: tuple[Raise, ...], budget: str, scope: str) -> Nano:
    """By how much the limit of an account is lifted."""
    return Nano(sum(one.amount for one in raises if one.lifts(budget, scope)))
