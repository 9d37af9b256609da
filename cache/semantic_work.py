"""The blocking half of the semantic cache: all that touches rows and index, for one thread at a time."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from cache.answers import answer_text
from cache.deciding import Arbiter, Decision, Rule, Scorer, Weighed
from cache.domains import Calibrations, Domain, Domains, domain_of
from cache.finding import Finding, Near, Pair, SemanticCounts, SemanticRules
from cache.rows import Sample, SemanticStore
from cache.shelf import Question, Shelf
from farthing.answer import Hit, StoredAnswer
from farthing.call import Call
from farthing.money import Nano
from farthing.ports import Clock
from farthing.record import CacheOutcome

_NS: Final = 1_000_000_000
_FLUSH_EVERY_NS: Final = 5 * _NS


class SemanticWork:
    """Looks up, keeps, learns and counts. `version` is that of the embedder: what is learned holds for its vectors."""

    def __init__(
        self, rows: SemanticStore, shelf: Shelf, scorer: Scorer, calibrations: Calibrations, clock: Clock, version: str
    ) -> None:
        self._arbiter = Arbiter(scorer)
        self.counts = SemanticCounts(vetoes=self._arbiter.vetoes)
        self._rows, self._shelf, self._clock = rows, shelf, clock
        self._domains = Domains(rows, calibrations)
        self._version = f"{version}|{scorer.version}"
        self._sums: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(int))
        self._flushed_ns = 0
        self.due: list[Domain] = []

    def find_none(self, call: Call, scope: bytes, rules: SemanticRules, now_ns: int) -> bool:
        """True where the scope has no entries, which is a request that found nothing."""
        if not self._shelf.is_empty(scope, now_ns):
            return False
        self._flush_now_and_then(now_ns)
        self.counts.empty += 1
        if rules.teaches:
            self._note_request(self._domain(call, rules, now_ns), Decision(None, None), None)
        return True

    def look_up(
        self, call: Call, question: Question, rules: SemanticRules, max_age_s: int | None, until: float
    ) -> Finding:
        """The answer to serve, or what a fresh one may be compared with. After `until` (monotonic seconds) nobody waits
        any more, and nothing counts as served."""
        self._flush_now_and_then(question.now_ns)
        neighbours = self._shelf.near(question, rules.floor)
        self.counts.below += not neighbours
        domain = self._domain(call, rules, question.now_ns)
        decision = self._arbiter.decide(question, neighbours, domain)
        in_time = self._clock.monotonic() < until
        hit = self._hit(question, decision.served, max_age_s) if in_time else None
        if rules.teaches:
            self._note_request(domain, decision, hit)
        if hit is not None and decision.served is not None:
            self.counts.hits += 1
            return Finding(hit, _near(call, question, rules, decision.served, domain))
        best = decision.best
        return Finding(None, _near(call, question, rules, best, domain) if best is not None and best.teaches else None)

    def _hit(self, question: Question, served: Weighed | None, max_age_s: int | None) -> Hit | None:
        answer = self._shelf.answer(question.scope, served.row) if served is not None else None
        if served is None or answer is None or not answer.is_young(question.now_ns, max_age_s):
            return None
        return Hit(kind=CacheOutcome.SEMANTIC, answer=answer, score=served.evidence.score)

    def _domain(self, call: Call, rules: SemanticRules, now_ns: int) -> Domain:
        return self._domains.get(domain_of(call, self._version), call.tags.feature, rules.max_wrong, now_ns)

    def _note_request(self, domain: Domain, decision: Decision, hit: Hit | None) -> None:
        served, best = decision.served, decision.best
        sums = self._sums[domain.feature]
        sums["requests"] += 1
        if hit is not None and served is not None:
            sums["hits"] += 1
            sums["conservative_hits"] += served.rule is Rule.CONSERVATIVE
            sums["saved"] += hit.answer.cost
        p = served.p if served is not None else best.p if best is not None else 0.0
        if domain.note_request(p, would=best is not None and best.would, hit=hit is not None):
            self.due.append(domain)

    def note_skipped(self, skipped: Mapping[tuple[str, str], int]) -> None:
        """What was not done, by feature and the name of its sum (`cache.published`)."""
        for (feature, name), times in skipped.items():
            self._sums[feature][name] += times
        self._flush_now_and_then(self._clock.wall_ns())

    def note_embedded(self, feature: str, cost: Nano) -> None:
        """What embedding a question of this feature has cost."""
        self._sums[feature]["embedding_cost"] += cost

    def put(self, question: Question, answer: StoredAnswer, ttl_s: int) -> int:
        """Keep an answer; its row's id."""
        row_id = self._shelf.put(question, answer, ttl_s)
        self.counts.stored += 1
        return row_id

    def pair(self, near: Near, fresh: StoredAnswer) -> Pair | None:
        """What is to be compared; None where the kept answer is gone, or either says nothing in words."""
        row = self._shelf.row(near.scope, near.row_id, self._clock.wall_ns())
        kept = None if row is None else self._shelf.answer(near.scope, row)
        if row is None or kept is None:
            return None
        said = answer_text(near.call.endpoint, kept), answer_text(near.call.endpoint, fresh)
        if said[0] is None or said[1] is None:
            return None
        return Pair(call=near.call, question_a=row.prompt, answer_a=said[0], question_b=near.text, answer_b=said[1])

    def learn(
        self, near: Near, same: bool | None, share: float | None, kept: int | None, costs: Mapping[str, Nano]
    ) -> None:
        """From a grade, None where it stays open. `share`: of such hits so many are graded, None for a miss."""
        sums = self._sums[near.call.tags.feature]
        for name, cost in costs.items():
            sums[name] += cost
        if same is None:
            sums["undecided"] += 1
            sums["undecided_hits"] += share is not None
            if not near.would:
                return
        now_ns = self._clock.wall_ns()
        domain = self._domain(near.call, near.rules, now_ns)
        sample = Sample(
            entry=near.row_id,
            evidence=near.evidence,
            same=same,
            weight=1 / share if share else 1.0,
            served=share is not None,
            would=near.would,
            kept=kept,
        )
        self._domains.keep(domain, sample, now_ns)
        if same is None:
            return
        self._note_grade(domain, sample)
        if same:
            self._admit(near, now_ns)
        elif near.would:  # one wrong answer is enough: it is taken away for everybody
            self._shelf.delete(near.scope, [near.row_id])
            sums["evicted"] += 1

    def _admit(self, near: Near, now_ns: int) -> None:
        """A second key was given the same answer to the same question: from now on the row serves all."""
        row = self._shelf.row(near.scope, near.row_id, now_ns)
        if near.would and row is not None and not row.serves(near.call.tags.key_id):
            self._shelf.admit(row.id)
            self._sums[near.call.tags.feature]["admitted"] += 1

    def _note_grade(self, domain: Domain, sample: Sample) -> None:
        sums = self._sums[domain.feature]
        if not sample.served:
            sums["graded_misses"] += 1
            return
        sums["graded"] += 1
        sums["wrong"] += not sample.same
        sums["weight"] += sample.weight
        sums["squares"] += sample.weight**2
        sums["wrong_weight"] += 0 if sample.same else sample.weight

    def _flush_now_and_then(self, now_ns: int) -> None:
        if abs(now_ns - self._flushed_ns) >= _FLUSH_EVERY_NS:
            self.flush(now_ns)

    def flush(self, now_ns: int) -> None:
        """Write down what was counted."""
        self._flushed_ns = now_ns
        for feature in list(self._sums):
            self._rows.tally(feature, self._sums[feature])
            del self._sums[feature]

    def save_due(self) -> None:
        """Save what a lookup found that it is time to save: 10 ms that none should wait for. Never raises."""
        try:
            while self.due:
                self._domains.save(self.due.pop())
        except Exception:  # noqa: BLE001 - caches fail open; the next one tries again
            self.counts.errors += 1

    def save(self) -> None:
        """The same, and what was learned."""
        self.flush(self._clock.wall_ns())
        self._domains.save_all()

    def close(self) -> None:
        """Let go of the rows."""
        self._shelf.close()


def _near(call: Call, question: Question, rules: SemanticRules, weighed: Weighed, domain: Domain) -> Near:
    return Near(
        call=call,
        scope=question.scope,
        text=question.text,
        rules=rules,
        row_id=weighed.row.id,
        evidence=weighed.evidence,
        rule=weighed.rule,
        would=weighed.would,
        share=domain.grading_share(weighed.p, rules.shadow_share) if rules.teaches else 0.0,
    )
