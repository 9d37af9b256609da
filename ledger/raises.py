"""Raises: more money for a budget, for a time, on somebody's word; kept for ever, so that it can be explained."""

from ledger.amendment_rows import SQL, changing, raise_of
from ledger.amendments import Raise
from ledger.database import Database


def add(database: Database, made: Raise) -> None:
    """Put it on the books; it counts from the commit on. Blocks. Raises LedgerUnavailable."""
    row = (made.id, made.budget, made.scope, made.amount, made.made_ns, made.until_ns, made.author, made.reason)
    with changing(database) as session:
        session.execute(SQL["insert_raise"], row)


def end(database: Database, budget: str, id_: str, *, now_ns: int) -> bool:
    """End it before its time; False where there is no such raise that still counts. Blocks. Raises
    LedgerUnavailable."""
    with changing(database) as session:
        values = {"id": id_, "budget": budget, "now_ns": now_ns}
        return session.execute(SQL["end_raise"], values).rowcount == 1


def of_budget(database: Database, budget: str) -> list[Raise]:
    """All that were ever made for a budget, latest first, at most 1,000. Blocks. Raises LedgerUnavailable."""
    with database.reading() as session:
        return [raise_of(row) for row in session.execute(SQL["raises_of"], (budget,))]


def live(database: Database, *, now_ns: int) -> tuple[Raise, ...]:
    """Those that count at this time, of every budget. Blocks. Raises LedgerUnavailable."""
    with database.reading() as session:
        return tuple(raise_of(row) for row in session.execute(SQL["live_raises"], (now_ns,)))
