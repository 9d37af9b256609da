"""Training: a centroid classifier from labelled examples, with a threshold that examples it had not seen confirm."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np

from router_policies.centroid import CentroidClassifier, Held, bag_of, fit
from router_policies.tasks import Guess

FOLDS: Final = 10
LEAST_RIGHT: Final = 0.95
LEAST_EXAMPLES: Final = 10
"""Of a task."""
LEAST_COVERED: Final = 20
"""Held-out examples above a threshold, below which their share of right ones says nothing."""
_FLOOR: Final = 5.0
"""Per cent of the held-out examples whose cosine is below the floor: what is like no example is of no task."""


class Example(NamedTuple):
    """One labelled request, as `Signals.text` reads it."""

    task: str
    text: str


class CannotTell(ValueError):
    """No classifier comes of these examples; the text says why and what to do."""


class _Tried(NamedTuple):
    """A held-out example: its fold, its task, and what the means without its fold made of it."""

    fold: int
    task: str
    guess: Guess

    @property
    def right(self) -> bool:
        return self.guess.task == self.task


def train(examples: Sequence[Example], least_right: float = LEAST_RIGHT) -> CentroidClassifier:
    """A classifier that was right in `least_right` of the held-out examples it was sure of. Their order does not
    matter. Raises CannotTell."""
    known = _checked(examples)
    tasks = tuple(sorted({example.task for example in known}))
    labels = [tasks.index(example.task) for example in known]
    bags = [bag_of(example.text) for example in known]
    folds = _folds(known)
    tried: list[_Tried] = []
    for fold in range(FOLDS):
        rest = [index for index, own in enumerate(folds) if own != fold]
        means = fit([bags[index] for index in rest], [labels[index] for index in rest], tasks)
        tried += [
            _Tried(fold, known[index].task, means.guess(bags[index])) for index, own in enumerate(folds) if own == fold
        ]
    limits = _limits(tried, least_right)
    if limits is None:
        raise CannotTell(_why_not(tried, least_right))
    return CentroidClassifier(
        centroids=fit(bags, labels, tasks),
        margin=limits[0],
        cosine=limits[1],
        held=_held(tried, limits, least_right),
        source=digest_of(known),
    )


def digest_of(examples: Sequence[Example]) -> str:
    """SHA-256 of the examples, in whatever order."""
    found = hashlib.sha256()
    for example in sorted(set(examples)):
        found.update(f"{example.task}\n{len(example.text)}\n{example.text}\n".encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def _checked(examples: Sequence[Example]) -> list[Example]:
    known = sorted(set(examples))
    counts: dict[str, int] = {}
    texts: dict[str, str] = {}
    for example in known:
        counts[example.task] = counts.get(example.task, 0) + 1
        other = texts.setdefault(example.text, example.task)
        if other != example.task:
            raise CannotTell(f"The same example stands for {other} and for {example.task}: keep it for one of them.")
    if len(counts) < 2:
        raise CannotTell("Examples of one task alone tell nothing: give those of a second one.")
    for task, count in counts.items():
        if count < LEAST_EXAMPLES:
            raise CannotTell(f"The task {task} has {count} different examples: give {LEAST_EXAMPLES} or more.")
    return known


def _folds(known: Sequence[Example]) -> list[int]:
    """The fold of each example: dice that always fall alike, and each task in every fold as often."""
    order = sorted(
        range(len(known)),
        key=lambda index: (
            known[index].task,
            hashlib.sha256(known[index].text.encode("utf-8", "surrogatepass")).digest(),
        ),
    )
    folds = [0] * len(known)
    for position, index in enumerate(order):
        folds[index] = position % FOLDS
    return folds


def _limits(tried: Sequence[_Tried], least_right: float) -> tuple[float, float] | None:
    """The least margin from which on enough are right, and the floor of the cosine; None where there is none."""
    floor = float(np.percentile([one.guess.cosine for one in tried], _FLOOR))
    near = sorted((one for one in tried if one.guess.cosine >= floor), key=lambda one: -one.guess.margin)
    found, right = None, 0
    for count, one in enumerate(near, start=1):
        right += one.right
        ends = count == len(near) or near[count].guess.margin < one.guess.margin
        if ends and count >= LEAST_COVERED and right >= least_right * count:
            found = one.guess.margin
    return None if found is None else (found, floor)


def _is_sure(guess: Guess, limits: tuple[float, float]) -> bool:
    return guess.margin >= limits[0] and guess.cosine >= limits[1]


def _held(tried: Sequence[_Tried], limits: tuple[float, float], least_right: float) -> Held:
    sure = [one for one in tried if _is_sure(one.guess, limits)]
    checked = _checked_sure(tried, least_right)
    by_task = {task: [one for one in tried if one.task == task] for task in sorted({one.task for one in tried})}
    return Held(
        items=len(tried),
        right=_share(one.right for one in tried),
        covered=len(sure) / len(tried),
        right_if_covered=_share(one.right for one in sure),
        checked_covered=len(checked) / len(tried),
        checked_right=_share(one.right for one in checked),
        low={
            task: _share(not (one.right and _is_sure(one.guess, limits)) for one in those)
            for task, those in by_task.items()
        },
        counts={task: len(those) for task, those in by_task.items()},
    )


def _checked_sure(tried: Sequence[_Tried], least_right: float) -> list[_Tried]:
    """Those that one half of the folds is sure of, by limits that the other half set."""
    found: list[_Tried] = []
    for half in (0, 1):
        limits = _limits([one for one in tried if one.fold % 2 != half], least_right)
        found += [one for one in tried if one.fold % 2 == half and limits and _is_sure(one.guess, limits)]
    return found


def _share(holds: Iterable[bool]) -> float:
    values = list(holds)
    return sum(values) / len(values) if values else 0.0


def _why_not(tried: Sequence[_Tried], least_right: float) -> str:
    right = _share(one.right for one in tried)
    return (
        f"No margin parts these tasks: {right:.0%} of {len(tried)} held-out examples are right, and among none of the "
        f"surest {LEAST_COVERED} or more {least_right:.0%}. Give more examples, or join tasks that are alike."
    )
