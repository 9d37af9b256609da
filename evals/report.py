"""Report: what an eval run found, as frozen values."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from farthing.money import ZERO, Nano
from farthing.routing import Scorecard, Verdict


class Role(StrEnum):
    """Why a tier is in a run."""

    CANDIDATE = "candidate"
    REFERENCE = "reference"


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemOutcome:
    """One item answered (or not) by one tier. `score` in [0, 1], None where there was no answer to grade.

    `output_sha256` is of the answer's text (UTF-8, hex); the text itself is "" unless it was asked for.
    `cache` is the gateway's x-farthing-cache, `error` is empty or a short code. `seconds` is the whole round trip.
    """

    item_hash: str
    tier: str
    score: float | None
    reason: str = ""
    model: str = ""
    cost: Nano = ZERO
    seconds: float = 0.0
    finish_reason: str = ""
    cache: str = ""
    output_sha256: str = ""
    output: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierResult:
    """What was found about one tier. `score` is the mean over the graded items; `low` and `high` are its 95% Wilson
    interval, for people: nothing is decided by them. `planned` is how many items the run wanted, `models` the ids
    of the tier's deployments when it began."""

    tier: str
    role: Role
    models: tuple[str, ...]
    verdict: Verdict
    reason: str
    score: float
    low: float
    high: float
    planned: int
    outcomes: tuple[ItemOutcome, ...]

    @property
    def cost(self) -> Nano:
        """What the tier's items cost."""
        return total(outcome.cost for outcome in self.outcomes)

    @property
    def graded(self) -> int:
        """Items with a score."""
        return sum(outcome.score is not None for outcome in self.outcomes)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalReport:
    """One run of one suite. `stopped` says why it ended early, empty if it did not. `rule` names the rule of the
    verdicts, so that they can be told from those of another. Times in wall ns."""

    run_id: str
    suite: str
    suite_hash: str
    task: str
    bar: float
    rule: str
    tiers: tuple[TierResult, ...]
    started_ns: int
    decided_ns: int
    valid_until_ns: int | None
    stopped: str = ""

    @property
    def cost(self) -> Nano:
        """What the whole run cost."""
        return total(tier.cost for tier in self.tiers)

    def scorecards(self) -> tuple[Scorecard, ...]:
        """The card of every tier, as policies read it."""
        return tuple(self._card(tier) for tier in self.tiers)

    def _card(self, result: TierResult) -> Scorecard:
        return Scorecard(
            task=self.task,
            tier=result.tier,
            verdict=result.verdict,
            score=result.score,
            bar=self.bar,
            items=result.graded,
            suite=self.suite,
            suite_hash=self.suite_hash,
            models=result.models,
            run_id=self.run_id,
            decided_ns=self.decided_ns,
            valid_until_ns=self.valid_until_ns,
        )


def total(costs: Iterable[Nano]) -> Nano:
    """The sum of amounts."""
    return Nano(sum(costs))
