"""Live grading replayed: what agreement with the reference shows where another model answers behind the same name."""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from evals.agreement import agreement
from evals.drift import Floats, Promise, Watch

RUNS: Final = 200
HEALTHY: Final = 1_000
MOST: Final = 3_000
SEED: Final = 7_919
MARGIN: Final = 0.05
CANDIDATE: Final = "gpt-4o-mini-2024-07-18"
REFERENCE: Final = "claude-3-5-sonnet-20241022"
INSTEAD: Final = ("gpt-4o-2024-08-06", "gpt-3.5-turbo-0125", "Meta-Llama-3.1-8B-Instruct", "gemma-2-2b-it")
"""A better one, and three that are worse and worse."""
TASKS: Final = ("gsm", "crux", "math-l5")
Row = Mapping[str, Any]
NOTE: Final = """ZeroEval's recorded answers of gpt-4o-mini beside those of the reference claude-3.5-sonnet, compared
by `evals.agreement` as live grading does. Half of a task's items are the eval, which gives the scores and so the
floor (score + reference's - 1 - margin of .05); live traffic is drawn from the other half, with replacement. First
1,000 healthy grades, of which the first 100 show what is usual (`lost`: runs that raised the alarm there, which is
false); then another model answers behind the same name. `bound` is the median of what agreement was held to at that
moment; `seen` the share of the other runs that raised the alarm within 3,000 grades more, `items` and `p95` how many
it took those. 200 runs, a half drawn anew in each."""


@dataclass(frozen=True, slots=True)
class Said:
    """One model's answers to the items of one task: whether each is right, and whether it is the reference's."""

    right: Floats
    agrees: Floats


def live_figures(data: Path) -> list[Row]:
    """A row for each task and each model that answers in place of the candidate."""
    answers = read_answers(data)
    return [row for task in TASKS for row in _rows(task, answers[task])]


def read_answers(data: Path) -> Mapping[str, Mapping[str, Mapping[str, tuple[str, float]]]]:
    """By task, model and item: the answer, and 1 where it is right."""
    found: dict[str, dict[str, dict[str, tuple[str, float]]]] = defaultdict(lambda: defaultdict(dict))
    with gzip.open(data / "zeroeval" / "responses_ladder.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            found[row["task"]][row["model"]][row["qid"]] = str(row["answer"]), float(row["correct"])
    return found


def compared(answers: Mapping[str, Mapping[str, tuple[str, float]]], model: str) -> Said:
    """A model's answers, item by item in the order of the reference's that can be compared with anything."""
    ours, theirs = answers[model], answers[REFERENCE]
    grades = {item: agreement(_chat(theirs[item][0]), _chat(ours.get(item, ("", 0.0))[0])) for item in theirs}
    items = [item for item, grade in grades.items() if grade is not None]
    return Said(
        np.array([ours.get(item, ("", 0.0))[1] for item in items]),
        np.array([grades[item] for item in items], dtype=np.float64),
    )


def _chat(answer: str) -> Mapping[str, Any]:
    return {"choices": [{"message": {"content": answer}}]}


def _rows(task: str, answers: Mapping[str, Mapping[str, tuple[str, float]]]) -> Iterator[Row]:
    candidate, reference = compared(answers, CANDIDATE), compared(answers, REFERENCE)
    for other in INSTEAD:
        yield _row(task, other, candidate, compared(answers, other), reference.right)


def _row(task: str, name: str, candidate: Said, other: Said, reference: Floats) -> Row:
    dice = np.random.default_rng((SEED, len(name), len(reference)))
    lost, bounds, delays = 0, [], []
    for _ in range(RUNS):
        watch, live = _promoted(candidate, reference, dice)
        watch = _seen(watch, candidate.agrees[dice.choice(live, HEALTHY)])
        if watch.alarms:
            lost += 1
            continue
        bounds.append(watch.bound)
        after = _seen(watch, other.agrees[dice.choice(live, MOST)])
        delays.append(after.graded - HEALTHY if after.alarms else np.inf)
    items = np.array(delays)
    seen = items[np.isfinite(items)]
    return {
        "task": task,
        "instead": name,
        "right, before": _share(candidate.right),
        "after": _share(other.right),
        "agrees, before": _share(candidate.agrees),
        "then": _share(other.agrees),
        "bound": round(float(np.median(bounds)), 3),
        "lost, %": round(100 * lost / RUNS, 1),
        "seen, %": round(100 * len(seen) / len(items), 1),
        "items": float(np.median(seen)) if len(seen) else None,
        "p95": float(np.ceil(np.quantile(seen, 0.95))) if len(seen) else None,
    }


def _promoted(candidate: Said, reference: Floats, dice: np.random.Generator) -> tuple[Watch, Any]:
    """A watch with the floor that an eval on half of the items gives, and the items of the other half."""
    order = dice.permutation(len(reference))
    tested, live = np.split(order, [len(order) // 2])
    floor = max(0.0, float(candidate.right[tested].mean() + reference[tested].mean()) - 1 - MARGIN)
    return Watch(promise=Promise(floor=floor, margin=MARGIN, period=100)), live


def _seen(watch: Watch, values: Floats) -> Watch:
    for value in values.tolist():
        watch = watch.see(value)
        if watch.alarms:
            break
    return watch


def _share(values: Floats) -> float:
    return round(float(values.mean()), 3)
