"""Scorecards: the SQLite file in which eval runs, their items and their verdicts are kept."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from evals.evalfile import HERE, EvalFile, Transaction, insert
from evals.report import EvalReport, ItemOutcome, Role
from farthing.money import Nano
from farthing.routing import Demotion, Scorecard, Verdict

_LISTS: Final = ("models", "fingerprints")
_CARD: Final = ", ".join("cost_nano" if field.name == "cost" else field.name for field in fields(Scorecard))
LATEST: Final = (HERE / "latest.sql").read_text(encoding="utf-8").replace("$card", _CARD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A run that somebody asked for: why, and when (wall ns)."""

    task: str
    tier: str
    reason: str
    asked_ns: int


class ScorecardStore(EvalFile):
    """Eval results under one path, made if missing. Synchronous; one thread at a time; close it.

    Several processes may share the file: a card added by one is seen by the others at once.
    """

    def add_run(self, report: EvalReport) -> None:
        """Keep a run: its items and one card for each tier, in one transaction.

        Raises sqlite3.IntegrityError if the run id is taken.
        """
        with Transaction(self._database) as database:
            insert(database, "runs", [_run_row(report)])
            for result in report.tiers:
                rows = [_item_row(report.run_id, number, outcome) for number, outcome in enumerate(result.outcomes)]
                insert(database, "items", rows)
            cards = zip(report.scorecards(), report.tiers, strict=True)
            rows = [_card_row(card, result.role, result.planned) for card, result in cards]
            insert(database, "scorecards", rows)

    def add(self, card: Scorecard) -> None:
        """Keep a card that came from elsewhere."""
        with Transaction(self._database) as database:
            insert(database, "scorecards", [_card_row(card, Role.CANDIDATE, card.items)])

    def latest(self, task: str | None = None) -> tuple[Scorecard, ...]:
        """The newest decided card of each (task, tier), or the newest undecided one where none was ever decided."""
        return tuple(self._cards(LATEST, {"task": task}))

    def newest(self, task: str, tier: str) -> tuple[Scorecard, ...]:
        """Every card of that tier for that task, the newest first."""
        text = f"SELECT {_CARD} FROM scorecards WHERE task = :task AND tier = :tier ORDER BY decided_ns DESC, id DESC"
        return tuple(self._cards(text, {"task": task, "tier": tier}))

    def _cards(self, statement: str, values: dict[str, Any]) -> Iterator[Scorecard]:
        with closing(self._database.cursor()) as cursor:
            cursor.row_factory = sqlite3.Row
            yield from map(_card, cursor.execute(statement, values))

    def version(self) -> int:
        """A number that rises whenever a card or a demotion is added, by whatever process; a few microseconds."""
        cards, demotions = self._database.execute(
            "SELECT (SELECT coalesce(max(id), 0) FROM scorecards), (SELECT coalesce(max(id), 0) FROM demotions)"
        ).fetchone()
        return int(cards) + int(demotions)

    def demote(self, demotion: Demotion, *, asks: bool = False) -> None:
        """Keep that a tier lost a task, and with it (`asks`) that a run is asked for: both or neither. Those who look
        at `version` see it at once. It begins after the tier's newest card, whatever the clock said when that came."""
        with Transaction(self._database) as database:
            (newest_ns,) = database.execute(
                "SELECT coalesce(max(decided_ns), 0) FROM scorecards WHERE task = ? AND tier = ?",
                (demotion.task, demotion.tier),
            ).fetchone()
            late_ns = max(0, newest_ns + 1 - demotion.at_ns)
            row = replace(demotion, at_ns=demotion.at_ns + late_ns, until_ns=demotion.until_ns + late_ns)
            insert(database, "demotions", [_demotion_row(row)])
            if asks:
                _ask_for(database, demotion.task, demotion.tier, demotion.detail, demotion.at_ns)

    def demotions(self, task: str | None = None) -> tuple[Demotion, ...]:
        """The newest demotion of each (task, tier)."""
        rows = self._database.execute(
            "SELECT task, tier, max(at_ns), until_ns, cause, detail, suite_hash, models FROM demotions"
            " WHERE :task IS NULL OR task = :task GROUP BY task, tier ORDER BY task, tier",
            {"task": task},
        )
        return tuple(_demotion(row) for row in rows)

    def enqueue(self, task: str, tier: str, *, reason: str, asked_ns: int) -> None:
        """Ask for a run; where one is asked for already, the first reason stays."""
        with Transaction(self._database) as database:
            _ask_for(database, task, tier, reason, asked_ns)

    def queue(self) -> tuple[Asked, ...]:
        """Runs that were asked for and are not done, the oldest first."""
        rows = self._database.execute(
            "SELECT task, tier, reason, asked_ns FROM queue WHERE done_ns IS NULL ORDER BY id"
        )
        return tuple(
            Asked(task=task, tier=tier, reason=reason, asked_ns=asked_ns) for task, tier, reason, asked_ns in rows
        )

    def dequeue(self, task: str, tier: str, *, done_ns: int) -> None:
        """What was asked for is done."""
        with Transaction(self._database) as database:
            database.execute(
                "UPDATE queue SET done_ns = ? WHERE task = ? AND tier = ? AND done_ns IS NULL", (done_ns, task, tier)
            )

    def take_turn(self, name: str, *, now_ns: int, pause_ns: int) -> bool:
        """True for the one that comes first after so long a pause, of all processes that ask."""
        row = self._database.execute("SELECT begun_ns FROM turns WHERE name = ?", (name,)).fetchone()
        if row is not None and now_ns - row[0] < pause_ns:
            return False
        with Transaction(self._database) as database:
            taken = database.execute(
                "INSERT INTO turns (name, begun_ns) VALUES (:name, :now) ON CONFLICT (name) DO UPDATE"
                " SET begun_ns = :now WHERE :now - begun_ns >= :pause",
                {"name": name, "now": now_ns, "pause": pause_ns},
            )
            return taken.rowcount == 1

    def items(self, run_id: str) -> tuple[ItemOutcome, ...]:
        """Every outcome of a run, tier by tier in the order in which they came."""
        rows = self._database.execute(
            "SELECT item_hash, tier, score, reason, model, cost_nano, seconds, finish_reason, cache,"
            " output_sha256, output, error, fingerprint, flaw, made_ns FROM items"
            " WHERE run_id = ? ORDER BY tier, position",
            (run_id,),
        )
        return tuple(_outcome(row) for row in rows)


def _ask_for(database: sqlite3.Connection, task: str, tier: str, reason: str, asked_ns: int) -> None:
    database.execute(
        "INSERT INTO queue (task, tier, reason, asked_ns) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (task, tier, reason, asked_ns),
    )


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
        "valid_until_ns": min(
            (result.valid_until_ns for result in report.tiers if result.valid_until_ns is not None), default=None
        ),
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
        "fingerprint": outcome.fingerprint,
        "flaw": outcome.flaw,
        "made_ns": outcome.made_ns,
    }


def _card_row(card: Scorecard, role: Role, planned: int) -> dict[str, Any]:
    row = {field.name: getattr(card, field.name) for field in fields(card)}
    row["cost_nano"] = row.pop("cost")
    lists = {name: json.dumps(row[name]) for name in _LISTS}
    return row | lists | {"verdict": card.verdict.value, "role": role.value, "planned": planned}


def _card(row: sqlite3.Row) -> Scorecard:
    values = dict(row)
    lists = {name: tuple(json.loads(values[name])) for name in _LISTS}
    verdict, cost = Verdict(values["verdict"]), Nano(values.pop("cost_nano"))
    return Scorecard(**values | lists | {"verdict": verdict, "cost": cost})


def _demotion_row(demotion: Demotion) -> dict[str, Any]:
    return {
        "task": demotion.task,
        "tier": demotion.tier,
        "at_ns": demotion.at_ns,
        "until_ns": demotion.until_ns,
        "cause": demotion.cause,
        "detail": demotion.detail,
        "suite_hash": demotion.suite_hash,
        "models": json.dumps(demotion.models),
    }


def _demotion(row: tuple[Any, ...]) -> Demotion:
    (task, tier, at_ns, until_ns, cause, detail, suite_hash, models) = row
    return Demotion(
        task=task,
        tier=tier,
        at_ns=at_ns,
        until_ns=until_ns,
        cause=cause,
        detail=detail,
        suite_hash=suite_hash,
        models=tuple(json.loads(models)),
    )


def _outcome(row: tuple[Any, ...]) -> ItemOutcome:
    (item_hash, tier, score, reason, model, cost, seconds, finish, cache, sha256, output, error, *rest) = row
    fingerprint, flaw, made_ns = rest
    return ItemOutcome(
        item_hash=item_hash,
        tier=tier,
        score=score,
        reason=reason,
        model=model,
        cost=Nano(cost),
        seconds=seconds,
        finish_reason=finish,
        cache=cache,
        output_sha256=sha256,
        output=output,
        error=error,
        fingerprint=fingerprint,
        flaw=flaw,
        made_ns=made_ns,
    )
