"""Judge store: what judges have shown, in the file of eval results."""

import sqlite3

from evals.evalfile import Transaction, insert
from evals.judges import Standing
from farthing.money import Nano


class JudgeStore:
    """Standings of judges that are no older than `oldest_ns`; new ones are made at `now_ns` (wall ns)."""

    def __init__(self, database: sqlite3.Connection, *, now_ns: int, oldest_ns: int) -> None:
        self._database, self._now_ns, self._oldest_ns = database, now_ns, oldest_ns

    def find(self, key: str) -> Standing | None:
        """The standing kept under the key."""
        row = self._database.execute(
            "SELECT agreed, total, fooled, cost_nano FROM judges WHERE standing_key = ? AND made_ns >= ?"
            " ORDER BY made_ns DESC LIMIT 1",
            (key, self._oldest_ns),
        ).fetchone()
        if row is None:
            return None
        agreed, total, fooled, cost = row
        return Standing(agreed=agreed, total=total, fooled=fooled, cost=Nano(cost))

    def keep(self, key: str, standing: Standing) -> None:
        """Keep it."""
        row = {
            "standing_key": key,
            "made_ns": self._now_ns,
            "agreed": standing.agreed,
            "total": standing.total,
            "fooled": standing.fooled,
            "cost_nano": standing.cost,
        }
        with Transaction(self._database) as database:
            insert(database, "judges", [row], or_ignore=True)
