"""Burn: how fast a budget is spent, as a multiple of the pace at which it would last exactly its window.

Each rule looks back over a long window, which says that it matters, and a short one, which says that it still goes on.
A burn of 1 spends the budget in just its window. Integers throughout, so that no rule hangs on a rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Final

from farthing.catalog import Window
from farthing.money import NANO_PER_USD, Nano
from finops.anomaly import Severity

HOURS: Final = {
    Window.HOUR: 1,
    Window.DAY: 24,
    Window.WEEK: 168,
    Window.MONTH: 730,
    Window.QUARTER: 2190,
}
"""Hours of a window; a month has 730, whichever it is. A run has no pace."""
FLOOR: Final = Nano(NANO_PER_USD)
"""Nano-dollars an hour, over the long window, that must be exceeded: high multiples of pennies wake nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Burning at more than `burn` over both windows, in minutes."""

    burn: Fraction
    long: int
    short: int
    page: bool


RULES: Final = (
    Rule(burn=Fraction(146, 10), long=60, short=5, page=True),  # 2 % of a month in an hour
    Rule(burn=Fraction(61, 10), long=6 * 60, short=30, page=True),  # 5 % in six hours
    Rule(burn=Fraction(12, 10), long=3 * 24 * 60, short=6 * 60, page=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Burn:
    """A rule that holds: the multiple over its long window, and nano-dollars a day at the pace of its short one."""

    rule: Rule
    burn: Fraction
    per_day: Nano

    @property
    def severity(self) -> Severity:
        """A page is an alert, anything else a ticket."""
        return Severity.ALERT if self.rule.page else Severity.TICKET


def burn_rate(spent: Nano, minutes: int, limit: Nano, window: Window) -> Fraction | None:
    """The pace of `spent` in so many minutes, as a multiple of that of the budget; None where there is no pace to
    compare with: a limit of 0, or a budget of runs."""
    if limit <= 0 or window not in HOURS:
        return None
    return Fraction(spent * HOURS[window] * 60, minutes * limit)


def burning(
    spend: Sequence[Nano], *, limit: Nano, window: Window, step: int = 5, rules: Sequence[Rule] = RULES
) -> list[Burn]:
    """The rules that hold at the end of `spend`, most urgent first.

    `spend` is nano-dollars in slots of `step` minutes, the latest last; what is before it counts as nothing spent, so
    that a feature of yesterday cannot have burnt for three days. Rules whose short window is no multiple of `step`
    raise ValueError.
    """
    sums = [0, *accumulate(spend)]
    return [found for rule in rules if (found := _check(rule, sums, limit, window, step)) is not None]


def is_spent(spent: Nano, held: Nano, limit: Nano) -> bool:
    """Whether the cap is reached: nothing more fits."""
    return spent + held >= limit


def _check(rule: Rule, sums: Sequence[int], limit: Nano, window: Window, step: int) -> Burn | None:
    long, short = (_spent(sums, minutes, step) for minutes in (rule.long, rule.short))
    rate, now = burn_rate(long, rule.long, limit, window), burn_rate(short, rule.short, limit, window)
    if rate is None or now is None or min(rate, now) <= rule.burn or long * 60 <= FLOOR * rule.long:
        return None
    return Burn(rule=rule, burn=rate, per_day=Nano(short * 24 * 60 // rule.short))


def _spent(sums: Sequence[int], minutes: int, step: int) -> Nano:
    slots, rest = divmod(minutes, step)
    if rest or not slots:
        raise ValueError(f"a window of {minutes} minutes cannot be told from slots of {step} minutes")
    return Nano(sums[-1] - sums[max(len(sums) - 1 - slots, 0)])
