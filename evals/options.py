"""Options: how a suite is run, and what follows from them for its tiers, its budget and the age of its answers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from evals.graders import graders_of
from evals.suite import DAY_S, Suite
from farthing.errors import ConfigError
from farthing.money import Nano, nano_from_usd

CONCURRENCY: Final = 2
VALID_FOR_S: Final = 14 * DAY_S
"""Aliases move: after this long a tier has to pass again."""
RENEWED_AT: Final = 0.9
"""Share of that time after which a test may begin anew, so that the next pass is there before the last one ends."""
KEPT_FOR_S: Final = 90 * DAY_S
RETRY_PAUSE_S: Final = 1.0
STOPPED: Final = "and the run stopped"
PAIRWISE: Final = "select-best"
"""The assertion that grades an answer beside the reference's."""
NS_PER_S: Final = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How to run. `run_id` names the run, `models` the deployment ids of every tier now, the cheapest tier first.

    `feature` is the one to which calls are booked. `fresh` refuses the answers of the gateway's caches. `keep_outputs`
    keeps the answers' texts. `valid_for_s`: seconds for which a verdict holds where the suite does not say; None: for
    as long as the tier stays as it is. `budget` is the most that the run may spend (None: no cap but the suite's).
    `passing` are tiers that have the task now, `not_before_ns` from when on answers of a tier count. `first`: look at
    so many pieces of evidence and no more, and at every candidate, `only` these where given: a smoke test.
    """

    run_id: str
    models: Mapping[str, tuple[str, ...]]
    feature: str = "evals"
    fresh: bool = False
    keep_outputs: bool = False
    concurrency: int = CONCURRENCY
    valid_for_s: int | None = VALID_FOR_S
    budget: Nano | None = None
    passing: frozenset[str] = frozenset()
    not_before_ns: Mapping[str, int] = field(default_factory=dict)
    retry_pause_s: float = RETRY_PAUSE_S
    first: int | None = None
    only: frozenset[str] | None = None


def check_tiers(suite: Suite, known: Iterable[str]) -> None:
    """Raises ConfigError where a tier of the suite is not known."""
    tiers = tuple(known)
    for key, named in (("candidates", suite.candidates), ("reference", (suite.reference,))):
        missing = [tier for tier in named if tier not in tiers]
        if missing:
            raise ConfigError(
                f"Suite '{suite.name}' names tiers that config/routing.yaml does not have: {', '.join(missing)} "
                f"({suite.places.get(key, key)}). Known tiers: {', '.join(tiers) or 'none'}."
            )


def ladder(suite: Suite, tiers: Iterable[str], only: frozenset[str] | None = None) -> list[str]:
    """The suite's candidates in the order of `tiers`, the cheapest first; `only` these where given."""
    order = list(tiers)
    wanted = [tier for tier in suite.candidates if only is None or tier in only]
    return sorted(wanted, key=order.index)


def compares(suite: Suite) -> bool:
    """True where the reference has to answer what the candidates do."""
    return suite.margin is not None or is_pairwise(suite)


def is_pairwise(suite: Suite) -> bool:
    """True where answers are graded beside those of the reference."""
    return PAIRWISE in graders_of(suite)


def max_age_ns(suite: Suite, options: RunOptions) -> int:
    """Age at which kept answers are too old for a test, ns."""
    return int((suite.limits.max_age_s or options.valid_for_s or VALID_FOR_S) * NS_PER_S * RENEWED_AT)


def standing_age_ns(suite: Suite, options: RunOptions) -> int:
    """Age at which a judge has to show again that it may decide, ns."""
    return (suite.limits.max_age_s or options.valid_for_s or VALID_FOR_S) * NS_PER_S


def budget_of(suite: Suite, *others: Nano | None) -> Nano | None:
    """The smallest of the suite's budget and the others, nano-dollars; None where there is none."""
    usd = suite.limits.budget_usd
    caps = [cap for cap in (*others, None if usd is None else nano_from_usd(usd)) if cap is not None]
    return min(caps, default=None)
