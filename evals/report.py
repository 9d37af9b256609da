"""Report: what an eval run found, as frozen values."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from evals.gate import Evidence
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
    `fingerprint` is the provider's name for its revision of the model, `flaw` says what is wrong with the answer as an
    answer: "", `empty`, `unparseable` or `uncalled`. `made_ns` is when it was made (wall ns), `is_kept`: by an earlier
    run, so that this one paid nothing for it.
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
    fingerprint: str = ""
    flaw: str = ""
    made_ns: int = 0
    is_kept: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TierResult:
    """What was found about one tier: `evidence` from the outcomes, in the suite's order, of `planned` items.

    `verdict` is the gate's, unless the run itself is in doubt; `reason` says why. `models` are the ids of the tier's
    deployments when it began, `valid_until_ns` when the oldest answer that it rests on is too old (None: never).
    """

    tier: str
    role: Role
    models: tuple[str, ...]
    verdict: Verdict
    reason: str
    evidence: Evidence
    planned: int
    outcomes: tuple[ItemOutcome, ...]
    valid_until_ns: int | None = None

    @property
    def cost(self) -> Nano:
        """What the tier's answers cost, whoever paid for them."""
        return total(outcome.cost for outcome in self.outcomes)

    @property
    def spent(self) -> Nano:
        """What this run paid for them."""
        return total(outcome.cost for outcome in self.outcomes if not outcome.is_kept)

    @property
    def is_replayed(self) -> bool:
        """True where it was found from kept answers alone."""
        return bool(self.outcomes) and all(outcome.is_kept for outcome in self.outcomes)

    @property
    def graded(self) -> int:
        """Items with a score."""
        return sum(outcome.score is not None for outcome in self.outcomes)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The revisions that answered."""
        return tuple(sorted({outcome.fingerprint for outcome in self.outcomes if outcome.fingerprint}))


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalReport:
    """One run of one suite. `stopped` says why it ended early, empty if it did not. `rule` names the rule of the
    verdicts, so that they can be told from those of another; `untried` are candidates that were not asked because a
    cheaper one was promoted, `cost` is all that the run spent, its graders' questions too. `graded_by` says what the
    scores are and by which graders, for people; `refused` why the reference cannot be one, empty where it can. Times in
    wall ns."""

    run_id: str
    suite: str
    suite_hash: str
    task: str
    bar: float
    rule: str
    tiers: tuple[TierResult, ...]
    started_ns: int
    decided_ns: int
    margin: float | None = None
    reference: str = ""
    prompt_hash: str = ""
    grader: str = ""
    graded_by: str = ""
    untried: tuple[str, ...] = ()
    cost: Nano = ZERO
    stopped: str = ""
    refused: str = ""

    def scorecards(self) -> tuple[Scorecard, ...]:
        """The card of every tier, as policies read it."""
        return tuple(self._card(tier) for tier in self.tiers)

    def _card(self, result: TierResult) -> Scorecard:
        found, is_candidate = result.evidence, result.role is Role.CANDIDATE
        return Scorecard(
            task=self.task,
            tier=result.tier,
            verdict=result.verdict,
            score=found.score,
            bar=self.bar,
            items=found.items,
            suite=self.suite,
            suite_hash=self.suite_hash,
            models=result.models,
            run_id=self.run_id,
            decided_ns=self.decided_ns,
            valid_until_ns=result.valid_until_ns,
            low=found.low,
            high=found.high,
            margin=self.margin if is_candidate else None,
            reference=self.reference,
            difference=found.difference,
            e_value=found.e_value,
            e_needed=found.e_needed,
            cost=result.cost,
            prompt_hash=self.prompt_hash,
            grader=self.grader,
            fingerprints=result.fingerprints,
            rule=self.rule,
            reason=result.reason,
        )


def total(costs: Iterable[Nano]) -> Nano:
    """The sum of amounts."""
    return Nano(sum(costs))
