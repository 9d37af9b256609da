"""Calibration: from scores to probabilities, and from those to what may be served within a budget of wrong answers.

Everything is learned online from graded pairs of one scope, by the formulas of docs/caching.md. Pure.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt
from typing import Any, Final, NamedTuple, Self

import numpy as np

from cache.evidence import Estimate, HitEvidence
from cache.groups import Groups
from cache.logistic import fit_logistic, sigmoid
from cache.secondstage import SecondStage

NEVER: Final = 2.0
"""A threshold that no probability reaches."""
VERSION: Final = 2
LABELS: Final = 6000
"""Graded pairs that count: the newest."""
FIRST_FIT: Final = 200
FIRST_FIT_AGAIN: Final = 400
"""After the stream has changed: what was learned too quickly was wrong too often."""
REFIT_EVERY: Final = 200
REFIT_GROWTH: Final = 10
"""Or when there is a tenth more to learn from, whichever is later."""
WINDOW: Final = 1500
"""Requests that the threshold is set by."""
LEAST_WINDOW: Final = 200
SET_EVERY: Final = 50
MARGIN: Final = 0.65
"""Of the budget: what the threshold aims at."""
CAREFUL_MARGIN: Final = 0.3
CAREFUL_FOR: Final = 3000
"""Requests after a change of the stream that are served by the careful margin."""
ENTRY_VARIANCE: Final = 1.0
"""Of the normal prior of a group's own term."""
SHADOW_SHARE: Final = 0.05
"""Of hits that are to be graded, on average."""
LEAST_SHADOW: Final = 0.02
YOUNG: Final = 300
"""Graded hits up to which all hits are to be graded: what misses cannot tell is how right the surest pairs are."""
SPENT_ERROR: Final = 0.5
"""Of the budget: the standard error of what is known to be spent if all of it is. Small budgets are graded more."""
SPENT_Z: Final = 1.0
"""Standard errors by which more is taken to be spent than is known (chosen, as these are, on streams that are not
reported: docs/caching.md)."""
HEAVIEST: Final = 20.0
"""Weight of a label in the fit: one graded hit may not outvote a day of misses."""
CHANGED: Final = 10.0
"""Of the cumulative sum: by simulation reached by none of twelve calm streams of 9,000 requests."""
_SHIFT: Final = 2.0
"""In log odds: how much worse than told a stream has to be to count as changed."""
_RIDGE: Final = 1.0
LEAST_TAU: Final = 0.5
"""Nothing that is as likely wrong as right is served, whatever the budget has left."""


class Candidate(NamedTuple):
    """A near entry: the cosine and the verifier's score."""

    entry: int
    cosine: float
    score: float


class Evidence(NamedTuple):
    """What speaks for a candidate. `lead`: how much nearer it is than the nearest with another answer, at most 0.2;
    `votes`: how many other near entries are known to have the same answer."""

    cosine: float
    score: float
    lead: float
    votes: int

    @classmethod
    def of_score(cls, score: float) -> Self:
        """Where nothing but the score is known."""
        return cls(cosine=0.8, score=score, lead=0.2, votes=0)


class Choice(NamedTuple):
    """The candidate that is most likely right."""

    entry: int
    evidence: Evidence
    p: float


@dataclass(slots=True)
class _Label:
    """A graded pair. `told`: the log odds that the first stage gave before the grade was known."""

    features: tuple[float, ...]
    same: bool
    weight: float
    told: float | None


class Calibration:
    """One scope. Serve a candidate where `p` is at least `tau`; while `tau` is None there is no evidence yet."""

    def __init__(self, max_wrong: float) -> None:
        """`max_wrong`: wrong answers allowed, as a share of all requests."""
        self._max_wrong = max_wrong
        self._groups = Groups(ENTRY_VARIANCE)
        self._labels: list[_Label] = []
        self._learned = self._refit_at = 0
        self._weights: tuple[float, ...] | None = None
        self._second = SecondStage()
        self._window: list[float] = []
        self._requests = 0
        self._tau: float | None = None
        self._drift = 0.0
        self._changed_at: int | None = None
        self._unsure = 0.1  # running mean of sqrt(1 - p) among hits
        self._evidence = HitEvidence()
        self._graded_hits = 0  # since the last change

    @property
    def tau(self) -> float | None:
        """The least probability that is served; None while there is no evidence, NEVER while the stream has changed or
        the budget is spent."""
        return self._tau

    @property
    def stopped(self) -> bool:
        """The stream turned out worse than told: nothing is served until enough has been learned anew."""
        return self._tau == NEVER and self._changed_at is not None

    def choose(self, candidates: Sequence[Candidate]) -> Choice | None:
        """The likeliest of the near entries (nearest first), or None where there are none."""
        found = None
        for candidate in self._nearest_of_groups(candidates):
            evidence = self.weigh(candidate, candidates)
            p = self.p(candidate.entry, evidence)
            if found is None or p > found.p:
                found = Choice(candidate.entry, evidence, p)
        return found

    def weigh(self, candidate: Candidate, candidates: Sequence[Candidate]) -> Evidence:
        """What speaks for one of the near entries, given the others."""
        group = self._groups.of(candidate.entry)
        others = [one.cosine for one in candidates if self._groups.of(one.entry) != group]
        lead = min(0.2, candidate.cosine - max(others)) if others else 0.2
        return Evidence(candidate.cosine, candidate.score, lead, len(candidates) - len(others) - 1)

    def p(self, entry_id: int, s: float | Evidence) -> float:
        """How likely the entry's answer is right, told two standard errors low; 0 before the first fit."""
        if self._weights is None:
            return 0.0
        return self._second.p(self._log_odds(entry_id, _features(s)))

    def note_request(self, p: float, *, hit: bool | None = None) -> None:
        """A request whose best candidate had this probability, 0 without one. `hit`: if not the same as p >= tau."""
        self._requests += 1
        served = hit if hit is not None else self._tau is not None and p >= self._tau
        self._evidence.request(hit=served)
        if self._weights is None:
            return
        if served:
            self._unsure += 0.02 * (sqrt(1 - p) - self._unsure)
        self._window.append(p)
        if len(self._window) > 2 * WINDOW:
            del self._window[:-WINDOW]
        if len(self._window) >= LEAST_WINDOW and (self._requests % SET_EVERY == 0 or self._tau in (None, NEVER)):
            self._set_tau()

    def grading_share(self, p: float) -> float:
        """The share of hits of this probability that should be graded: more of those that may be wrong, and enough to
        know what is spent. Counting B wrong answers from a share r of them has the variance B (1/r - 1)."""
        if self._graded_hits < YOUNG:
            return 1.0
        known = 1 / (1 + SPENT_ERROR**2 * self._max_wrong * self._evidence.requests)
        return min(1.0, max(LEAST_SHADOW, known, SHADOW_SHARE * sqrt(1 - p) / max(self._unsure, 1e-3)))

    def learn(
        self, entry_id: int, s: float | Evidence, same: bool, weight: float = 1.0, *,
        kept: int | None = None, served: bool = False,
    ) -> None:  # fmt: skip
        """A graded pair; `weight` is one over the share of such pairs that is graded.

        `kept`: the entry that the fresh answer of a miss was kept as. `served`: the pair was a hit.
        """
        features = _features(s)
        told = self._log_odds(entry_id, features) if self._weights is not None else None
        if served:
            self._evidence.graded(same=same, weight=weight)
            if self._tau is not None and self._is_spent():
                self._tau = NEVER
        if told is not None:
            self._graded_hits += served
            if self._second.sure and self._has_changed(told, same):
                self._forget()
                return
            self._second.learn(told, same, min(weight, HEAVIEST))
            self._groups.learn(entry_id, same, sigmoid(self._first_stage(features)))
        self._labels.append(_Label(features, same, min(weight, HEAVIEST), told))
        if len(self._labels) > LABELS + REFIT_EVERY:
            del self._labels[:REFIT_EVERY]
        if same and kept is not None:
            self._groups.join(kept, entry_id)
        self._learned += 1
        self._refit()

    def estimate(self) -> Estimate:
        """What was served so far and how much of it was wrong, as far as graded hits can tell."""
        return self._evidence.estimate()

    # --- first stage: logistic of the evidence, and a term of each group's own ---------------------

    def _nearest_of_groups(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        found: dict[int, Candidate] = {}
        for candidate in candidates:
            found.setdefault(self._groups.of(candidate.entry), candidate)
        return list(found.values())

    def _first_stage(self, features: tuple[float, ...]) -> float:
        assert self._weights is not None  # asked for only once there is a fit
        return sum(weight * value for weight, value in zip(self._weights, features, strict=True))

    def _log_odds(self, entry_id: int, features: tuple[float, ...]) -> float:
        return max(-9.0, min(9.0, self._first_stage(features) + self._groups.term(entry_id)))

    def _refit(self) -> None:
        first = FIRST_FIT if self._changed_at is None else FIRST_FIT_AGAIN
        if self._learned < max(first, self._refit_at):
            return
        self._refit_at = self._learned + max(REFIT_EVERY, min(self._learned, LABELS) // REFIT_GROWTH)
        rows = np.array([label.features for label in self._labels[-LABELS:]])
        same = np.array([label.same for label in self._labels[-LABELS:]], np.float64)
        counts = np.array([label.weight for label in self._labels[-LABELS:]])
        zeros = np.zeros(rows.shape[1])
        start = zeros if self._weights is None else np.array(self._weights)
        weights, _ = fit_logistic(rows, same, counts, prior=zeros, precision=zeros + _RIDGE, start=start)
        self._weights = tuple(map(float, weights))

    # --- the threshold -----------------------------------------------------------------------------

    def _set_tau(self) -> None:
        """The lowest p such that what lies above it is wrong no more often, per request, than the budget allows."""
        if not self._second.sure:
            self._tau = None if self._changed_at is None else NEVER
            return
        if not self._second.tells or self._is_spent():
            self._tau = NEVER
            return
        likely = np.sort(np.array(self._window[-WINDOW:]))[::-1]
        wrong = np.cumsum(1 - likely) / len(likely)
        allowed = np.nonzero(wrong <= self._allowed())[0]
        self._tau = max(LEAST_TAU, float(likely[allowed[-1]])) if len(allowed) else NEVER

    def _is_spent(self) -> bool:
        """One more wrong answer may be more than the budget of all requests so far."""
        return self._evidence.spent(SPENT_Z) + 1 / max(1, self._evidence.requests) > self._max_wrong

    def _allowed(self) -> float:
        """Wrong answers per request to aim at: less where graded hits say that more was spent."""
        careful = self._changed_at is not None and self._requests - self._changed_at < CAREFUL_FOR
        aim = (CAREFUL_MARGIN if careful else MARGIN) * self._max_wrong
        spent = self._evidence.estimate().wrong_per_request.estimate
        return aim * min(1.0, aim / spent) if spent else aim

    # --- change ------------------------------------------------------------------------------------

    def _has_changed(self, told: float, same: bool) -> bool:
        """A cumulative sum (Page 1954) of what speaks for log odds that are lower by `_SHIFT` than those told."""
        odds = min(4.0, self._second.log_odds(told))
        p, worse = sigmoid(odds), sigmoid(odds - _SHIFT)
        self._drift = max(0.0, self._drift + (log(worse / p) if same else log((1 - worse) / (1 - p))))
        return self._drift > CHANGED

    def _forget(self) -> None:
        """What was true before the change may not be so now: learn anew, and serve nothing meanwhile."""
        self._labels.clear()
        self._learned = self._refit_at = 0
        self._weights = None
        self._second = SecondStage()
        self._groups = Groups(ENTRY_VARIANCE)
        self._window.clear()
        self._drift = 0.0
        self._tau = NEVER
        self._graded_hits = 0
        self._changed_at = self._requests

    # --- state -------------------------------------------------------------------------------------

    def state(self) -> bytes:
        """All of it: a line of JSON, then the labels as float32 (some 200 kB at most)."""
        head: dict[str, Any] = {
            "version": VERSION,
            "learned": self._learned,
            "refit_at": self._refit_at,
            "weights": self._weights,
            "second": self._second.state(),
            "window": [round(p, 6) for p in self._window[-WINDOW:]],
            "requests": self._requests,
            "tau": self._tau,
            "drift": self._drift,
            "changed_at": self._changed_at,
            "unsure": self._unsure,
            "graded_hits": self._graded_hits,
            "groups": self._groups.state(),
            "evidence": self._evidence.state(),
            "width": len(_features(0.5)) + 3,
        }
        rows = [(*one.features, one.same, one.weight, _or_nan(one.told)) for one in self._labels]
        return json.dumps(head).encode() + b"\n" + np.array(rows, "<f4").tobytes()

    @classmethod
    def of_state(cls, max_wrong: float, state: bytes | None) -> Self:
        """A new one, or that of a state; raises ValueError where it cannot be read."""
        found = cls(max_wrong)
        if state is not None:
            head, _, labels = state.partition(b"\n")
            try:
                found._restore(json.loads(head), labels)
            except (KeyError, TypeError, IndexError) as error:
                raise ValueError(f"no state of a calibration: {error!r}") from error
        return found

    def _restore(self, head: Mapping[str, Any], labels: bytes) -> None:
        if head["version"] != VERSION or head["width"] != len(_features(0.5)) + 3:
            raise ValueError("a calibration's state of another version")
        rows = np.frombuffer(labels, "<f4").reshape(-1, head["width"]).astype(np.float64)
        self._labels = [
            _Label(tuple(row[:-3]), bool(row[-3]), row[-2], None if np.isnan(row[-1]) else row[-1])
            for row in rows.tolist()
        ]
        self._learned, self._refit_at = head["learned"], head["refit_at"]
        self._weights = None if head["weights"] is None else tuple(head["weights"])
        told = [(label.told, label.same, label.weight) for label in self._labels if label.told is not None]
        self._second = SecondStage.of_state(head["second"], told)
        self._window = list(head["window"])
        self._requests, self._tau, self._drift = head["requests"], head["tau"], head["drift"]
        self._changed_at, self._unsure = head["changed_at"], head["unsure"]
        self._graded_hits = head["graded_hits"]
        self._groups = Groups.of_state(ENTRY_VARIANCE, head["groups"])
        self._evidence = HitEvidence.of_state(head["evidence"])


def _features(s: float | Evidence) -> tuple[float, ...]:
    """Of about the same size, so that one ridge fits all."""
    evidence = s if isinstance(s, Evidence) else Evidence.of_score(s)
    score = min(max(evidence.score, 1e-3), 1 - 1e-3)
    return (1.0, 10 * (evidence.cosine - 0.8), log(score / (1 - score)), 10 * evidence.lead, float(evidence.votes))


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
