"""Gate: promote, fail or undecided, from paired scores, valid however often one looks.

One betting e-process for each thing that a candidate has to show: that it is not worse than the reference by `margin`
or more, that its mean score is above `bar`, or both. It is promoted where every one of them reaches candidates / alpha.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, fsum, log
from typing import Final

import numpy as np

from evals.betting import Side, Wealth
from farthing.routing import Verdict

RULE: Final = "betting/1"
ITEMS_MIN: Final = 20
ALPHA: Final = 0.05
ALPHA_FAIL: Final = 0.10
LOG_MOST: Final = 700.0
"""Logarithms are cut off here: e to more than that is no float."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a candidate must show, and how sure that has to be.

    `bar` is the floor of its mean score (None: none), `margin` the loss against the reference that is still accepted
    (None: they are not compared); one of them is given. `candidates` are those of the task: any of them may be promoted
    wrongly with probability `alpha` at most, all taken together. A fail is wrong with probability `alpha_fail` at most.
    `items` is how many there are to be at most.
    """

    items: int
    bar: float | None = None
    margin: float | None = None
    candidates: int = 1
    alpha: float = ALPHA
    alpha_fail: float = ALPHA_FAIL
    items_min: int = ITEMS_MIN

    @property
    def needed(self) -> float:
        """The e-value from which a candidate is promoted."""
        return self.candidates / self.alpha


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Where a candidate stands after `items` items. Scores in [0, 1].

    `e_value` is the smaller one of its tests' (with `e_needed` it is promoted), `e_fail` the greater one of those
    against it. `score` is its mean, `low` to `high` an interval for the true mean that is valid at 95% at all times
    together; `difference` the mean of candidate minus reference with its interval, None where they are not compared.
    """

    verdict: Verdict
    reason: str
    items: int
    e_value: float
    e_needed: float
    e_fail: float
    score: float
    low: float = 0.0
    high: float = 1.0
    difference: float | None = None
    difference_low: float = -1.0
    difference_high: float = 1.0


class Gate:
    """One candidate under test: tell it each item's scores in the suite's own order, and ask where it stands.

    Items of one document go in as one, by their mean: whatever hangs together is one piece of evidence.
    """

    def __init__(self, rule: Rule) -> None:
        if rule.bar is None and rule.margin is None:
            raise ValueError("a rule has a bar, a margin or both")
        self.rule = rule
        self._tests = [_Test(bound) for bound in _bounds(rule)]
        self._scores: list[float] = []
        self._references: list[float] = []

    def see(self, score: float, reference: float | None = None) -> None:
        """One item more. `reference` is the reference's score on it, needed where there is a margin."""
        self._scores.append(score)
        if self.rule.margin is not None:
            if reference is None:
                raise ValueError("a margin needs the reference's score")
            self._references.append(reference)
            self._tests[0].see((1 + score - reference) / 2)
        if self.rule.bar is not None:
            self._tests[-1].see(score)

    @property
    def is_decided(self) -> bool:
        """True where a further item would not be asked."""
        return self.evidence().verdict is not Verdict.UNDECIDED or len(self._scores) >= self.rule.items

    def evidence(self) -> Evidence:
        """Where the candidate stands now."""
        count = len(self._scores)
        for_it = min(test.log_for for test in self._tests)
        against = max(test.log_against for test in self._tests)
        verdict = self._verdict(count, for_it, against)
        score = fsum(self._scores) / count if count else 0.0
        pairs = zip(self._scores, self._references, strict=False)
        return Evidence(
            verdict=verdict,
            reason=_reason(self.rule, verdict, count, _e(for_it), _e(against)),
            items=count,
            e_value=_e(for_it),
            e_needed=self.rule.needed,
            e_fail=_e(against),
            score=score,
            difference=fsum(c - r for c, r in pairs) / count if self._references else None,
        )

    def _verdict(self, count: int, for_it: float, against: float) -> Verdict:
        if count < self.rule.items_min:
            return Verdict.UNDECIDED
        if for_it >= log(self.rule.needed):
            return Verdict.PASS
        return Verdict.FAIL if against >= -log(self.rule.alpha_fail) else Verdict.UNDECIDED


def judge(rule: Rule, pairs: Iterable[tuple[float, float | None]]) -> Evidence:
    """Where a candidate stands after (its score, the reference's score) of items in the suite's order; those after a
    decision are not looked at."""
    gate = Gate(rule)
    for score, reference in pairs:
        gate.see(score, reference)
        if gate.is_decided:
            break
    return gate.evidence()


class _Test:
    """One hypothesis: both gamblers, for the candidate and against it."""

    def __init__(self, bound: float) -> None:
        self._up, self._down = Wealth(bound, Side.ABOVE), Wealth(bound, Side.BELOW)

    def see(self, value: float) -> None:
        values = np.array([value])
        self._up.see(values)
        self._down.see(values)

    @property
    def log_for(self) -> float:
        return float(self._up.log[0])

    @property
    def log_against(self) -> float:
        return float(self._down.log[0])


def _bounds(rule: Rule) -> list[float]:
    """The bound of each test: paired scores as (1 + candidate - reference) / 2, then the candidate's own."""
    paired = [] if rule.margin is None else [(1 - rule.margin) / 2]
    return paired if rule.bar is None else [*paired, rule.bar]


def _e(logarithm: float) -> float:
    return exp(min(logarithm, LOG_MOST))


def _reason(rule: Rule, verdict: Verdict, count: int, e_value: float, e_fail: float) -> str:
    if verdict is Verdict.PASS:
        return f"promoted: e-value {e_value:.3g} of {rule.needed:.3g} after {count} items"
    if verdict is Verdict.FAIL:
        return f"failed: e-value {e_fail:.3g} of {1 / rule.alpha_fail:.3g} against it after {count} items"
    if count < rule.items_min:
        return f"undecided: {count} items, a decision takes {rule.items_min}"
    return f"undecided: e-value {e_value:.3g} of {rule.needed:.3g} after {count} items"
