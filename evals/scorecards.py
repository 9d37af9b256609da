"""Scorecards: the SQLite file in which eval runs, their items and their verdicts are kept."""

import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from evals.report import EvalReport, ItemOutcome, TierResult
from farthing.money import Nano
from farthing.routing import Scorecard, Verdict

BUSY_MS: Final = 5_000
HERE: Final = Path(__file__).parent
_TRIES: Final = 1_000
_PAUSE_S: Final = 0.005
LATEST: Final = (HERE / "latest.sql").read_text(encoding="utf-8")


class ScorecardStore:
    """Eval results under one path, made if missing. Synchronous; one thread at a time; close it.

    Several processes may share the file: a card added by one is seen by the others at once.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MS / 1000, check_same_thread=False)
        try:
            _keep_a_log(self._database)
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute("PRAGMA foreign_keys = ON")
            migrate(self._database)
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def add_run(self, report: EvalReport) -> None:
        """Keep a run: its items and one card for each tier, in one transaction.

        Raises sqlite3.IntegrityError if the run id is taken.
        """
        with _Transaction(self._database) as database:
            _insert(database, "runs", [_run_row(report)])
            for result in report.tiers:
                rows = [_item_row(report.run_id, number, outcome) for number, outcome in enumerate(result.outcomes)]
                _insert(database, "items", rows)
            cards = zip(report.scorecards(), report.tiers, strict=True)
            _insert(database, "scorecards", [_evidence(result) | _card_row(card) for card, result in cards])

    def add(self, card: Scorecard, *, reason: str = "recorded without its items") -> None:
        """Keep a card that came from elsewhere; its interval is unknown, so it is the widest."""
        unknown = {"role": "candidate", "reason": reason, "low": 0.0, "high": 1.0, "cost_nano": 0}
        with _Transaction(self._database) as database:
            _insert(database, "scorecards", [_card_row(card) | unknown | {"planned": card.items}])

    def latest(self, task: str | None = None) -> tuple[Scorecard, ...]:
        """The newest decided card of each (task, tier), or the newest undecided one where none was ever decided."""
        return tuple(_card(row) for row in self._database.execute(LATEST, {"task": task}))

    def version(self) -> int:
        """A number that rises whenever a card is added, by whatever process; a few microseconds."""
        (highest,) = self._database.execute("SELECT coalesce(max(id), 0) FROM scorecards").fetchone()
        return int(highest)

    def items(self, run_id: str) -> tuple[ItemOutcome, ...]:
        """Every outcome of a run, tier by tier in the order in which they came."""
        rows = self._database.execute(
            "SELECT item_hash, tier, score, reason, model, cost_nano, seconds, finish_reason, cache,"
            " output_sha256, output, error FROM items WHERE run_id = ? ORDER BY tier, position",
            (run_id,),
        )
        return tuple(_outcome(row) for row in rows)


def migrate(database: sqlite3.Connection) -> None:
    """Bring the file to the newest schema; migrations are numbered, and one that ran is never changed."""
    scripts = sorted((HERE / "migrations").glob("*.sql"))
    with _Transaction(database):
        (done,) = database.execute("PRAGMA user_version").fetchone()
        if done > len(scripts):
            raise sqlite3.DatabaseError(
                f"the eval results are at schema {done}, this Farthing knows {len(scripts)}: update Farthing"
            )
        for script in scripts[done:]:
            for statement in _statements(script.read_text(encoding="utf-8")):
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {len(scripts)}")


def _statements(script: str) -> list[str]:
    """The statements of a script: executescript() would commit the transaction around them."""
    return [statement for statement in script.split(";\n") if statement.strip()]


class _Transaction:
    """BEGIN IMMEDIATE, then COMMIT, or ROLLBACK on an error."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> sqlite3.Connection:
        self._database.execute("BEGIN IMMEDIATE")
        return self._database

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._database.execute("COMMIT" if kind is None else "ROLLBACK")


def _insert(database: sqlite3.Connection, table: str, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows; the table and its columns are named here in the code, never by a caller's data."""
    if rows:
        names = ", ".join(rows[0])
        marks = ", ".join(f":{name}" for name in rows[0])
        with closing(database.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)):
            pass


def _run_row(report: EvalReport) -> dict[str, Any]:
    return {
        "run_id": report.run_id,
        "suite": report.suite,
        "suite_hash": report.suite_hash,
        "task": report.task,
        "bar": report.bar,
        "rule": report.rule,
        "started_ns": report.started_ns,
        "decided_ns": report.decided_ns,
        "valid_until_ns": report.valid_until_ns,
        "cost_nano": report.cost,
        "stopped": report.stopped,
    }


def _item_row(run_id: str, position: int, outcome: ItemOutcome) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "tier": outcome.tier,
        "position": position,
        "item_hash": outcome.item_hash,
        "score": outcome.score,
        "reason": outcome.reason,
        "model": outcome.model,
        "cost_nano": outcome.cost,
        "seconds": outcome.seconds,
        "finish_reason": outcome.finish_reason,
        "cache": outcome.cache,
        "output_sha256": outcome.output_sha256,
        "output": outcome.output,
        "error": outcome.error,
    }


def _evidence(result: TierResult) -> dict[str, Any]:
    return {
        "role": result.role.value,
        "reason": result.reason,
        "low": result.low,
        "high": result.high,
        "planned": result.planned,
        "cost_nano": result.cost,
    }


def _card_row(card: Scorecard) -> dict[str, Any]:
    return {
        "run_id": card.run_id,
        "task": card.task,
        "tier": card.tier,
        "verdict": card.verdict.value,
        "score": card.score,
        "bar": card.bar,
        "items": card.items,
        "suite": card.suite,
        "suite_hash": card.suite_hash,
        "models": json.dumps(card.models),
        "decided_ns": card.decided_ns,
        "valid_until_ns": card.valid_until_ns,
    }


def _keep_a_log(database: sqlite3.Connection) -> None:
    """Turn the file to write-ahead logging. Who meets another process that writes is told at once, whatever its
    patience: two that waited for one another would wait for ever."""
    for _ in range(_TRIES):
        try:
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(_PAUSE_S)
        else:
            return
    database.execute("PRAGMA journal_mode = WAL")


def _card(row: tuple[Any, ...]) -> Scorecard:
    (task, tier, verdict, score, bar, items, suite, suite_hash, models, run_id, decided_ns, valid_until_ns) = row
    return Scorecard(
        task=task,
        tier=tier,
        verdict=Verdict(verdict),
        score=score,
        bar=bar,
        items=items,
        suite=suite,
        suite_hash=suite_hash,
        models=tuple(json.loads(models)),
        run_id=run_id,
        decided_ns=decided_ns,
        valid_until_ns=valid_until_ns,
    )


def _outcome(row: tuple[Any, ...]) -> ItemOutcome:
    (item_hash, tier, score, reason, model, cost, seconds, finish_reason, cache, sha256, output, error) = row
    return ItemOutcome(
        item_hash=item_hash,
        tier=tier,
        score=score,
        reason=reason,
        model=model,
        cost=Nano(cost),
        seconds=seconds,
        finish_reason=finish_reason,
        cache=cache,
        output_sha256=sha256,
        output=output,
        error=error,
    )
