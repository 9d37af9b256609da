"""Standings: what judges have shown, kept in one JSON file so that they are not examined again for nothing."""

import json
import os
from pathlib import Path
from typing import Any

from evals.judges import Standing
from farthing.money import Nano


class StandingsFile:
    """Standings in a file, by key. A file that cannot be read is an empty one: the judge is examined again."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, key: str) -> Standing | None:
        """The standing kept under the key."""
        row: Any = self._rows().get(key)
        try:
            return Standing(agreed=row["agreed"], total=row["total"], fooled=row["fooled"], cost=Nano(row["cost_nano"]))
        except (TypeError, KeyError):
            return None

    def keep(self, key: str, standing: Standing) -> None:
        """Keep it; whoever reads the file meanwhile sees all of it or nothing of it."""
        row = {
            "agreed": standing.agreed,
            "total": standing.total,
            "fooled": standing.fooled,
            "cost_nano": standing.cost,
        }
        rows = {**self._rows(), key: row}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        fresh.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        fresh.replace(self._path)

    def _rows(self) -> dict[str, Any]:
        try:
            rows = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return rows if isinstance(rows, dict) else {}
