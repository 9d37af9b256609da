"""Notices: which thresholds somebody has been told of, so that several workers tell each of them once."""

from ledger.amendment_rows import SQL
from ledger.database import Database


def claim(database: Database, account: str, threshold: str, *, now_ns: int) -> bool:
    """True for the first who asks about a threshold of an account (and so of a window): whoever got it tells.

    Blocks. Raises LedgerUnavailable.
    """
    with database.working() as session:
        return session.execute(SQL["claim_notice"], (account, threshold, now_ns)).rowcount == 1
