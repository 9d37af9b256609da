"""Domains: what has been learned about the answers of one tenant's feature in one environment, from graded pairs.

A domain is wider than a scope: prior turns and system prompts have scopes of their own, so that nothing is shared
among them, but what is to be learned is how often near questions have the same answer, and that needs their number.
"""

import logging
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final, Protocol

from cache.breaker import RECENT, Breaker
from cache.calibration import SHADOW_SHARE, Candidate, Evidence
from cache.rows import DomainRow, EvidenceRows, Sample
from farthing.call import Call

_LOG: Final = logging.getLogger(__name__)
LABELS: Final = 6000
"""Samples from which a domain learns: the newest."""
_KEPT: Final = 256
"""Domains in memory; those not asked for the longest leave."""
_REFRESH_NS: Final = 10 * 1_000_000_000
"""How old what other processes graded may be before it is read."""
_YOUNG: Final = 300
"""Graded hits up to which a domain is young, and all of its hits are graded: 299 without a wrong one show 1 %."""
_DECIDED: Final = 0.8
"""Share of the answers compared that must not stay open, of the latest that would have been served."""
_LEAST_DECIDED: Final = 20
_SHARE_OVER: Final = 1500
"""Requests over which the share of hits is averaged."""
_SAVE_EVERY: Final = 200
"""Requests after which what a domain knows of them is saved."""


class Calibration(Protocol):
    """What one domain has learned: from evidence to probabilities, and from those to a threshold
    (`cache.calibration`)."""

    @property
    def tau(self) -> float | None:
        """The least probability that is served; None as long as there is no evidence."""

    @property
    def stopped(self) -> bool:
        """True where what was learned has turned out to hold no more."""

    def weigh(self, candidate: Candidate, candidates: Sequence[Candidate]) -> Evidence:
        """What speaks for one of the near entries, given the others."""

    def p(self, entry_id: int, s: Evidence) -> float:
        """How likely the answer of this row is right."""

    def note_request(self, p: float, *, hit: bool | None = None) -> None:
        """A request whose best candidate had this probability, 0 where there was none; whether it was a hit."""

    def grading_share(self, p: float) -> float:
        """The share of hits of this probability that should be graded, where 0.05 of all are."""

    def learn(
        self, entry_id: int, s: Evidence, same: bool, weight: float, *, kept: int | None = None, served: bool = False
    ) -> None:
        """A graded pair (`cache.rows.Sample`)."""

    def state(self) -> bytes:
        """All of it."""


class Calibrations(Protocol):
    """Makes calibrations that serve at most `max_wrong` wrong answers per request."""

    def __call__(self, max_wrong: float, state: bytes | None) -> Calibration:
        """A new one, or that of a state; raises ValueError where it cannot be read."""


def domain_of(call: Call, version: str) -> str:
    """The domain of a call; `version` is that of embedder and scorer, whose scores are compared in it."""
    tags = call.tags
    return "\0".join((tags.tenant, tags.feature, tags.environment, version))


class Domain:
    """One domain in memory."""

    def __init__(self, name: str, feature: str, max_wrong: float, calibration: Calibration) -> None:
        self.name, self.feature, self.max_wrong = name, feature, max_wrong
        self.calibration = calibration
        self.breaker = Breaker(max_wrong)
        self.watermark = 0
        self.hit_share = 1.0  # the strictest, until it is known
        self.graded_hits = 0
        self.read_ns = 0
        self._requests = 0
        self._decided: deque[bool] = deque(maxlen=RECENT)

    @property
    def tau(self) -> float | None:
        """The least probability that is served; None as long as there is no evidence, or too little of what would be
        served can be compared: what stays open may be what is wrong."""
        decided = self._decided
        known = len(decided) < _LEAST_DECIDED or sum(decided) >= _DECIDED * len(decided)
        return self.calibration.tau if known else None

    @property
    def young(self) -> bool:
        """True as long as all hits are worth grading."""
        return self.graded_hits < _YOUNG

    @property
    def stopped(self) -> bool:
        """True where nothing may be served."""
        return self.breaker.stopped or self.calibration.stopped

    def grading_share(self, p: float, shadow_share: float) -> float:
        """Of hits of this probability, where `shadow_share` of all are to be graded."""
        return 1.0 if self.young else min(1.0, self.calibration.grading_share(p) * shadow_share / SHADOW_SHARE)

    def note_request(self, p: float, *, would: bool, hit: bool) -> bool:
        """A request has been looked up; True where it is time to save."""
        self.calibration.note_request(p, hit=hit)
        self._requests += 1
        over = min(self._requests, _SHARE_OVER)
        self.hit_share += (would - self.hit_share) / over
        return self._requests % _SAVE_EVERY == 1  # the first one too, so that the domain is known to be

    def learn(self, sample: Sample) -> None:
        """A graded pair, in the order of the rows."""
        if sample.same is not None:
            self.calibration.learn(
                sample.entry, sample.evidence, sample.same, sample.weight, kept=sample.kept, served=sample.served
            )
        self.remember(sample)

    def remember(self, sample: Sample) -> None:
        """The same for one that the calibration knows already."""
        if sample.would:
            self._decided.append(sample.same is not None)
        if sample.same is None:
            return
        self.graded_hits += sample.served
        if sample.would:
            self.breaker.note(same=sample.same, weight=sample.weight, hit_share=max(self.hit_share, 0.01))


class Domains:
    """All domains of a process, in step with the rows, to which other processes add too. For one thread at a time."""

    def __init__(self, rows: EvidenceRows, calibrations: Calibrations) -> None:
        self._rows = rows
        self._calibrations = calibrations
        self._held: OrderedDict[str, Domain] = OrderedDict()

    def get(self, name: str, feature: str, max_wrong: float, now_ns: int) -> Domain:
        """The domain, no more than some seconds behind what others have graded."""
        domain = self._held.get(name)
        if domain is None or domain.max_wrong != max_wrong:
            domain = self._held[name] = self._load(name, feature, max_wrong)
            self._make_room()
        self._held.move_to_end(name)
        if now_ns - domain.read_ns >= _REFRESH_NS or now_ns < domain.read_ns:
            self._catch_up(domain, now_ns)
        return domain

    def keep(self, domain: Domain, sample: Sample, now_ns: int) -> None:
        """Learn from a sample, here and in every process."""
        self._rows.keep(domain.name, sample)
        self._catch_up(domain, now_ns)

    def save(self, domain: Domain) -> None:
        """Let a restart begin where this process is."""
        row = DomainRow(
            feature=domain.feature,
            state=domain.calibration.state(),
            watermark=domain.watermark,
            hit_share=domain.hit_share,
            calibrated=domain.tau is not None,
            stopped=domain.stopped,
        )
        self._rows.save(domain.name, row)
        self._rows.forget(domain.name, LABELS)

    def save_all(self) -> None:
        """The same for all."""
        for domain in self._held.values():
            self.save(domain)

    def _load(self, name: str, feature: str, max_wrong: float) -> Domain:
        saved = self._rows.load(name)
        known, calibration = self._calibration(max_wrong, saved)
        domain = Domain(name, feature, max_wrong, calibration)
        if saved is not None:
            domain.hit_share = saved.hit_share
        for row_id, sample in self._rows.samples(name, 0, LABELS):
            domain.watermark = row_id
            (domain.remember if row_id <= known else domain.learn)(sample)
        return domain

    def _calibration(self, max_wrong: float, saved: DomainRow | None) -> tuple[int, Calibration]:
        """The calibration, and the last sample that it has learned from."""
        if saved is not None:
            try:
                return saved.watermark, self._calibrations(max_wrong, saved.state)
            except ValueError:
                _LOG.info("semantic cache: a calibration of another version is learned anew from its samples")
        return 0, self._calibrations(max_wrong, None)

    def _catch_up(self, domain: Domain, now_ns: int) -> None:
        domain.read_ns = now_ns
        was_stopped = domain.stopped
        for row_id, sample in self._rows.samples(domain.name, domain.watermark, LABELS):
            domain.watermark = row_id
            domain.learn(sample)
        if domain.stopped != was_stopped:
            self._tell(domain)
            self.save(domain)

    def _tell(self, domain: Domain) -> None:
        tenant, feature = domain.name.split("\0")[:2]
        if domain.stopped:
            text = "semantic cache: feature %s of tenant %s is stopped: its hits were wrong too often for max_wrong"
        else:
            text = "semantic cache: feature %s of tenant %s goes on: what it would have served was right"
        _LOG.warning(text, feature, tenant)

    def _make_room(self) -> None:
        while len(self._held) > _KEPT:
            _, domain = self._held.popitem(last=False)
            self.save(domain)
