"""Raises: more money for a budget, for a time, on somebody's word; kept for ever, so that it can be explained."""

from pathlib import Path

from ledger.amendment_file import SQL, changing, raise_of, reading
from ledger.amendments import Raise


def add(path: Path, made: Raise) -> None:
    """Put it on the books; it counts from the commit on. Blocks. Raises LedgerUnavailable."""
    row = (made.id, made.budget, made.scope, made.amount, made.made_ns, made.until_ns, made.author, made.reason)
    with changing(path) as connection:
        connection.execute(SQL["insert_raise"], row)


def end(path: Path, budget: str, id_: str, *, now_ns: int) -> bool:
    """End it before its time; False where there is no such raise that still counts. Blocks. Raises
    LedgerUnavailable."""
    with changing(path) as connection:
        values = {"id": id_, "budget": budget, "now_ns": now_ns}
        return connection.execute(SQL["end_raise"], values).rowcount == 1


def of_budget(path: Path, budget: str) -> list[Raise]:
    """All that were ever made for a budget, latest first, at most 1,000. Blocks. Raises LedgerUnavailable."""
    with reading(path) as connection:
        return [raise_of(row) for row in connection.execute(SQL["raises_of"], (budget,))]


def live(path: Path, *, now_ns: int) -> tuple[Raise, ...]:
    """Those that count at this time, of every budget. Blocks. Raises LedgerUnavailable."""
    with reading(path) as connection:
        return tuple(raise_of(row) for row in connection.execute(SQL["live_raises"], (now_ns,)))
