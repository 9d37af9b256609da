"""Export: the items of a run as promptfoo writes its results, for whoever reads those."""

from collections.abc import Sequence
from typing import Any

from evals.report import ItemOutcome
from farthing.money import usd_from_nano

VERSION = 3
"""Of promptfoo's results (promptfoo/promptfoo 5a4f420, EvaluateSummaryV3)."""


def as_promptfoo(run_id: str, outcomes: Sequence[ItemOutcome]) -> dict[str, Any]:
    """The run's items in promptfoo's words. An item succeeds with a score of 1; one without a grade is an error.

    Prompts and variables are in the suite alone, and output texts only where they were kept. What each tier used in
    tokens is in the ledger, under the run `eval-<run id>`, so `tokenUsage` is left out.
    """
    tests = {item: index for index, item in enumerate(dict.fromkeys(outcome.item_hash for outcome in outcomes))}
    results = [_result(outcome, tests[outcome.item_hash]) for outcome in outcomes]
    successes = sum(one["success"] for one in results)
    errors = sum(outcome.score is None for outcome in outcomes)
    return {
        "evalId": run_id,
        "results": {
            "version": VERSION,
            "results": results,
            "stats": {"successes": successes, "failures": len(results) - successes - errors, "errors": errors},
        },
    }


def _result(outcome: ItemOutcome, index: int) -> dict[str, Any]:
    success = outcome.score is not None and outcome.score >= 1
    score = outcome.score or 0.0
    result = {
        "promptIdx": 0,
        "testIdx": index,
        "testCase": {"metadata": {"item": outcome.item_hash}},
        "provider": {"id": f"tier/{outcome.tier}", "label": outcome.model or outcome.tier},
        "success": success,
        "score": score,
        "namedScores": {},
        "latencyMs": round(outcome.seconds * 1_000),
        "cost": float(usd_from_nano(outcome.cost)),
        "gradingResult": {"pass": success, "score": score, "reason": outcome.reason or outcome.error},
    }
    if outcome.output:
        result["response"] = {"output": outcome.output}
    return result | ({"error": outcome.error} if outcome.error else {})
