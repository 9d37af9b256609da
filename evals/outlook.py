"""Outlook: what a run would still ask, from the answers that are kept."""

from collections.abc import Mapping
from dataclasses import replace

from evals.cells import check_key, question
from evals.cellstore import CellStore
from evals.gate import Gate
from evals.graders import grader_key
from evals.judges import is_judged, standing_key
from evals.options import RunOptions, compares, is_pairwise, ladder, max_age_ns, standing_age_ns
from evals.report import ItemOutcome
from evals.suite import Item, Suite
from evals.verdicts import mean_score
from farthing.routing import Verdict

Kept = Mapping[str, ItemOutcome]
"""Kept answers by the hash of their item."""


def lacking(suite: Suite, options: RunOptions, cells: CellStore, now_ns: int) -> dict[str, list[Item]]:
    """What each tier of a run would be asked at most, the candidates' first, the cheapest before the others. A test
    that kept answers decide asks nothing, and after a promotion nobody is asked."""
    reference = _kept(suite, suite.reference, options, cells, now_ns)
    found: dict[str, list[Item]] = {}
    is_over = False
    for tier in ladder(suite, options.models, options.only):
        kept = _kept(suite, tier, options, cells, now_ns)
        verdict = Verdict.UNDECIDED if is_over else _replayed(suite, tier, options, kept, reference)
        found[tier] = [] if is_over or verdict is not None else _without(suite, kept)
        is_over = is_over or (verdict is Verdict.PASS and options.first is None)
    is_asked = not compares(suite) or any(found.values())
    found[suite.reference] = _without(suite, reference) if is_asked else []
    return found


def owes_exam(suite: Suite, options: RunOptions, cells: CellStore, now_ns: int) -> bool:
    """True where the suite's judge would have to show in this run that it may decide."""
    if suite.judge is None or not is_judged(suite):
        return False
    judges = cells.judges(now_ns=now_ns, oldest_ns=now_ns - standing_age_ns(suite, options))
    return judges.find(standing_key(suite, options.models)) is None


def _kept(suite: Suite, tier: str, options: RunOptions, cells: CellStore, now_ns: int) -> Kept:
    """The tier's answers that count; none where one of them is too old."""
    models, grader = options.models, grader_key(suite)
    oldest_ns = now_ns - max_age_ns(suite, options)
    since_ns = cells.since(check_key(suite, models[tier], models[suite.reference], grader)) or oldest_ns
    since_ns = max(since_ns, options.not_before_ns.get(tier, 0))
    with_text = tier == suite.reference and is_pairwise(suite)
    asked = [question(item, models[tier], grader) for item in suite.sample()]
    found = {one.item.hash: cells.find(one, since_ns, with_text=with_text) for one in asked}
    kept = {item: outcome for item, outcome in found.items() if outcome is not None}
    return {} if any(outcome.made_ns < oldest_ns for outcome in kept.values()) else kept


def _replayed(suite: Suite, tier: str, options: RunOptions, kept: Kept, reference: Kept) -> Verdict | None:
    """What the gate says where kept answers are enough for it to say anything; None where more would be asked."""
    gate = Gate(replace(suite.rule, gives_up=tier not in options.passing))
    for piece in suite.clusters()[: options.first]:
        if gate.is_decided:
            break
        answers = [kept.get(item.hash) for item in piece]
        beside = [reference.get(item.hash) for item in piece] if compares(suite) else []
        if None in answers or None in beside:
            return None
        gate.see(_mean(answers), _mean(beside) if beside else None)
    return gate.evidence().verdict


def _without(suite: Suite, kept: Kept) -> list[Item]:
    return [item for item in suite.sample() if item.hash not in kept]


def _mean(answers: list[ItemOutcome | None]) -> float:
    return mean_score(answer for answer in answers if answer is not None)
