"""Which prompts need the strong model: RouteLLM's own test, replayed. Part `prompts` of `python -m bench.routing`.

A router is given so many labelled prompts (both models' scores), which are drawn anew for each draw and taken out of
the test; it ranks the others.
"""

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.routing_curves import Curve, Floats, Outcomes, curve, untied

NOTE: Final = """GPT-4-1106 (strong) and Mixtral 8x7B (weak) on RouteLLM's recorded outcomes, decontaminated. APGR:
mean share of the gap in quality that is recovered, over all shares of calls to the strong model (nothing known: 0.5).
CPT50 and CPT80: percent of calls to the strong model that recover 50 and 80 % of the gap. AIQ: area under the hull of
cost and quality, at 24.7 and 0.24 USD per million tokens (RouteLLM's prices), a token being four characters. `labels`
are drawn anew in each draw and are not in the test; `sd` is that of one draw."""
USD_PER_TOKEN: Final = (0.24e-6, 24.7e-6)
"""Weak and strong, as arXiv 2406.18665 puts them: averages over prompts and answers."""
CHARACTERS_PER_TOKEN: Final = 4
DRAWS: Final = 400
PRIOR_ITEMS: Final = 20
"""A task's gap is shrunk towards the gap of all by as many items' weight."""
Rows = list[dict[str, Any]]
Places = NDArray[np.intp]


@dataclass(frozen=True)
class Recorded:
    """One benchmark of the file: prompts, the number of each prompt's task, outcomes."""

    prompts: list[str]
    tasks: Places
    outcomes: Outcomes

    @cached_property
    def by_task(self) -> list[Places]:
        """The prompts of each task."""
        return [np.flatnonzero(self.tasks == task) for task in range(int(self.tasks.max()) + 1)]

    def drawn(self, per_task: int, dice: np.random.Generator) -> tuple[Places, Places]:
        """So many prompts of every task (at most half of it) to learn from, and all others to be tested on."""
        parts = [dice.choice(of, min(per_task, len(of) // 2), replace=False) for of in self.by_task]
        learned = np.concatenate(parts)
        return learned, np.setdiff1d(np.arange(len(self.prompts)), learned)


def read_outcomes(data: Path, bench: str) -> Recorded:
    """The uncontaminated prompts of one benchmark: mmlu, gsm8k or mt_bench."""
    with gzip.open(data / "routellm" / "outcomes.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row["bench"] == bench and not row["contaminated"]]
    names = sorted({row["task"] for row in rows})  # the order of a set would change the draws
    tasks = np.array([names.index(row["task"]) for row in rows], np.intp)
    return Recorded([row["prompt"] for row in rows], tasks, _outcomes(rows))


def _outcomes(rows: Rows) -> Outcomes:
    def numbers(of: Callable[[dict[str, Any]], float]) -> Floats:
        return np.array([of(row) for row in rows], np.float64)

    def cost(side: str, price: float) -> Floats:
        return numbers(lambda row: len(row["prompt"] + row.get(f"{side}_response", ""))) / CHARACTERS_PER_TOKEN * price

    weak, strong = (numbers(lambda row, side=side: row[side]) for side in ("weak", "strong"))  # type: ignore[misc]
    return Outcomes(weak, strong, cost("weak", USD_PER_TOKEN[0]), cost("strong", USD_PER_TOKEN[1]))


# --- routers that learn nothing, and those that know the task ------------------------------------


def untaught(recorded: Recorded) -> Iterator[tuple[str, str, Floats]]:
    """Routers that need no labels, and those that know what nobody does."""
    outcomes = recorded.outcomes
    yield "random", "nothing", np.zeros(len(recorded.prompts))
    yield "longer prompt to strong", "prompt", np.array([len(prompt) for prompt in recorded.prompts], np.float64)
    if len(recorded.by_task) > 1:
        gaps = np.array([outcomes.gap[of].mean() for of in recorded.by_task])
        yield "oracle: true gap of each task", "task", gaps[recorded.tasks]
    yield "oracle: true gap of each prompt", "prompt", outcomes.gap


def task_gaps(tasks: Places, gaps: Floats, number: int) -> Floats:
    """The gap of each of so many tasks by labelled items, shrunk towards that of all: few items say little."""
    overall = gaps.mean()
    sums, counts = np.bincount(tasks, gaps, number), np.bincount(tasks, minlength=number)
    shrunk: Floats = (sums + PRIOR_ITEMS * overall) / (counts + PRIOR_ITEMS)
    return shrunk


def task_curves(recorded: Recorded, per_task: int, draws: int) -> Iterator[tuple[int, Curve]]:
    """Labels used and the curve of routing by task, for each draw."""
    for seed in range(draws):
        dice = np.random.default_rng(seed)
        learned, rest = recorded.drawn(per_task, dice)
        gaps = task_gaps(recorded.tasks[learned], recorded.outcomes.gap[learned], len(recorded.by_task))
        yield len(learned), curve(recorded.outcomes.at(rest), untied(gaps[recorded.tasks[rest]], dice))


# --- the table -----------------------------------------------------------------------------------


def prompt_figures(data: Path) -> Rows:
    """One row a router and budget of labels."""
    recorded = read_outcomes(data, "mmlu")
    rows = [
        _row("MMLU", router, sees, [(0, curve(recorded.outcomes, untied(scores, np.random.default_rng(0))))])
        for router, sees, scores in untaught(recorded)
    ]
    for per_task in (10, 20, 40):
        found = list(task_curves(recorded, per_task, DRAWS))
        rows.append(_row("MMLU", f"gap of each task, {per_task} items", "task", found))
    return rows


def _row(test: str, router: str, sees: str, found: list[tuple[int, Curve]]) -> dict[str, Any]:
    curves = [one for _, one in found]
    apgr = np.array([one.apgr for one in curves])
    return {
        "test": test,
        "router": router,
        "sees": sees,
        "labels": found[0][0],
        "draws": len(curves),
        "APGR": round(float(apgr.mean()), 3),
        "sd": round(float(apgr.std()), 3) if len(curves) > 1 else None,
        "CPT50": round(float(np.mean([one.cpt(0.5) for one in curves])), 1),
        "CPT80": round(float(np.mean([one.cpt(0.8) for one in curves])), 1),
        "AIQ": round(float(np.mean([one.aiq for one in curves])), 3),
    }
