"""Trials: the gate itself, and what it is compared with, on many samples at once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log
from typing import Final

import numpy as np
import numpy.typing as npt

from evals.betting import Floats, Side, Wealth
from evals.gate import Rule, Trials

CLOPPER_STEPS: Final = 60


@dataclass(frozen=True, slots=True)
class Run:
    """Of each sample: whether its candidate was promoted or failed, and how many items were used."""

    promoted: npt.NDArray[np.bool_]
    failed: npt.NDArray[np.bool_]
    items: npt.NDArray[np.intp]


Test = Callable[[Rule, Floats, Floats | None], Run]
"""A way to decide: the rule, scores of shape (samples, items), the reference's where there is a margin."""


def gate(rule: Rule, scores: Floats, references: Floats | None = None) -> Run:
    """Farthing's gate, as a run of a suite uses it."""
    samples, items = scores.shape
    trials = Trials(replace(rule, items=items), samples)
    run = _blank(samples, items)
    live = np.arange(samples)
    for item in range(items):
        trials.see(scores[live, item], None if references is None else references[live, item], live)
        now = trials.standings(live)
        run.promoted[live[now.promoted]] = True
        run.failed[live[now.failed]] = True
        ends = now.promoted | now.failed | now.hopeless
        run.items[live[ends]] = item + 1
        live = live[~ends]
        if not len(live):
            break
    return run


def mixture(rule: Rule, scores: Floats, references: Floats | None = None) -> Run:
    """The gate that the figures to beat are from: one mixture of 20 bets on each side, nothing given up."""
    samples, items = scores.shape
    values = scores if references is None else (1 + scores - references) / 2
    bound = rule.bounds[0]
    above, below = Wealth(bound, Side.ABOVE, samples), Wealth(bound, Side.BELOW, samples)
    run = _blank(samples, items)
    live = np.arange(samples)
    for item in range(items):
        above.see(values[live, item], live)
        below.see(values[live, item], live)
        if item + 1 < rule.items_min:
            continue
        promoted = above.log(live) >= log(rule.needed)
        failed = ~promoted & (below.log(live) >= -log(rule.alpha_fail))
        run.promoted[live[promoted]] = True
        run.failed[live[failed]] = True
        run.items[live[promoted | failed]] = item + 1
        live = live[~(promoted | failed)]
        if not len(live):
            break
    return run


def fixed_size(rule: Rule, scores: Floats, references: Floats | None = None) -> Run:
    """The exact one-sided binomial test (Clopper and Pearson) once all items are in; for a bar alone."""
    if references is not None or rule.bar is None:
        raise ValueError("the exact test knows a bar only")
    samples, items = scores.shape
    run = _blank(samples, items)
    run.promoted[:] = scores.sum(axis=1) >= least_right(items, rule.bar, 1 / rule.needed)
    return run


def least_right(items: int, bar: float, alpha: float) -> int:
    """The least number of right answers that a model exactly at the bar reaches with probability `alpha` at most."""
    chance, tail = bar**items, 0.0
    for right in range(items, -1, -1):
        tail += chance
        if tail > alpha:
            return right + 1
        chance *= right / (items - right + 1) * (1 - bar) / bar
    return 0


def share_interval(hits: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's exact interval of a share, by bisection of the binomial tails."""
    half = (1 - level) / 2
    low = 0.0 if hits == 0 else _root(lambda share: half - _at_least(hits, of, share))
    high = 1.0 if hits == of else _root(lambda share: _at_least(hits + 1, of, share) - (1 - half))
    return low, high


def _root(falling: Callable[[float], float]) -> float:
    """Where the function, that is positive first and negative later (or the other way round), changes its sign."""
    low, high = 0.0, 1.0
    positive = falling(1e-12) > 0
    for _ in range(CLOPPER_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if (falling(middle) > 0) is positive else (low, middle)
    return (low + high) / 2


def _at_least(hits: int, of: int, share: float) -> float:
    """P(X >= hits) of a binomial, through logarithms."""
    if hits > of:
        return 0.0
    numbers = np.arange(of + 1)
    factorials = np.concatenate(([0.0], np.cumsum(np.log(np.maximum(numbers[1:], 1)))))
    logs = factorials[of] - factorials - factorials[::-1] + numbers * log(share) + (of - numbers) * np.log1p(-share)
    return float(np.exp(logs[hits:]).sum())


def _blank(samples: int, items: int) -> Run:
    none = np.zeros(samples, dtype=bool)
    return Run(none, none.copy(), np.full(samples, items))
