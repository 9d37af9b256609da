"""Runs: opened with a cap of their own, looked at, raised and closed, each by its tenant."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from farthing.catalog import Budget
from farthing.errors import RunClosed
from farthing.hold import Account
from farthing.money import ZERO, Nano
from ledger.amendment_rows import SQL, changing, run_of
from ledger.amendments import Run, RunState
from ledger.budgets import opened_run, run_account
from ledger.database import Database, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAccount:
    """A run, and the account that has least left of those that bind it; `cap` is that account's limit."""

    run: Run
    cap: Nano
    spent: Nano
    held: Nano

    @property
    def left(self) -> Nano:
        """What may still be held; never negative."""
        return Nano(max(self.cap - self.spent - self.held, ZERO))

    def state_at(self, now_ns: int) -> RunState:
        """How it stands."""
        return self.run.state_at(now_ns, self.left)


def open_(
    database: Database,
    *,
    tenant: str,
    name: str,
    cap: Nano,
    feature: str,
    author: str,
    until_ns: int | None,
    now_ns: int,
) -> None:
    """Open the run, or give an open one another cap; what it has cost so far counts.

    Blocks. Raises RunClosed, LedgerUnavailable.
    """
    account = opened_run(tenant, name, cap)
    with changing(database) as session:
        run = _find(session, tenant, name)
        if run is not None and run.is_closed_at(now_ns):
            raise RunClosed
        session.execute(
            SQL["open_run"],
            {
                "tenant": tenant,
                "run": name,
                "cap": cap,
                "feature": feature,
                "author": author,
                "now_ns": now_ns,
                "until_ns": until_ns,
            },
        )
        session.execute(
            SQL["open_run_account"],
            {
                "id": account.id,
                "budget": account.budget,
                "scope": account.scope,
                "window": account.window,
                "cap": cap,
                "run": name,
                "tenant": tenant,
            },
        )


def close(database: Database, *, tenant: str, name: str, now_ns: int) -> None:
    """Take no more calls of it; those under way are finished. Blocks. Raises LedgerUnavailable."""
    with changing(database) as session:
        session.execute(SQL["close_run"], {"tenant": tenant, "run": name, "now_ns": now_ns})


def refuse(database: Database, *, tenant: str, name: str, needed: Nano | None) -> None:
    """Note what the call needed at most that did not fit, by which the run is paused; None: it goes on. Blocks. Raises
    LedgerUnavailable."""
    with database.working() as session:
        session.execute(SQL["refuse_run"], (tenant, name, needed))


def look_up(database: Database, budgets: Sequence[Budget], *, tenant: str, name: str) -> RunAccount | None:
    """The run and its money, None where the tenant has no such run. Blocks. Raises LedgerUnavailable."""
    accounts = [account for budget in budgets if (account := run_account(budget, tenant, name))]
    with database.reading() as session:
        run = _find(session, tenant, name)
        if run is not None and run.cap is not None:
            accounts.append(opened_run(tenant, name, run.cap))
        drawn = _drawn(session, accounts)
    if run is None and not drawn:
        return None
    run = run or Run(tenant=tenant, name=name, cap=None)
    found = [
        RunAccount(run=run, cap=Nano(cap), spent=Nano(spent), held=Nano(held)) for cap, spent, held in drawn.values()
    ]
    return min(found, key=lambda one: one.left) if found else RunAccount(run=run, cap=ZERO, spent=ZERO, held=ZERO)


def _find(session: Session, tenant: str, name: str) -> Run | None:
    rows = session.execute(SQL["run"], (tenant, name)).fetchall()
    return run_of(rows[0]) if rows else None


def _drawn(session: Session, accounts: Sequence[Account]) -> dict[str, tuple[int, int, int]]:
    ids = msgspec.json.encode([account.id for account in accounts]).decode()
    return {row[0]: row[1:] for row in session.execute(SQL["balances"], (ids,))}
