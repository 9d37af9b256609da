"""Promotion replayed: half of the items as the suite, half as the traffic, and what routing by the gate saves on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench.routing_records import PRICED, Ladder, Outcomes, ladder, read_outcomes, tasks_of
from bench.routing_trials import Run, Test, gate, mixture, share_interval
from evals.gate import Rule

SPLITS: Final = 200
SEED: Final = 20261124
MARGINS: Final = (0.05, 0.03)
LADDER: Final = (
    "gemini-1.5-flash",
    "gpt-4o-mini-2024-07-18",
    "claude-3-haiku-20240307",
    "gpt-4o-2024-08-06",
    "claude-3-5-sonnet-20240620",
)
"""Cheapest first; the last one is the reference."""
CANDIDATES: Final = 4
NOTE: Final = """Of each task, half of the items are the suite and half the traffic, 200 times anew; candidates cheapest
first, the first promotion ends it, alpha 0.05 over all four. `notes`: the five models and prices of the figures to beat
(40.7% at 5 points, 22.5% at 3), summed over three tasks. `wide`: for each split and task a reference of the better half
of the priced models and four cheaper ones, drawn at random. `saved` is the cost of the traffic against the reference
alone, `net` the same after the candidates' eval calls, were the traffic as short as this: with a hundred times the
traffic `net` comes within half a point of `saved`. `accuracy` and `reference` are those of the traffic. `false` counts
promotions of a candidate whose accuracy on all items is worse by the margin or more, `low` and `high` are Clopper and
Pearson's 95% interval of its share. `oracle` knows every accuracy and takes the cheapest that is not worse by the
margin."""


@dataclass(slots=True)
class Sums:
    """What all splits add up to."""

    cost: list[float] = field(default_factory=list)
    reference_cost: list[float] = field(default_factory=list)
    eval_cost: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    reference_right: list[float] = field(default_factory=list)
    traffic: list[int] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    promotions: int = 0
    false: int = 0
    decisions: int = 0

    def row(self, name: str, margin: float, test: str, per: int) -> dict[str, Any]:
        """One line of the table; `per` decisions make one split."""
        of = {what: np.array(getattr(self, what)).reshape(-1, per).sum(axis=1) for what in _SUMMED}
        saved = 1 - of["cost"] / of["reference_cost"]
        net = 1 - (of["cost"] + of["eval_cost"]) / of["reference_cost"]
        low, high = share_interval(self.false, self.decisions)
        return {
            "replay": name,
            "margin": margin,
            "test": test,
            "saved %": round(100 * float(saved.mean()), 1),
            "sd": round(100 * float(saved.std()), 1),
            "net %": round(100 * float(net.mean()), 1),
            "accuracy": round(float((of["right"] / of["traffic"]).mean()), 3),
            "reference": round(float((of["reference_right"] / of["traffic"]).mean()), 3),
            "items": round(float(of["items"].mean())),
            "promoted": self.promotions,
            "false": self.false,
            "of": self.decisions,
            "low": round(low, 4),
            "high": round(high, 4),
        }


_SUMMED: Final = ("cost", "reference_cost", "eval_cost", "right", "reference_right", "traffic", "items")
_TESTS: Final[Mapping[str, Test]] = {"gate": gate, "mixture": mixture}


def promotion_figures(data: Path) -> list[dict[str, Any]]:
    """What promotion by the gate saves and what it risks, beside the mixture alone and an oracle."""
    outcomes = read_outcomes(data)
    tasks = tasks_of(outcomes)
    known = [ladder(outcomes, task, LADDER) for task in tasks]
    rows = [_replay("notes", known, margin, test, len(tasks)) for margin in MARGINS for test in (*_TESTS, "oracle")]
    wide = _random_ladders(outcomes, tasks)
    return [*rows, *(_replay("wide", wide, margin, test, 1) for margin in MARGINS for test in (*_TESTS, "oracle"))]


def _replay(name: str, ladders: Sequence[Ladder], margin: float, test: str, per: int) -> dict[str, Any]:
    """Every ladder through SPLITS splits (a wide one has one split for each of its many ladders)."""
    dice = np.random.default_rng(SEED)
    splits = SPLITS if name == "notes" else 1
    found = [_splits(one, margin, test, splits, dice) for one in ladders]
    sums = Sums()
    for split in range(splits):
        for one, (chosen, used, suite) in zip(ladders, found, strict=True):
            _add(sums, one, margin, chosen[split], used[:, split], suite[split])
    return sums.row(name, margin, test, per)


def _splits(
    one: Ladder, margin: float, test: str, splits: int, dice: np.random.Generator
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The model chosen in each split, the items used for each candidate, and the suite's items in order."""
    models, items = one.scores.shape
    suites = np.array([dice.permutation(items) for _ in range(splits)])
    half = suites[:, : items // 2]
    chosen, used = np.full(splits, models - 1), np.zeros((models - 1, splits), dtype=np.intp)
    if test == "oracle":
        means = one.scores.mean(axis=1)
        return np.full(splits, np.flatnonzero(means > means[-1] - margin)[0]), used, suites
    rule = Rule(items=half.shape[1], margin=margin, candidates=models - 1)
    for candidate in range(models - 1):
        asked = chosen == models - 1
        run: Run = _TESTS[test](rule, one.scores[candidate][half], one.scores[-1][half])
        used[candidate, asked] = run.items[asked]
        chosen[asked & run.promoted] = candidate
    return chosen, used, suites


def _add(
    sums: Sums,
    one: Ladder,
    margin: float,
    chosen: int,
    used: npt.NDArray[np.intp],
    suite: npt.NDArray[np.intp],
) -> None:
    traffic = suite[one.scores.shape[1] // 2 :]
    means = one.scores.mean(axis=1)
    sums.cost.append(float(one.costs[chosen, traffic].sum()))
    sums.reference_cost.append(float(one.costs[-1, traffic].sum()))
    sums.eval_cost.append(float(sum(one.costs[number, suite[:count]].sum() for number, count in enumerate(used))))
    sums.right.append(float(one.scores[chosen, traffic].sum()))
    sums.reference_right.append(float(one.scores[-1, traffic].sum()))
    sums.traffic.append(len(traffic))
    sums.items.append(int(used.sum()))
    sums.decisions += 1
    promoted = bool(chosen != len(one.models) - 1)
    sums.promotions += promoted
    sums.false += promoted and bool(means[chosen] <= means[-1] - margin)


# --- the wide replay -----------------------------------------------------------------------------


def _random_ladders(outcomes: Outcomes, tasks: Sequence[str]) -> list[Ladder]:
    """SPLITS for each task: a reference of the better half of the priced models, and four cheaper ones at random."""
    dice = np.random.default_rng(SEED)
    return [one for task in tasks for one in _drawn(outcomes, task, dice)]


def _drawn(outcomes: Outcomes, task: str, dice: np.random.Generator) -> list[Ladder]:
    models = [model for model in PRICED if (task, model) in outcomes]
    whole = ladder(outcomes, task, models)
    means, costs = whole.scores.mean(axis=1), whole.costs.mean(axis=1)
    fit = [
        number
        for number in np.flatnonzero(means >= np.median(means))
        if np.count_nonzero(costs < costs[number]) >= CANDIDATES
    ]
    found = []
    for reference in dice.choice(fit, SPLITS):
        drawn = dice.choice(np.flatnonzero(costs < costs[reference]), CANDIDATES, replace=False)
        order = [*drawn[np.argsort(costs[drawn])], reference]
        names = tuple(models[number] for number in order)
        found.append(Ladder(task, names, whole.scores[order], whole.costs[order]))
    return found
