"""Verdicts: whether the answers of a run say something about the model at all, before anything is concluded."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import fsum
from typing import Final

from evals.jsonchecks import read_json
from evals.report import ItemOutcome
from evals.suite import Assertion, Item

FLAWED_MAX: Final = 0.2
"""Share of empty or unparseable outputs from which a run says more about the wiring than about the model."""
ALIKE_MAX: Final = 0.5
"""Share of different prompts that one free-text output may answer before a pass is void."""
JSON_CHECKS: Final = frozenset({"is-json"})
CALL_CHECKS: Final = frozenset({"is-valid-openai-tools-call", "tool-call"})
_FLAWS: Final = (
    ("empty", "empty"),
    ("unparseable", "not the JSON that was asked for"),
    ("uncalled", "without the call of a tool that was asked for"),
)


def broken(outcomes: Iterable[ItemOutcome]) -> str:
    """Why nothing can be concluded from these answers, neither a pass nor a fail; empty where something can."""
    graded = [outcome for outcome in outcomes if outcome.score is not None]
    for flaw, told in _FLAWS:
        count = sum(outcome.flaw == flaw for outcome in graded)
        if count > FLAWED_MAX * len(graded):
            return f"invalid: {count} of {len(graded)} outputs are {told}"
    return ""


def monotonous(items: Sequence[Item], outcomes: Iterable[ItemOutcome]) -> str:
    """Why a pass would be void: one free-text output given to most prompts; empty where it would not."""
    alike = most_alike(items, [outcome for outcome in outcomes if outcome.score is not None])
    return f"invalid: one output answers {alike:.0%} of the prompts" if alike > ALIKE_MAX else ""


def mean_score(outcomes: Iterable[ItemOutcome]) -> float:
    """The mean over those that were graded; 0 for none."""
    scores = [outcome.score for outcome in outcomes if outcome.score is not None]
    return fsum(scores) / len(scores) if scores else 0.0


def most_alike(items: Sequence[Item], outcomes: Sequence[ItemOutcome]) -> float:
    """The greatest share of free-text items that got one and the same output, of those that were answered.

    Items that expect one of a few labels do not count: their answers repeat by nature, and the loader has made sure
    that no constant label reaches the bar.
    """
    free = {item.hash: item for item in items if not any(check.type == "label" for check in item.assertions)}
    seen = [outcome for outcome in outcomes if outcome.item_hash in free]
    by_output: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for outcome in seen:
        if outcome.output_sha256:
            prompt = tuple(message["content"] for message in free[outcome.item_hash].messages)
            by_output[outcome.output_sha256].add(prompt)
    most = max(map(len, by_output.values()), default=0)
    return most / len(seen) if most > 1 else 0.0


def flaw_of(item: Item, text: str, tool_calls: Sequence[object]) -> str:
    """What is wrong with an answer as an answer: `empty`, `unparseable` where JSON was asked for, `uncalled` where a
    tool was to be called and none is, or nothing.

    gpt-4o-2024-08-06 scored .15 with its tools in the prompt and .92 with tools in the request (HuanzhiMao/BFCL-Result
    b4adfc9): a model that calls nothing says that it was asked in a mode that it does not know.
    """
    if tool_calls:
        return ""
    if not text.strip():
        return "empty"
    checks = [each for one in item.assertions for each in one.each() if not each.negated]
    if any(_wants_call(check) for check in checks):
        return "uncalled"
    wants_json = any(check.type in JSON_CHECKS for check in checks)
    return "unparseable" if wants_json and not read_json(text)[0] else ""


def _wants_call(check: Assertion) -> bool:
    """Not where the wanted calls are none, so that any would be a fault."""
    return check.type in CALL_CHECKS and check.value not in ([], "[]")
