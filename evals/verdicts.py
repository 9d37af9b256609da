"""Verdicts: from the outcomes of one tier to pass, fail or undecided, by a point estimate."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, sqrt
from typing import Final

from evals.report import ItemOutcome
from evals.suite import Item
from farthing.routing import Verdict

RULE: Final = "point-estimate/1"
ITEMS_MIN: Final = 10
EMPTY_MAX: Final = 0.2
"""Share of empty outputs from which a run says more about the wiring than about the model."""
ALIKE_MAX: Final = 0.5
"""Share of different prompts that one free-text output may answer before a pass is void."""
Z95: Final = 1.959964


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict, one phrase why, the mean score and its 95% Wilson interval."""

    verdict: Verdict
    reason: str
    score: float
    low: float
    high: float


def decide(items: Sequence[Item], outcomes: Sequence[ItemOutcome], *, bar: float) -> Decision:
    """The verdict on one tier; `items` are those that were planned.

    Pass: every planned item was graded, there are at least 10, and the mean score reaches the bar. Fail: the mean is
    below the bar. Undecided: an item is missing, there are too few, more than a fifth of the outputs are empty, or a
    pass would rest on one free-text output given to most prompts.
    """
    scores = [outcome.score for outcome in outcomes if outcome.score is not None]
    score = fsum(scores) / len(scores) if scores else 0.0
    low, high = wilson(score, len(scores))
    verdict, reason = _verdict(items, outcomes, score=score, bar=bar)
    return Decision(verdict=verdict, reason=reason, score=score, low=low, high=high)


def wilson(share: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a share of n; (0, 1) for none. For scores between 0 and 1 it is conservative."""
    if n == 0:
        return 0.0, 1.0
    spread = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    centre, scale = share + z * z / (2 * n), 1 + z * z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def _verdict(
    items: Sequence[Item], outcomes: Sequence[ItemOutcome], *, score: float, bar: float
) -> tuple[Verdict, str]:
    graded = [outcome for outcome in outcomes if outcome.score is not None]
    if len(graded) < len(items):
        return Verdict.UNDECIDED, f"only {len(graded)} of {len(items)} items were answered{_errors(outcomes)}"
    if len(items) < ITEMS_MIN:
        return Verdict.UNDECIDED, f"{len(items)} items are too few: a verdict needs {ITEMS_MIN}"
    empty = sum(outcome.output_sha256 == "" for outcome in graded)
    if empty > EMPTY_MAX * len(graded):
        return Verdict.UNDECIDED, f"invalid: {empty} of {len(graded)} outputs are empty"
    if score < bar:
        return Verdict.FAIL, f"scored {score:.3f}, below the bar of {bar:.3f}"
    alike = most_alike(items, graded)
    if alike > ALIKE_MAX:
        return Verdict.UNDECIDED, f"invalid: one output answers {alike:.0%} of the prompts"
    return Verdict.PASS, f"scored {score:.3f} of the bar of {bar:.3f}"


def _errors(outcomes: Sequence[ItemOutcome]) -> str:
    """The most frequent error, for the reader of an incomplete run."""
    codes = Counter(outcome.error for outcome in outcomes if outcome.error)
    return "".join(f" ({count} times {code})" for code, count in codes.most_common(1))


def most_alike(items: Sequence[Item], outcomes: Sequence[ItemOutcome]) -> float:
    """The greatest share of free-text items that got one and the same output.

    Items that expect one of a few labels do not count: their answers repeat by nature, and the loader has made sure
    that no constant label reaches the bar.
    """
    free = {item.hash: item for item in items if not any(check.type == "label" for check in item.assertions)}
    by_output: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for outcome in outcomes:
        if outcome.item_hash in free and outcome.output_sha256:
            prompt = tuple(message["content"] for message in free[outcome.item_hash].messages)
            by_output[outcome.output_sha256].add(prompt)
    most = max(map(len, by_output.values()), default=0)
    return most / len(free) if most > 1 else 0.0
