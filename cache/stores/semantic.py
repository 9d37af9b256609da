"""The semantic cache in SQLite: prompts with vector and answer, and what was learned about them."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, Self

from cache.calibration import Evidence
from cache.published import Domains, DomainState, Totals, latest_states
from cache.rows import DomainRow, Sample, SemanticRow
from cache.stores.file import connect, open_file

_BUSY_S: Final = 0.2
_SCHEMA: Final = "semantic.sql"

_INSERT: Final = "INSERT INTO questions (scope, prompt, vector, answer, writer, expires_ns) VALUES (?, ?, ?, ?, ?, ?)"
_NEWER: Final = """
    SELECT id, vector FROM questions WHERE scope = ? AND id > ? AND expires_ns > ? ORDER BY id LIMIT ?
"""
_IDS: Final = "SELECT id FROM questions WHERE scope = ? AND id <= ? AND expires_ns > ? ORDER BY id"
_TOKEN: Final = "SELECT token FROM snapshots WHERE scope = ?"
_ALIVE: Final = """
    SELECT id, prompt, answer, writer, admitted FROM questions WHERE id = ? AND scope = ? AND expires_ns > ?
"""
_ADMIT: Final = "UPDATE questions SET admitted = 1 WHERE id = ?"
_EXPIRED: Final = "SELECT id, scope FROM questions WHERE expires_ns <= ? ORDER BY expires_ns LIMIT ?"
_OLDEST: Final = """
    SELECT id FROM questions WHERE scope = ? ORDER BY id DESC LIMIT -1 OFFSET ?
"""
_KEEP: Final = """
    INSERT INTO samples (domain, entry, evidence, same, weight, served, would, kept) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_SAMPLES: Final = """
    SELECT id, entry, evidence, same, weight, served, would, kept FROM samples
    WHERE domain = ? AND id > ? ORDER BY id DESC LIMIT ?
"""
_FORGET: Final = """
    DELETE FROM samples WHERE domain = ? AND id <= (
        SELECT id FROM samples WHERE domain = ? ORDER BY id DESC LIMIT 1 OFFSET ?
    )
"""
_LOAD: Final = "SELECT feature, state, watermark, hit_share, calibrated, stopped FROM domains WHERE domain = ?"
_SAVE: Final = """
    INSERT OR REPLACE INTO domains (domain, feature, state, watermark, hit_share, calibrated, stopped)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_TALLY: Final = """
    INSERT INTO totals (feature, name, value) VALUES (?, ?, ?)
    ON CONFLICT (feature, name) DO UPDATE SET value = value + excluded.value
"""
_TOTALS: Final = "SELECT feature, name, value FROM totals"
_DOMAINS: Final = "SELECT feature, count(*), sum(calibrated), sum(stopped) FROM domains GROUP BY feature"
_STATES: Final = """
    SELECT domain, calibrated, stopped,
           (SELECT count(*) FROM samples WHERE samples.domain = domains.domain AND same IS NOT NULL)
    FROM domains ORDER BY watermark
"""


class SQLiteSemanticRows:
    """Ports `SemanticRows` and `EvidenceRows`. Every method raises sqlite3.Error where the file cannot be used."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or make the file; begins anew where it is damaged. Raises OSError if it cannot be written."""
        open_file(path, _SCHEMA)
        return cls(connect(path, busy_s=_BUSY_S))

    def insert(self, scope: bytes, prompt: str, vector: bytes, answer: bytes, *, writer: str, expires_ns: int) -> int:
        """See the port."""
        values = (scope, prompt, vector, answer, writer, expires_ns)
        return int(self._connection.execute(_INSERT, values).lastrowid or 0)

    def newer(self, scope: bytes, than: int, now_ns: int, limit: int) -> list[tuple[int, bytes]]:
        """See the port."""
        return self._connection.execute(_NEWER, (scope, than, now_ns, limit)).fetchall()

    def ids(self, scope: bytes, upto: int, now_ns: int) -> list[int]:
        """See the port."""
        return [row_id for (row_id,) in self._connection.execute(_IDS, (scope, upto, now_ns)).fetchall()]

    def token(self, scope: bytes) -> bytes | None:
        """See the port."""
        row = self._connection.execute(_TOKEN, (scope,)).fetchone()
        return None if row is None else bytes(row[0])

    def mark(self, scope: bytes, token: bytes | None) -> None:
        """See the port."""
        if token is None:
            self._connection.execute("DELETE FROM snapshots WHERE scope = ?", (scope,))
        else:
            self._connection.execute("INSERT OR REPLACE INTO snapshots (scope, token) VALUES (?, ?)", (scope, token))

    def alive(self, scope: bytes, ids: Iterable[int], now_ns: int) -> dict[int, SemanticRow]:
        """See the port."""
        found: dict[int, SemanticRow] = {}
        for wanted in ids:
            rows = self._connection.execute(_ALIVE, (wanted, scope, now_ns)).fetchall()
            for row_id, prompt, answer, writer, admitted in rows:
                found[row_id] = SemanticRow(row_id, prompt, answer, writer, bool(admitted))
        return found

    def admit(self, row_id: int) -> None:
        """See the port."""
        self._connection.execute(_ADMIT, (row_id,))

    def expired(self, now_ns: int, limit: int) -> list[tuple[int, bytes]]:
        """See the port."""
        return self._connection.execute(_EXPIRED, (now_ns, limit)).fetchall()

    def beyond(self, scope: bytes, keep: int) -> list[int]:
        """See the port."""
        return [row_id for (row_id,) in self._connection.execute(_OLDEST, (scope, keep)).fetchall()]

    def delete(self, ids: Sequence[int]) -> None:
        """See the port."""
        if not ids:
            return
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:
            self._connection.executemany("DELETE FROM questions WHERE id = ?", [(row_id,) for row_id in ids])

    # --- evidence --------------------------------------------------------------------------------

    def keep(self, domain: str, sample: Sample) -> None:
        """See the port."""
        evidence = json.dumps(sample.evidence)
        facts = (sample.same, sample.weight, sample.served, sample.would, sample.kept)
        self._connection.execute(_KEEP, (domain, sample.entry, evidence, *facts))

    def samples(self, domain: str, than: int, limit: int) -> list[tuple[int, Sample]]:
        """See the port."""
        found = self._connection.execute(_SAMPLES, (domain, than, limit)).fetchall()
        return [(row[0], _sample(*row[1:])) for row in reversed(found)]

    def forget(self, domain: str, keep: int) -> None:
        """See the port."""
        self._connection.execute(_FORGET, (domain, domain, keep))

    def load(self, domain: str) -> DomainRow | None:
        """See the port."""
        row = self._connection.execute(_LOAD, (domain,)).fetchone()
        if row is None:
            return None
        feature, state, watermark, hit_share, calibrated, stopped = row
        return DomainRow(
            feature=feature,
            state=state,
            watermark=watermark,
            hit_share=hit_share,
            calibrated=bool(calibrated),
            stopped=bool(stopped),
        )

    def save(self, domain: str, row: DomainRow) -> None:
        """See the port."""
        values = (domain, row.feature, row.state, row.watermark, row.hit_share, row.calibrated, row.stopped)
        self._connection.execute(_SAVE, values)

    def tally(self, feature: str, sums: Mapping[str, float]) -> None:
        """See the port."""
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:
            self._connection.executemany(_TALLY, [(feature, name, value) for name, value in sums.items()])

    def close(self) -> None:
        """See the port."""
        self._connection.close()


def _sample(
    entry: int, evidence: str, same: int | None, weight: float, served: int, would: int, kept: int | None
) -> Sample:
    return Sample(
        entry=entry,
        evidence=Evidence(*json.loads(evidence)),
        same=None if same is None else bool(same),
        weight=weight,
        served=bool(served),
        would=bool(would),
        kept=kept,
    )


def read_published(path: Path) -> tuple[Totals, Domains]:
    """What `cache.published.report` is made of: sums by feature and name; domains, calibrated and stopped ones by
    feature. Empty where there is no file. Raises sqlite3.Error where it cannot be read; may run in any thread."""
    if not path.exists():
        return {}, {}
    with closing(connect(path, busy_s=_BUSY_S)) as connection:
        totals: dict[str, dict[str, float]] = {}
        for feature, name, value in connection.execute(_TOTALS).fetchall():
            totals.setdefault(feature, {})[name] = value
        domains = {feature: (all_, ready, stopped) for feature, all_, ready, stopped in connection.execute(_DOMAINS)}
    return totals, domains


def read_domains(path: Path) -> list[DomainState]:
    """How each domain stands, as it was saved last; of several versions of embedder or verifier the one with the latest
    sample. Empty where there is no file. Raises sqlite3.Error where it cannot be read; may run in any thread."""
    if not path.exists():
        return []
    with closing(connect(path, busy_s=_BUSY_S)) as connection:
        return latest_states(connection.execute(_STATES).fetchall())
