"""Sizes: how many items a suite needs before the gate can promote at all."""

from dataclasses import replace
from typing import Final

import numpy as np

from evals.gate import Rule, Trials

MOST: Final = 5_000
"""Items beyond which nobody looks: bars and margins that need more are out of reach."""


def can_promote(rule: Rule) -> bool:
    """True where a candidate without a fault is promoted: every item right, the reference's too."""
    if rule.bar is not None and rule.bar >= 1:
        return False
    trials, right = Trials(rule), np.ones(1)
    for _ in range(rule.items):
        trials.see(right, right)
        if trials.standings().promoted[0]:
            return True
    return False


def least_items(rule: Rule) -> int | None:
    """The size of the smallest suite that can promote; None where 5,000 items would not do."""
    if not can_promote(replace(rule, items=MOST)):
        return None
    low, high = rule.items_min - 1, MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if can_promote(replace(rule, items=middle)) else (middle, high)
    return high


def refusal(rule: Rule) -> str:
    """Why the suite cannot promote anybody, with the size that it needs; empty where it can."""
    if can_promote(rule):
        return ""
    least = least_items(rule)
    asked = (("a margin of", rule.margin), ("a bar of", rule.bar))
    wanted = " and ".join(f"{what} {share:g}" for what, share in asked if share is not None)
    if least is None:
        return f"no suite of up to {MOST:,} items can show {wanted} at alpha {rule.alpha:g}"
    return (
        f"{rule.items} items cannot promote anybody: even without one fault, {wanted} at alpha {rule.alpha:g} with "
        f"{rule.candidates} candidates takes {least}"
    )
