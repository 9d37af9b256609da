"""Driftbook: what live answers showed, in the file of the eval results, so that all workers add to one evidence."""

import json
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, Final

from evals.drift import Promise, Watch
from evals.evalfile import Transaction, open_file
from evals.revisions import KEPT_MAX

QUIET_NS: Final = 86_400 * 10**9
"""After an alarm, the same series of the same pass raises none for a day: one that led to no demotion is known."""
_COLUMNS: Final = "task, tier, signal, basis, graded, total, evidence, wealth, promise, alarms, alarmed_ns"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Scores of a tier's answers, one after the other. `signal`: what was graded; `basis`: the pass that they count
    from, so that another pass begins anew; `promise`: what they are held to."""

    task: str
    tier: str
    signal: str
    basis: str
    promise: Promise


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a series has shown. `alarms` counts those of the tier's signal, over every basis; `alarmed_ns` is when the
    last one of this basis was, wall ns, 0 for none; `is_alarm`: there is one now."""

    task: str
    tier: str
    signal: str
    basis: str
    watch: Watch
    alarms: int = 0
    alarmed_ns: int = 0
    is_alarm: bool = False


class DriftBook:
    """Synchronous; may be used by several threads, and the file by several processes. Close it."""

    def __init__(self, path: Path) -> None:
        self._database = open_file(path)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._database.close()

    def add(self, series: Series, values: Sequence[float], *, now_ns: int) -> Standing:
        """Scores that came, in their order. Where they raise the alarm, the result shows the evidence for it, which is
        then used up; scores behind it are dropped, for they are those of a tier that is on its way out. One
        transaction. Raises sqlite3.Error."""
        with self._lock, Transaction(self._database) as database:
            had = self._find(database, series)
            watch = had.watch
            for value in values:
                watch = watch.see(value)
                if watch.alarms:
                    break
            found = replace(had, watch=watch)
            if watch.alarms:
                found = _alarmed(found, now_ns)
            _put(database, replace(found, watch=watch.begin_anew() if watch.alarms else watch), now_ns)
        return found

    def alarm(self, series: Series, *, now_ns: int) -> Standing:
        """An alarm of a signal that has no scores."""
        with self._lock, Transaction(self._database) as database:
            found = _alarmed(self._find(database, series), now_ns)
            _put(database, found, now_ns)
        return found

    def standings(self) -> tuple[Standing, ...]:
        """Every series, in the order of task and tier."""
        with self._lock:
            rows = self._database.execute(f"SELECT {_COLUMNS} FROM drift ORDER BY task, tier, signal").fetchall()
        return tuple(map(_standing, rows))

    def learn(self, task: str, tier: str, basis: str, texts: Iterable[str], *, now_ns: int) -> None:
        """Keep that revisions were seen; those of another basis are forgotten. At most 32 are kept."""
        with self._lock, Transaction(self._database) as database:
            database.execute("DELETE FROM revisions WHERE task = ? AND tier = ? AND basis <> ?", (task, tier, basis))
            database.executemany(
                "INSERT OR IGNORE INTO revisions (task, tier, basis, text, seen_ns) SELECT ?1, ?2, ?3, ?4, ?5"
                " WHERE (SELECT count(*) FROM revisions WHERE task = ?1 AND tier = ?2) < ?6",
                [(task, tier, basis, text, now_ns, KEPT_MAX) for text in texts],
            )

    def revisions(self, task: str, tier: str, basis: str) -> tuple[str, ...]:
        """Those that were seen since that pass."""
        with self._lock:
            rows = self._database.execute(
                "SELECT text FROM revisions WHERE task = ? AND tier = ? AND basis = ? ORDER BY text",
                (task, tier, basis),
            ).fetchall()
        return tuple(text for (text,) in rows)

    def _find(self, database: sqlite3.Connection, series: Series) -> Standing:
        """How the series stands; anew where another pass or another promise counts now."""
        row = database.execute(
            f"SELECT {_COLUMNS} FROM drift WHERE task = ? AND tier = ? AND signal = ?",
            (series.task, series.tier, series.signal),
        ).fetchone()
        had = None if row is None else _standing(row)
        if had is not None and had.basis == series.basis and had.watch.promise == series.promise:
            return had
        return Standing(
            task=series.task,
            tier=series.tier,
            signal=series.signal,
            basis=series.basis,
            watch=Watch(promise=series.promise),
            alarms=0 if had is None else had.alarms,
        )


def _alarmed(standing: Standing, now_ns: int) -> Standing:
    """The same with an alarm, unless there was one a short while ago."""
    if standing.alarmed_ns and now_ns - standing.alarmed_ns < QUIET_NS:
        return standing
    return replace(standing, alarms=standing.alarms + 1, alarmed_ns=now_ns, is_alarm=True)


def _put(database: sqlite3.Connection, standing: Standing, now_ns: int) -> None:
    database.execute(
        f"INSERT OR REPLACE INTO drift ({_COLUMNS}, updated_ns) VALUES ({', '.join('?' * 12)})",
        (*_row(standing), now_ns),
    )


def _row(standing: Standing) -> tuple[Any, ...]:
    watch = standing.watch
    return (
        *(standing.task, standing.tier, standing.signal, standing.basis, watch.graded, watch.total),
        *(json.dumps(watch.evidence), json.dumps(watch.wealth), json.dumps(astuple(watch.promise))),
        *(standing.alarms, standing.alarmed_ns),
    )


def _standing(row: tuple[Any, ...]) -> Standing:
    task, tier, signal, basis, graded, total, evidence, wealth, promise, alarms, alarmed_ns = row
    floor, margin, period = json.loads(promise)
    watch = Watch(
        promise=Promise(floor=floor, margin=margin, period=period),
        graded=graded,
        total=total,
        evidence=tuple(json.loads(evidence)),
        wealth=tuple(json.loads(wealth)),
    )
    return Standing(task=task, tier=tier, signal=signal, basis=basis, watch=watch, alarms=alarms, alarmed_ns=alarmed_ns)
