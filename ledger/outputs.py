"""Outputs: how long the latest answers were, for whoever bounds the next ones by them."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec

from farthing.usage import Usage
from ledger.schema import connect_reading, read_statements

LATEST_RECORDS: Final = 50_000
"""Records that are looked through, whatever the size of the ledger: some tenths of a second."""

_STATEMENTS: Final = read_statements("outputs")


def latest_outputs(path: Path, features: Collection[str]) -> list[tuple[str, str, Usage]]:
    """Feature, model and usage (output classes only) of those of the latest records that are whole answers of these
    features, counted by their provider; oldest first. For threads. Raises sqlite3.Error."""
    names = msgspec.json.encode(sorted(features)).decode()
    connection = connect_reading(path)
    try:
        rows = connection.execute(_STATEMENTS["latest_outputs"], (LATEST_RECORDS, names)).fetchall()
    finally:
        connection.close()
    return [
        (feature, model, Usage(output=output, reasoning=reasoning, output_audio=audio))
        for feature, model, output, reasoning, audio in reversed(rows)
    ]
