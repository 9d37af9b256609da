"""Projection: what a run may cost before it begins, from what is not answered yet and what each answer costs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evals.suite import Item, Suite
from farthing.money import Nano

PriceOf = Callable[[str, Item], Nano]
"""Of a tier and an item: what its answer with its grade may cost at most, nano-dollars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierCost:
    """One tier's part: `items` that it has not answered yet, what they cost at most, nano-dollars."""

    tier: str
    items: int
    most: Nano


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamCost:
    """The part of the questions by which a judge shows that it may decide: their number, what they cost at most
    (nano-dollars) where each is asked once (`least`), and where every one is answered with nonsense first (`most`)."""

    questions: int
    least: Nano
    most: Nano


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """What a run may cost, nano-dollars: `least` where its first candidate is decided as early as can be, `most` where
    none is decided before the last item; `exam` is the part of its judge's exam, None where none is owed."""

    least: Nano
    most: Nano
    tiers: tuple[TierCost, ...]
    exam: ExamCost | None = None


def project(
    suite: Suite,
    lacking: Mapping[str, Sequence[Item]],
    price_of: PriceOf,
    *,
    first: int | None = None,
    compares: bool = True,
    exam: ExamCost | None = None,
) -> Projection:
    """The cost of a run. `lacking` are the items that each tier of the run has not answered, the cheapest candidate
    first; `first`: no more pieces of evidence than that; `compares`: the reference answers what the candidates do,
    else its first items only; `exam`: what its judge's exam costs beside, which comes before all else."""
    pieces = suite.clusters()[:first]
    early = {item.hash for piece in pieces[: suite.rule.items_min] for item in piece}
    whole = {item.hash for piece in pieces for item in piece}
    tiers = []
    least, most = (exam.least, exam.most) if exam else (0, 0)
    candidates = [tier for tier in lacking if tier != suite.reference]
    for tier, items in lacking.items():
        asked = early if tier == suite.reference and not compares else whole
        wanted = [item for item in items if item.hash in asked]
        costs = {item.hash: price_of(tier, item) for item in wanted}
        tiers.append(TierCost(tier=tier, items=len(wanted), most=Nano(sum(costs.values()))))
        most += tiers[-1].most
        if tier == suite.reference or tier == candidates[0]:
            least += sum(cost for item, cost in costs.items() if item in early)
    return Projection(least=Nano(least), most=Nano(most), tiers=tuple(tiers), exam=exam)
