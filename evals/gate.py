"""Gate: promote, fail or undecided, from paired scores, valid however often one looks.

One betting e-process for each thing that a candidate has to show: that it is not worse than the reference by `margin`
or more, that its mean score is above `bar`, or both. It is promoted where every one of them reaches candidates / alpha.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum, log
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from evals.betting import ALL_ROWS, Floats, Rows, Side, TargetWealth, Wealth, e_value
from evals.intervals import confidence_sequence
from farthing.routing import Verdict

RULE: Final = "betting/2"
ITEMS_MIN: Final = 20
ALPHA: Final = 0.05
ALPHA_FAIL: Final = 0.10
EARLY: Final = 0.2
"""Share of the capital that bets without an eye on the end: it promotes early what is clearly good."""
HOPELESS: Final = 0.05
OPTIMISM: Final = 2.0
"""A candidate is given up where its chance is below HOPELESS even if it is two standard errors better than it looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a candidate must show, and how sure that has to be.

    `bar` is the floor of its mean score (None: none), `margin` the loss against the reference that is still accepted
    (None: they are not compared); one of them is given. `candidates` are those of the task: any of them may be promoted
    wrongly with probability `alpha` at most, all taken together. A fail is wrong with probability `alpha_fail` at most.
    `items` is how many there are at most, fixed before the first is seen. `gives_up`: stop, undecided, where a
    promotion has become unlikely; not for a tier that has the task now, of which one wants to know that it fails.
    """

    items: int
    bar: float | None = None
    margin: float | None = None
    candidates: int = 1
    alpha: float = ALPHA
    alpha_fail: float = ALPHA_FAIL
    items_min: int = ITEMS_MIN
    gives_up: bool = True

    @property
    def needed(self) -> float:
        """The e-value from which a candidate is promoted."""
        return self.candidates / self.alpha

    @property
    def bounds(self) -> tuple[float, ...]:
        """The bound of each test: of (1 + candidate - reference) / 2, then of the candidate's own score."""
        paired = () if self.margin is None else ((1 - self.margin) / 2,)
        return paired if self.bar is None else (*paired, self.bar)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Where a candidate stands after `items` items. Scores in [0, 1].

    `e_value` is the smallest of its tests' (with `e_needed` it is promoted), `e_fail` the greatest of those against
    it. `is_hopeless`: undecided, and not worth another item. `score` is its mean, `low` to `high` an interval for the
    true mean that is valid at 95% at all times together; `difference` the mean of candidate minus reference with its
    interval, None where they are not compared; `wins` and `losses` count the items on which it was better and worse.
    The intervals decide nothing.
    """

    verdict: Verdict
    reason: str
    items: int
    e_value: float
    e_needed: float
    e_fail: float
    is_hopeless: bool
    score: float
    low: float
    high: float
    difference: float | None = None
    difference_low: float = -1.0
    difference_high: float = 1.0
    wins: int = 0
    losses: int = 0


class Pace(NamedTuple):
    """How far a test has come: with `e_needed` the candidate is promoted."""

    items: int
    e_value: float
    e_needed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    """Where many candidates stand after as many items each: one entry for each of the rows asked for."""

    promoted: npt.NDArray[np.bool_]
    failed: npt.NDArray[np.bool_]
    hopeless: npt.NDArray[np.bool_]
    log_for: Floats
    log_against: Floats


class Trials:
    """The tests of `rows` independent candidates under one rule, that see their items in step."""

    def __init__(self, rule: Rule, rows: int = 1) -> None:
        if not rule.bounds:
            raise ValueError("a rule has a bar, a margin or both")
        self.rule = rule
        self.seen = 0
        self._tests = [_Test(bound, rule, rows) for bound in rule.bounds]

    def see(self, scores: Floats, references: Floats | None = None, rows: Rows = ALL_ROWS) -> None:
        """One item more of these rows: their scores on it, and the reference's where there is a margin."""
        tests = list(self._tests)
        if self.rule.margin is not None:
            if references is None:
                raise ValueError("a margin needs the reference's score")
            tests.pop(0).see((1 + scores - references) / 2, rows)
        for test in tests:
            test.see(scores, rows)
        self.seen += 1

    def standings(self, rows: Rows = ALL_ROWS) -> Standings:
        """Where these rows stand."""
        log_for = np.min([test.log_for(rows) for test in self._tests], axis=0)
        log_against = np.max([test.log_against(rows) for test in self._tests], axis=0)
        counts = self.seen >= self.rule.items_min
        promoted = counts & (log_for >= log(self.rule.needed))
        failed = counts & ~promoted & (log_against >= -log(self.rule.alpha_fail))
        hopeless = np.zeros_like(promoted)
        if counts and self.rule.gives_up and self.seen < self.rule.items:
            hopeless = ~promoted & ~failed & np.any([test.is_hopeless(rows) for test in self._tests], axis=0)
        return Standings(promoted=promoted, failed=failed, hopeless=hopeless, log_for=log_for, log_against=log_against)


class _Test:
    """One hypothesis: the gamblers for the candidates and those against them."""

    def __init__(self, bound: float, rule: Rule, rows: int) -> None:
        self._needed = rule.needed
        self._early = Wealth(bound, Side.ABOVE, rows)
        self._aimed = TargetWealth(bound, rule.items, rows)
        self._against = Wealth(bound, Side.BELOW, rows)

    def see(self, values: Floats, rows: Rows) -> None:
        lacking = np.maximum(self._needed - EARLY * e_value(self._early.log(rows)), 1e-300)
        self._aimed.see(values, np.log(lacking / (1 - EARLY)), rows)
        self._early.see(values, rows)
        self._against.see(values, rows)

    def log_for(self, rows: Rows) -> Floats:
        early, aimed = self._early.log(rows), self._aimed.log(rows)
        return np.asarray(np.logaddexp(log(EARLY) + early, log(1 - EARLY) + aimed))

    def log_against(self, rows: Rows) -> Floats:
        return self._against.log(rows)

    def is_hopeless(self, rows: Rows) -> npt.NDArray[np.bool_]:
        missing = log(self._needed) - self.log_for(rows)
        return self._aimed.chance(missing, OPTIMISM, rows) < HOPELESS


class Gate:
    """One candidate under test: tell it each item's scores in the suite's own order, and ask where it stands.

    Items of one document go in as one, by their mean: whatever hangs together is one piece of evidence.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._trials = Trials(rule)
        self._scores: list[float] = []
        self._references: list[float] = []

    def see(self, score: float, reference: float | None = None) -> None:
        """One item more. `reference` is the reference's score on it, needed where there is a margin."""
        self._trials.see(np.array([score]), None if reference is None else np.array([reference]))
        self._scores.append(score)
        if reference is not None:
            self._references.append(reference)

    @property
    def is_decided(self) -> bool:
        """True where a further item would not be asked."""
        now = self._trials.standings()
        return bool(now.promoted[0] or now.failed[0] or now.hopeless[0]) or self._trials.seen >= self.rule.items

    @property
    def pace(self) -> Pace:
        """How far the test has come. Unlike the intervals of `evidence`, it costs the same however many items were
        seen."""
        log_for = self._trials.standings().log_for
        return Pace(self._trials.seen, float(e_value(log_for)[0]), self.rule.needed)

    def evidence(self) -> Evidence:
        """Where the candidate stands now."""
        now = self._trials.standings()
        verdict = Verdict.PASS if now.promoted[0] else Verdict.FAIL if now.failed[0] else Verdict.UNDECIDED
        for_it, against = float(e_value(now.log_for)[0]), float(e_value(now.log_against)[0])
        count, is_hopeless = self._trials.seen, bool(now.hopeless[0])
        low, high = confidence_sequence(self._scores)
        difference, least, most = self._differences()
        return Evidence(
            verdict=verdict,
            reason=_reason(self.rule, verdict, count, for_it, against, is_hopeless=is_hopeless),
            items=count,
            e_value=for_it,
            e_needed=self.rule.needed,
            e_fail=against,
            is_hopeless=is_hopeless,
            score=fsum(self._scores) / count if count else 0.0,
            low=low,
            high=high,
            difference=difference,
            difference_low=least,
            difference_high=most,
            wins=sum(c > r for c, r in self._pairs()),
            losses=sum(c < r for c, r in self._pairs()),
        )

    def _pairs(self) -> list[tuple[float, float]]:
        return list(zip(self._scores, self._references, strict=True)) if self._references else []

    def _differences(self) -> tuple[float | None, float, float]:
        """The mean of candidate minus reference and its interval."""
        if not self._references:
            return None, -1.0, 1.0
        paired = [(1 + c - r) / 2 for c, r in self._pairs()]
        low, high = confidence_sequence(paired)
        return 2 * fsum(paired) / len(paired) - 1, 2 * low - 1, 2 * high - 1


def judge(rule: Rule, pairs: Iterable[tuple[float, float | None]]) -> Evidence:
    """Where a candidate stands after (its score, the reference's score) of items in the suite's order; those after a
    decision are not looked at."""
    gate = Gate(rule)
    for score, reference in pairs:
        gate.see(score, reference)
        if gate.is_decided:
            break
    return gate.evidence()


def _reason(rule: Rule, verdict: Verdict, count: int, for_it: float, against: float, *, is_hopeless: bool) -> str:
    if verdict is Verdict.PASS:
        return f"promoted: e-value {for_it:.3g} of {rule.needed:.3g} after {count} items"
    if verdict is Verdict.FAIL:
        return f"failed: e-value {against:.3g} of {1 / rule.alpha_fail:.3g} against it after {count} items"
    if is_hopeless:
        return f"undecided: given up after {count} of {rule.items} items, a promotion has become unlikely"
    if count < rule.items_min:
        return f"undecided: {count} items, a decision takes {rule.items_min}"
    return f"undecided: e-value {for_it:.3g} of {rule.needed:.3g} after {count} items"
