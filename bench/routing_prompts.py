"""Which prompts need the strong model: RouteLLM's own test, replayed. Part `prompts` of `python -m bench.routing`.

A router is given so many labelled prompts (both models' scores), which are drawn anew for each draw and taken out of
the test; it ranks the others.
"""

import gzip
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.routing_curves import Curve, Floats, Outcomes, curve, untied
from router_policies.promptrouter import MEANING_PRIORS, SHAPE_PRIORS, TASK_PRIORS, Prior, PromptRouter, Prompts, learn
from router_policies.promptshape import shape, shapes
from train.texts import Embedded

NOTE: Final = """GPT-4-1106 (strong) and Mixtral 8x7B (weak) on RouteLLM's recorded outcomes, decontaminated. APGR:
mean share of the gap in quality that is recovered, over all shares of calls to the strong model (nothing known: 0.5).
CPT50 and CPT80: percent of calls to the strong model that recover 50 and 80 % of the gap. AIQ: area under the hull of
cost and quality, at 24.7 and 0.24 USD per million tokens (RouteLLM's prices), a token being four characters. `labels`
are drawn anew in each draw and are not in the test; `sd` is that of one draw. `CPU us`: to route one prompt (shape
and score, and the embedding where it is used). Scores of MT-bench are tenths."""
USD_PER_TOKEN: Final = (0.24e-6, 24.7e-6)
"""Weak and strong, as arXiv 2406.18665 puts them: averages over prompts and answers."""
CHARACTERS_PER_TOKEN: Final = 4
KEPT: Final = Path(__file__).parents[1] / "build" / "routing"
"""Vectors of the prompts; embedding them takes four minutes once."""
DRAWS: Final = 400
OURS_DRAWS: Final = {10: 200, 20: 100, 40: 100}
"""By labels of each task. Ours takes seconds a draw, routing by task milliseconds."""
HALF_DRAWS: Final = 20
GSM8K_DRAWS: Final = 100
MT_BENCH_DRAWS: Final = 100
COST_PROMPTS: Final = 200
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
    """The uncontaminated prompts of one benchmark: mmlu, gsm8k or mt_bench (scores of 1 to 10 as tenths)."""
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
    best = 10 if strong.max() > 1 else 1
    return Outcomes(weak / best, strong / best, cost("weak", USD_PER_TOKEN[0]), cost("strong", USD_PER_TOKEN[1]))


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


# --- ours ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Learner:
    """Our router, by what it may see of a prompt."""

    sees: str
    priors: tuple[Prior, ...]
    of: Callable[["Known"], Prompts]


@dataclass(frozen=True)
class Known:
    """A benchmark with all that a router may see of its prompts."""

    recorded: Recorded
    embedded: Embedded

    @cached_property
    def shapes(self) -> Floats:
        """Of all prompts."""
        return shapes(self.recorded.prompts)

    @cached_property
    def vectors(self) -> Floats:
        """MiniLM's."""
        return np.asarray(self.embedded.of(self.recorded.prompts), np.float64)


BY_SHAPE: Final = Learner("prompt", SHAPE_PRIORS, lambda known: Prompts.of(known.shapes))
BY_MEANING: Final = Learner(
    "prompt, embedding", MEANING_PRIORS, lambda known: Prompts.of(known.shapes, vectors=known.vectors)
)
BY_TASK: Final = Learner(
    "prompt, task", TASK_PRIORS, lambda known: Prompts.of(known.shapes, tasks=known.recorded.tasks)
)


def taught(learner: Learner, known: Known, learned: Places) -> PromptRouter:
    """Our router, from these prompts of a benchmark."""
    outcomes = known.recorded.outcomes.at(learned)
    return learn(learner.of(known).at(learned), outcomes.weak, outcomes.strong, learner.priors)


def learned_curves(
    learner: Learner, known: Known, split: Callable[[np.random.Generator], tuple[Places, Places]], draws: int
) -> Iterator[tuple[int, Curve]]:
    """Labels used and the curve of our router, for each draw."""
    for seed in range(draws):
        learned, rest = split(np.random.default_rng(seed))
        scores = taught(learner, known, learned).predicted_gaps(learner.of(known).at(rest))
        yield len(learned), curve(known.recorded.outcomes.at(rest), scores)


def crossed_curve(learner: Learner, known: Known, folds: int = 5) -> tuple[int, Curve]:
    """Each fifth of the prompts is scored by a router that learned from the others; one curve of all."""
    order = np.random.default_rng(0).permutation(len(known.recorded.prompts))
    scores, used = np.empty(len(order)), 0
    for fold in range(folds):
        rest, learned = np.sort(order[fold::folds]), np.sort(np.delete(order, np.s_[fold::folds]))
        scores[rest] = taught(learner, known, learned).predicted_gaps(learner.of(known).at(rest))
        used = len(learned)
    return used, curve(known.recorded.outcomes, scores)


def half(recorded: Recorded, share: float = 0.5) -> Callable[[np.random.Generator], tuple[Places, Places]]:
    """A share of all prompts to learn from, whatever their tasks."""

    def split(dice: np.random.Generator) -> tuple[Places, Places]:
        order = dice.permutation(len(recorded.prompts))
        at = int(len(order) * share)
        return np.sort(order[:at]), np.sort(order[at:])

    return split


def half_by_task(recorded: Recorded, draws: int) -> Iterator[tuple[int, Curve]]:
    """Routing by task with half of all prompts as labels."""
    for seed in range(draws):
        dice = np.random.default_rng(seed)
        learned, rest = half(recorded)(dice)
        gaps = task_gaps(recorded.tasks[learned], recorded.outcomes.gap[learned], len(recorded.by_task))
        yield len(learned), curve(recorded.outcomes.at(rest), untied(gaps[recorded.tasks[rest]], dice))


def cost_us(learner: Learner, known: Known) -> float:
    """CPU microseconds to route one prompt with a router of 40 labels a task: its shape, the score, and the embedding
    where it is used."""
    learned, rest = known.recorded.drawn(40, np.random.default_rng(0))
    router, asked = taught(learner, known, learned), learner.of(known)
    timed = rest[:: len(rest) // COST_PROMPTS]
    began = time.process_time()
    for at in timed:
        vector = asked.vectors[at] if asked.vectors.size else None
        router.predicted_gap(shape(known.recorded.prompts[at]), vector=vector, task=int(asked.tasks[at]))
    routed = time.process_time() - began
    embedded = _embedding_s([known.recorded.prompts[at] for at in timed]) if asked.vectors.size else 0
    return (routed + embedded) / len(timed) * 1e6


def _embedding_s(prompts: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:  # one without vectors that are kept
        model = Embedded(Path(folder))
        began = time.process_time()
        model.of(prompts)
        return time.process_time() - began


# --- the table -----------------------------------------------------------------------------------


def prompt_figures(data: Path) -> Rows:
    """One row a router and budget of labels."""
    embedded = Embedded(KEPT)
    mmlu, gsm8k, mt_bench = (Known(read_outcomes(data, bench), embedded) for bench in ("mmlu", "gsm8k", "mt_bench"))
    rows = [*_watched(_mmlu_rows(mmlu)), *_watched(_unseen_rows(mmlu))]
    rows += _watched(_one_task_rows("GSM8K", gsm8k, (200 / 1307, 0.5), GSM8K_DRAWS))
    rows += _watched(_one_task_rows("MT-bench", mt_bench, (0.5,), MT_BENCH_DRAWS))
    rows += _watched(_transfer_rows(mmlu, gsm8k))
    costs = {learner.sees: round(cost_us(learner, mmlu)) for learner in (BY_SHAPE, BY_MEANING, BY_TASK)}
    return [row | {"CPU us": costs[row["sees"]] if row["router"].startswith("ours") else None} for row in rows]


def _mmlu_rows(known: Known) -> Iterator[dict[str, Any]]:
    recorded = known.recorded
    yield from _untaught_rows("MMLU", recorded)
    for per_task in (10, 20, 40):
        found = list(task_curves(recorded, per_task, DRAWS))
        yield _row("MMLU", f"gap of each task, {per_task} items", "task", found)
    yield _row("MMLU", "gap of each task, half of all", "task", list(half_by_task(recorded, DRAWS)))
    for per_task, draws in OURS_DRAWS.items():
        for learner in (BY_SHAPE, BY_MEANING, BY_TASK):
            found = list(learned_curves(learner, known, lambda dice, n=per_task: recorded.drawn(n, dice), draws))  # type: ignore[misc]
            yield _row("MMLU", f"ours, {per_task} items a task", learner.sees, found)
    for learner in (BY_SHAPE, BY_MEANING, BY_TASK):
        yield _row("MMLU", "ours, half of all", learner.sees, list(_halves(learner, known, HALF_DRAWS)))
    for learner in (BY_SHAPE, BY_TASK):
        yield _row("MMLU", "ours, five-fold", learner.sees, [crossed_curve(learner, known)])


def _unseen_rows(known: Known) -> Iterator[dict[str, Any]]:
    """Learned on the half of the prompts by which constants were chosen, tested on the other half alone."""
    test, recorded = "MMLU, other half", known.recorded
    chosen = np.array([hashlib.sha256(prompt.encode()).digest()[-1] % 2 == 0 for prompt in recorded.prompts])
    learned, rest = np.flatnonzero(chosen), np.flatnonzero(~chosen)
    gaps = task_gaps(recorded.tasks[learned], recorded.outcomes.gap[learned], len(recorded.by_task))
    scores = untied(gaps[recorded.tasks[rest]], np.random.default_rng(0))
    yield _row(
        test, "gap of each task, half of all", "task", [(len(learned), curve(recorded.outcomes.at(rest), scores))]
    )
    for learner in (BY_SHAPE, BY_TASK):
        found = list(learned_curves(learner, known, lambda _: (learned, rest), 1))
        yield _row(test, "ours, half of all", learner.sees, found)


def _halves(learner: Learner, known: Known, draws: int, share: float = 0.5) -> Iterator[tuple[int, Curve]]:
    return learned_curves(learner, known, half(known.recorded, share), draws)


def _one_task_rows(test: str, known: Known, shares: Sequence[float], draws: int) -> Iterator[dict[str, Any]]:
    yield from _untaught_rows(test, known.recorded)
    for learner in (BY_SHAPE, BY_MEANING):
        for share in shares:
            yield _row(test, "ours", learner.sees, list(_halves(learner, known, draws, share)))
        if test == "GSM8K":
            yield _row(test, "ours, five-fold", learner.sees, [crossed_curve(learner, known)])


def _transfer_rows(mmlu: Known, gsm8k: Known) -> Iterator[dict[str, Any]]:
    """Learned on one benchmark, tested on another."""
    few, _ = mmlu.recorded.drawn(40, np.random.default_rng(0))
    for learner in (BY_SHAPE, BY_MEANING):
        for test, source, target, learned in (
            ("GSM8K", mmlu, gsm8k, few),
            ("MMLU", gsm8k, mmlu, np.arange(len(gsm8k.recorded.prompts))),
        ):
            scores = taught(learner, source, learned).predicted_gaps(learner.of(target))
            name = f"ours, learned on {'MMLU' if test == 'GSM8K' else 'GSM8K'}"
            yield _row(test, name, learner.sees, [(len(learned), curve(target.recorded.outcomes, scores))])


def _untaught_rows(test: str, recorded: Recorded) -> Iterator[dict[str, Any]]:
    for router, sees, scores in untaught(recorded):
        draws = DRAWS if router == "random" else 1
        curves = [curve(recorded.outcomes, untied(scores, np.random.default_rng(seed))) for seed in range(draws)]
        yield _row(test, router, sees, [(0, one) for one in curves])


def _watched(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Tells each row as it comes: all of them take minutes."""
    for row in rows:
        print(row, file=sys.stderr, flush=True)
        yield row


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
