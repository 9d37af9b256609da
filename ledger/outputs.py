"""Outputs: how long the latest answers were, for whoever bounds the next ones by them."""

from collections.abc import Collection
from typing import Final

import msgspec

from farthing.usage import Usage
from ledger.database import Database, read_statements

LATEST_RECORDS: Final = 50_000
"""Records that are looked through, whatever the size of the ledger: some tenths of a second."""

_STATEMENTS: Final = read_statements("outputs")


def latest_outputs(database: Database, features: Collection[str]) -> list[tuple[str, str, Usage]]:
    """Feature, model and usage (output classes only) of those of the latest records that are whole answers of these
    features, counted by their provider; oldest first. Blocks. Raises LedgerUnavailable."""
    names = msgspec.json.encode(sorted(features)).decode()
    with database.reading() as session:
        rows = session.execute(_STATEMENTS["latest_outputs"], (LATEST_RECORDS, names)).fetchall()
    return [
        (feature, model, Usage(output=output, reasoning=reasoning, output_audio=audio))
        for feature, model, output, reasoning, audio in reversed(rows)
    ]
