"""Notices: which thresholds somebody has been told of, so that several workers tell each of them once."""

from pathlib import Path

from ledger.amendment_file import SQL, writing


def claim(path: Path, account: str, threshold: str, *, now_ns: int) -> bool:
    """True for the first who asks about a threshold of an account (and so of a window): whoever got it tells.

    Blocks. Raises LedgerUnavailable.
    """
    with writing(path) as connection:
        return connection.execute(SQL["claim_notice"], (account, threshold, now_ns)).rowcount == 1
