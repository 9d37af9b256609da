"""Cell store: graded answers in the file of eval results, each written as soon as it is graded."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from evals.cells import Question, generation_key
from evals.evalfile import EvalFile, Transaction, insert
from evals.judgestore import JudgeStore
from evals.report import ItemOutcome
from farthing.money import Nano

_COLUMNS: Final = (
    "tier, item_hash, score, reason, model, fingerprint, cost_nano, seconds, finish_reason, cache, output_sha256,"
    " output, flaw, made_ns"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """An answer whose text was kept, so that another grader can grade it; `outcome` has the former grade."""

    outcome: ItemOutcome
    text: str
    tool_calls: tuple[Mapping[str, Any], ...]


class CellStore(EvalFile):
    """Cells under one path, made if missing. Synchronous; one thread at a time; close it. Each write is on disk for
    every other process, and survives this one's death, before the call returns."""

    def judges(self, *, now_ns: int, oldest_ns: int) -> JudgeStore:
        """What judges have shown since `oldest_ns`."""
        return JudgeStore(self._database, now_ns=now_ns, oldest_ns=oldest_ns)

    def since(self, test_key: str) -> int | None:
        """From when on (wall ns) answers count for the test; None where it never began."""
        row = self._database.execute("SELECT since_ns FROM tests WHERE test_key = ?", (test_key,)).fetchone()
        return None if row is None else int(row[0])

    def begin(self, test_key: str, *, task: str, tier: str, suite: str, since_ns: int) -> None:
        """Begin a test, or begin it anew: older answers do not count for it."""
        row = {"test_key": test_key, "task": task, "tier": tier, "suite": suite, "since_ns": since_ns}
        with Transaction(self._database) as database:
            database.execute("DELETE FROM tests WHERE test_key = ?", (test_key,))
            insert(database, "tests", [row])

    def find(self, question: Question, since_ns: int, *, with_text: bool = False) -> ItemOutcome | None:
        """The first graded answer since then: a later one would be a second draw. `with_text`: of those whose text was
        kept."""
        row = self._database.execute(
            f"SELECT {_COLUMNS} FROM cells WHERE request_key = ? AND grade_key = ? AND made_ns >= ?"
            " AND (output IS NOT NULL OR NOT ?) ORDER BY made_ns LIMIT 1",
            (question.request_key, question.grade_key, since_ns, with_text),
        ).fetchone()
        return None if row is None else _outcome(row)

    def text(self, question: Question, since_ns: int) -> Text | None:
        """The first answer since then whose text was kept, however it was graded."""
        row = self._database.execute(
            f"SELECT {_COLUMNS}, tool_calls FROM cells WHERE request_key = ? AND made_ns >= ? AND output IS NOT NULL"
            " ORDER BY made_ns LIMIT 1",
            (question.request_key, since_ns),
        ).fetchone()
        if row is None:
            return None
        *cells, calls = row
        outcome = _outcome(tuple(cells))
        return Text(outcome=outcome, text=outcome.output, tool_calls=tuple(json.loads(calls or "[]")))

    def keep(
        self,
        question: Question,
        outcome: ItemOutcome,
        *,
        run_id: str,
        text: str | None,
        tool_calls: tuple[Mapping[str, Any], ...] = (),
    ) -> None:
        """Keep a graded answer; `text` None: only its digest."""
        row = _row(question, outcome, run_id) | {
            "output": text,
            "tool_calls": json.dumps(tool_calls) if text is not None and tool_calls else None,
        }
        with Transaction(self._database) as database:
            insert(database, "cells", [row], or_ignore=True)

    def note_paid(self, run_id: str, now_ns: int, spent: Nano) -> None:
        """What a run has paid in all by now."""
        with Transaction(self._database) as database:
            database.execute("INSERT OR REPLACE INTO paid VALUES (?, ?, ?)", (run_id, now_ns, spent))

    def spent(self, run_prefix: str, since_ns: int) -> Nano:
        """What runs whose id begins so have paid, of those that paid something since then, also where they did not come
        to their end."""
        pattern = run_prefix.replace("*", "[*]").replace("?", "[?]") + "*"
        (spent,) = self._database.execute(
            "SELECT coalesce(sum(cost_nano), 0) FROM paid WHERE paid_ns >= ? AND run_id GLOB ?", (since_ns, pattern)
        ).fetchone()
        return Nano(spent)

    def forget(self, before_ns: int) -> int:
        """Remove cells that were made before then; how many they were."""
        with Transaction(self._database) as database:
            return database.execute("DELETE FROM cells WHERE made_ns < ?", (before_ns,)).rowcount


def _row(question: Question, outcome: ItemOutcome, run_id: str) -> dict[str, Any]:
    return {
        "request_key": question.request_key,
        "grade_key": question.grade_key,
        "made_ns": outcome.made_ns,
        "generation_key": generation_key(question.request_key, outcome.model, outcome.fingerprint),
        "run_id": run_id,
        "tier": outcome.tier,
        "item_hash": outcome.item_hash,
        "score": outcome.score,
        "reason": outcome.reason,
        "model": outcome.model,
        "fingerprint": outcome.fingerprint,
        "cost_nano": outcome.cost,
        "seconds": outcome.seconds,
        "finish_reason": outcome.finish_reason,
        "cache": outcome.cache,
        "output_sha256": outcome.output_sha256,
        "flaw": outcome.flaw,
    }


def _outcome(row: tuple[Any, ...]) -> ItemOutcome:
    (tier, item, score, reason, model, fingerprint, cost, seconds, finish, cache, sha256, output, flaw, made_ns) = row
    return ItemOutcome(
        item_hash=item,
        tier=tier,
        score=score,
        reason=reason,
        model=model,
        fingerprint=fingerprint,
        cost=Nano(cost),
        seconds=seconds,
        finish_reason=finish,
        cache=cache,
        output_sha256=sha256,
        output=output or "",
        flaw=flaw,
        made_ns=made_ns,
        is_kept=True,
    )
