"""Amendment rows: how raises and runs are written to and read from the ledger's tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from farthing.money import Nano
from ledger.amendments import Raise, Run
from ledger.database import Database, Session, read_statements

SQL: Final = read_statements("amendments")


@contextmanager
def changing(database: Database) -> Iterator[Session]:
    """A transaction that counts as an amendment: other processes see it at their next look. Blocks.

    Raises LedgerUnavailable, with nothing done.
    """
    with database.working() as session, session.transaction():
        yield session
        session.execute(SQL["count_change"])


def raise_of(row: tuple[Any, ...]) -> Raise:
    """A row of `raises`."""
    id_, budget, scope, amount, made_ns, until_ns, ended_ns, author, reason = row
    return Raise(
        id=id_,
        budget=budget,
        scope=scope,
        amount=Nano(amount),
        made_ns=made_ns,
        until_ns=until_ns,
        ended_ns=ended_ns,
        author=author,
        reason=reason,
    )


def run_of(row: tuple[Any, ...]) -> Run:
    """A row of `runs`."""
    tenant, name, cap, feature, author, opened_ns, until_ns, closed_ns, refused = row
    return Run(
        tenant=tenant,
        name=name,
        cap=None if cap is None else Nano(cap),
        feature=feature,
        author=author,
        opened_ns=opened_ns,
        until_ns=until_ns,
        closed_ns=closed_ns,
        refused=None if refused is None else Nano(refused),
    )
