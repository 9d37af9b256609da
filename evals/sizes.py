"""Sizes: how many items a suite needs before the gate can promote at all."""

from typing import Final

from evals.gate import Gate, Rule
from farthing.routing import Verdict

MOST: Final = 20_000
"""Items beyond which nobody looks: bars and margins that need more are out of reach."""


def least_items(rule: Rule) -> int | None:
    """The items after which a candidate without a fault is promoted: every item right, the reference's too. None where
    more than 20,000 would not do."""
    if rule.bar is not None and rule.bar >= 1:
        return None
    gate = Gate(rule)
    for count in range(1, MOST + 1):
        gate.see(1.0, 1.0)
        if count >= rule.items_min and gate.evidence().verdict is Verdict.PASS:
            return count
    return None


def refusal(rule: Rule) -> str:
    """Why the suite cannot promote anybody, with the size that it needs; empty where it can."""
    least = least_items(rule)
    if least is not None and least <= rule.items:
        return ""
    asked = (("a margin of", rule.margin), ("a bar of", rule.bar))
    wanted = " and ".join(f"{what} {share:g}" for what, share in asked if share is not None)
    if least is None:
        return f"no suite of up to {MOST:,} items can show {wanted} at alpha {rule.alpha:g}"
    return (
        f"{rule.items} items cannot promote anybody: even without one fault, {wanted} at alpha {rule.alpha:g} with "
        f"{rule.candidates} candidates takes {least}"
    )
