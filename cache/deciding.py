"""Deciding: which of the neighbours of a question answers it, if any, and by which rule."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, Protocol

from cache.calibration import Candidate, Evidence
from cache.domains import Domain
from cache.guards import ParsedPrompt, parse, veto
from cache.rows import Neighbour, SemanticRow
from cache.shelf import Question

CERTAIN_COSINE: Final = 0.95
"""Besides a certain score: together they serve half as many wrong pairs as either (docs/cache.md)."""
GRADED_COSINE: Final = 0.5
GRADED_SCORE: Final = 0.2
"""A miss whose best candidate is above either of these teaches something: its fresh answer is graded."""


class Scorer(Protocol):
    """How sure it is that the answer to one question serves another: `cache.verifier`, or the cosine alone."""

    @property
    def version(self) -> str:
        """Scores of different versions mean different things."""

    @property
    def certain(self) -> float:
        """The score from which a domain without evidence is served."""

    def score(self, asked: ParsedPrompt, kept: Sequence[ParsedPrompt], cosines: Sequence[float]) -> Sequence[float]:
        """One value from 0 to 1 for each kept question."""


class CosineScorer:
    """Where there is no verifier: guards and cosine alone."""

    version = "cosine"
    certain = 0.95
    """What it serves, rightly and wrongly, is measured in docs/cache.md."""

    def score(self, asked: ParsedPrompt, kept: Sequence[ParsedPrompt], cosines: Sequence[float]) -> Sequence[float]:
        """See the port."""
        return [min(1.0, max(0.0, cosine)) for cosine in cosines]


class UncertainScorer:
    """Another scorer over an embedder whose cosines nobody has measured: it is never certain, so that a domain serves
    nothing before it has evidence of its own."""

    certain = 2.0
    """No score is as high."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.version = scorer.version

    def score(self, asked: ParsedPrompt, kept: Sequence[ParsedPrompt], cosines: Sequence[float]) -> Sequence[float]:
        """See the port."""
        return self._scorer.score(asked, kept, cosines)


class Rule(StrEnum):
    """By which rule a candidate is judged."""

    CONSERVATIVE = "conservative"
    """The domain has no evidence yet: a fixed high score."""
    CALIBRATED = "calibrated"
    """What was graded tells the probability, and from which on the budget for wrong answers holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """A neighbour of a question, with what speaks for it. `would`: it is good enough; whether it may be served to this
    key now is asked besides."""

    row: SemanticRow
    evidence: Evidence
    p: float
    rule: Rule
    would: bool

    @property
    def teaches(self) -> bool:
        """True where it is worth knowing whether it would have been right."""
        return self.would or self.evidence.cosine > GRADED_COSINE or self.evidence.score > GRADED_SCORE


@dataclass(frozen=True, slots=True)
class Decision:
    """`served` may be served to whoever asked; `best` is the best one, whoever it may serve."""

    served: Weighed | None
    best: Weighed | None


class Arbiter:
    """Weighs neighbours. `vetoes` counts what guards kept apart."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.vetoes: Counter[str] = Counter()
        self._parsed: Callable[[str], ParsedPrompt] = lru_cache(maxsize=4096)(parse)

    def decide(self, question: Question, neighbours: Sequence[Neighbour], domain: Domain) -> Decision:
        """By guards, score, probability and threshold; then who asks, and whether the domain may serve."""
        weighed = sorted(self._weigh(question, neighbours, domain), key=lambda one: (-one.p, -one.evidence.score))
        mine = next((one for one in weighed if one.row.serves(question.principal)), None)
        served = mine if mine is not None and mine.would and not domain.stopped else None
        return Decision(served, weighed[0] if weighed else None)

    def _weigh(self, question: Question, neighbours: Sequence[Neighbour], domain: Domain) -> list[Weighed]:
        asked = self._parsed(question.text)
        kept = [(one, self._parsed(one.row.prompt)) for one in neighbours]
        kept = [(one, prompt) for one, prompt in kept if not self._is_vetoed(asked, prompt)]
        scores = self.scorer.score(asked, [prompt for _, prompt in kept], [one.cosine for one, _ in kept])
        candidates = [Candidate(one.row.id, one.cosine, score) for (one, _), score in zip(kept, scores, strict=True)]
        return [
            self._weighed(one.row, domain.calibration.weigh(candidate, candidates), domain)
            for (one, _), candidate in zip(kept, candidates, strict=True)
        ]

    def _is_vetoed(self, asked: ParsedPrompt, prompt: ParsedPrompt) -> bool:
        guard = veto(asked, prompt)
        if guard:
            self.vetoes[guard] += 1
        return bool(guard)

    def _weighed(self, row: SemanticRow, evidence: Evidence, domain: Domain) -> Weighed:
        tau = domain.tau
        p = domain.calibration.p(row.id, evidence)
        return Weighed(
            row=row,
            evidence=evidence,
            p=p,
            rule=Rule.CONSERVATIVE if tau is None else Rule.CALIBRATED,
            would=self._is_certain(evidence) if tau is None else p >= tau,
        )

    def _is_certain(self, evidence: Evidence) -> bool:
        return evidence.score >= self.scorer.certain and evidence.cosine >= CERTAIN_COSINE
