"""How much better the strong model would answer a prompt than the weak one, learned from prompts that both answered.

Each model's score is learned by itself, for which model a prompt is hard is plainer than by how much they differ: a
logistic regression on the likeness to some of the labelled prompts, shrunk towards the mean. The gap is the difference
of both; with enough labels, what both predict for prompts they were not fitted to is held against the gaps, and a
quadratic in the two predictions corrects it, for shrinking makes both err in the same direction. Linear algebra only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

LANDMARKS: Final = 150
"""Labelled prompts that others are compared with; 300 were no better, 75 a little worse."""
FOLDS: Final = 4
LEAST: Final = 2 * FOLDS
"""Labelled prompts below which nothing can be said."""
NO_TASK: Final = -1
_CLIP: Final = 4.0
"""Standard deviations: an outlier is far from all, not infinitely far."""
_STEPS: Final = 12
_SETTLED: Final = 1e-2
CORRECTED_FROM: Final = 1000
"""Labelled prompts from which the correction is fitted: with 570 of RouteLLM's it lost, with 1,140 it won."""
_CORRECTION_PENALTY: Final = 20.0
"""Items' weight with which the correction is shrunk towards none."""
_JITTER: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Prior:
    """How much logits are expected to vary, as variances: with the shape (or the meaning) of a prompt, with its task.
    Larger fits more closely. `reach`: how far apart shapes still are alike, in mean squared standard deviations."""

    shape: float
    meaning: float = 0.0
    task: float = 0.0
    reach: float = 1.0


SHAPE_PRIORS: Final = tuple(Prior(shape) for shape in (0.15, 0.4, 1.0))
TASK_PRIORS: Final = tuple(Prior(shape, task=task) for shape, task in ((0.1, 0.1), (0.3, 0.2), (0.6, 0.4), (1.2, 0.8)))
MEANING_PRIORS: Final = tuple(Prior(shape, meaning=shape) for shape in (0.1, 0.3, 0.6))
_MEANING_REACH: Final = 0.2
"""Cosines fall by a factor of e in likeness with each 0.2."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """What is known of prompts without asking a model, one row each: shapes (`promptshape.shapes`), and, where they
    are used, unit vectors of the meaning (no columns if not) and the number of the task (NO_TASK if none is known)."""

    shapes: Floats
    vectors: Floats
    tasks: Places

    @classmethod
    def of(
        cls, shapes: Floats, *, vectors: Floats | None = None, tasks: Sequence[int] | Places | None = None
    ) -> "Prompts":
        """Those of which only some is known."""
        count = len(shapes)
        told = np.full(count, NO_TASK, np.intp) if tasks is None else np.asarray(tasks, np.intp)
        return cls(shapes, np.empty((count, 0)) if vectors is None else np.asarray(vectors, np.float64), told)

    def at(self, rows: Places | slice) -> "Prompts":
        """Some of them."""
        return Prompts(self.shapes[rows], self.vectors[rows], self.tasks[rows])

    def __len__(self) -> int:
        return len(self.shapes)


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike prompts are to the landmarks, under a prior."""

    landmarks: Prompts
    prior: Prior

    def to(self, prompts: Prompts) -> Floats:
        """One row a prompt, one column a landmark. Raises ValueError where vectors are missing or of another model."""
        prior, marks = self.prior, self.landmarks
        sizes = [some.vectors.shape[1] for some in (marks, prompts)]
        if prior.meaning and sizes[0] != sizes[1]:
            raise ValueError(f"the router learned from vectors of {sizes[0]} numbers, these prompts have {sizes[1]}")
        found = prior.shape * np.exp(-_apart(prompts.shapes, marks.shapes) / (2 * prior.reach))
        if prior.meaning:
            found += prior.meaning * np.exp((prompts.vectors @ marks.vectors.T - 1) / _MEANING_REACH)
        return found


def _apart(some: Floats, others: Floats) -> Floats:
    """Mean squared differences."""
    squares = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * some @ others.T
    apart: Floats = np.maximum(squares, 0) / some.shape[1]
    return apart


@dataclass(frozen=True, slots=True)
class PromptRouter:
    """What was learned. `predicted_gap` of a prompt; the larger, the more the strong model is worth its price."""

    mean: Floats
    spread: Floats
    likeness: Likeness
    weights: Floats
    """By landmark and model (weak, strong)."""
    of_task: Floats
    """What a task adds, by task and model; the last row is that of no known task."""
    bias: Floats
    quadratic: Floats
    prior: Prior

    def predicted_scores(self, prompts: Prompts) -> Floats:
        """Of the weak and of the strong model, one row a prompt, from 0 to 1."""
        known = (prompts.tasks >= 0) & (prompts.tasks < len(self.of_task) - 1)
        plain = Prompts(_scaled(prompts.shapes, self.mean, self.spread), prompts.vectors, prompts.tasks)
        logits = self.likeness.to(plain) @ self.weights + self.of_task[np.where(known, prompts.tasks, -1)] + self.bias
        return _sigmoid(logits)

    def predicted_gaps(self, prompts: Prompts) -> Floats:
        """Strong minus weak, one value a prompt, in the unit of the scores that were learned from."""
        gaps: Floats = _quadratic(self.predicted_scores(prompts)) @ self.quadratic
        return gaps

    def predicted_gap(self, shape: Floats, *, vector: Floats | None = None, task: int = NO_TASK) -> float:
        """The same of one prompt."""
        one = Prompts.of(shape[None], vectors=None if vector is None else vector[None], tasks=[task])
        return float(self.predicted_gaps(one)[0])


def learn(prompts: Prompts, weak: Floats, strong: Floats, priors: Sequence[Prior] = SHAPE_PRIORS) -> PromptRouter:
    """From prompts and the scores (0 to 1) of both models. Of the priors the one is taken under which prompts that were
    left out are likeliest. Raises ValueError with too few prompts, or scores of another scale."""
    if len(prompts) < LEAST:
        raise ValueError(f"a router needs at least {LEAST} labelled prompts, not {len(prompts)}")
    scores = np.column_stack([weak, strong]).astype(np.float64)
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"scores must lie between 0 and 1, not {scores.min():g} to {scores.max():g}: scale them first")
    mean, spread = prompts.shapes.mean(axis=0), prompts.shapes.std(axis=0) + 1e-9
    plain = Prompts(_scaled(prompts.shapes, mean, spread), prompts.vectors, prompts.tasks)
    left_out = [(_left_out(plain, scores, prior), prior) for prior in priors]
    predicted, prior = max(left_out, key=lambda tried: _log_likelihood(scores, tried[0]))
    fitted = _fit(plain, scores, prior)
    gaps = scores[:, 1] - scores[:, 0]
    quadratic = _corrected(predicted, gaps) if len(prompts) >= CORRECTED_FROM else _DIFFERENCE
    return PromptRouter(mean, spread, fitted.likeness, fitted.weights, fitted.of_task, fitted.bias, quadratic, prior)


# --- one model's score ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Fitted:
    likeness: Likeness
    weights: Floats
    of_task: Floats
    bias: Floats

    def scores(self, prompts: Prompts) -> Floats:
        return _sigmoid(self.likeness.to(prompts) @ self.weights + self.of_task[prompts.tasks] + self.bias)


def _left_out(prompts: Prompts, scores: Floats, prior: Prior) -> Floats:
    """The scores of each prompt as predicted by a fit to the other folds."""
    folds = np.arange(len(prompts)) % FOLDS
    predicted = np.empty_like(scores)
    for fold in range(FOLDS):
        out = np.flatnonzero(folds == fold)
        rest = np.flatnonzero(folds != fold)
        fitted = _fit(prompts.at(rest), scores[rest], prior, int(prompts.tasks.max()) + 1)
        predicted[out] = fitted.scores(prompts.at(out))
    return predicted


def _fit(prompts: Prompts, scores: Floats, prior: Prior, tasks: int | None = None) -> _Fitted:
    tasks = int(prompts.tasks.max()) + 1 if tasks is None else tasks
    step = max(1, -(-len(prompts) // LANDMARKS))
    likeness = Likeness(prompts.at(slice(None, None, step)), prior)
    root = np.linalg.cholesky(likeness.to(likeness.landmarks) + _JITTER * np.eye(len(likeness.landmarks)))
    columns = np.linalg.solve(root, likeness.to(prompts).T).T
    told = np.sqrt(prior.task) * np.eye(tasks + 1)[prompts.tasks] if prior.task else np.empty((len(prompts), 0))
    coefficients = np.column_stack([_logistic(np.column_stack([columns, told]), column) for column in scores.T])
    weights = np.linalg.solve(root.T, coefficients[: len(root)])
    of_task = np.zeros((tasks + 1, scores.shape[1]))
    if prior.task:
        of_task = np.sqrt(prior.task) * coefficients[len(root) : -1]
    return _Fitted(likeness, weights, of_task, coefficients[-1])


def _logistic(columns: Floats, scores: Floats) -> Floats:
    """Coefficients, the intercept last, by Newton's steps; each but the intercept has the prior of variance 1."""
    rows = np.column_stack([columns, np.ones(len(columns))])
    precision = np.append(np.ones(columns.shape[1]), _JITTER)
    share = float(np.clip(scores.mean(), 0.02, 0.98))
    found = np.append(np.zeros(columns.shape[1]), np.log(share / (1 - share)))
    for _ in range(_STEPS):
        chance = _sigmoid(rows @ found)
        curvature = (rows * np.maximum(chance * (1 - chance), 1e-4)[:, None]).T @ rows + np.diag(precision)
        step = np.linalg.solve(curvature, rows.T @ (scores - chance) - precision * found)
        found = found + step
        if np.abs(step).max() < _SETTLED:
            break
    return found


# --- both ----------------------------------------------------------------------------------------


def _quadratic(scores: Floats) -> Floats:
    weak, strong = scores.T
    return np.column_stack([np.ones(len(scores)), weak, strong, weak**2, strong**2, weak * strong])


_DIFFERENCE: Final = np.array([0.0, -1, 1, 0, 0, 0])
"""Of `_quadratic`: strong minus weak as they are."""


def _corrected(predicted: Floats, gaps: Floats) -> Floats:
    """Coefficients of `_quadratic`: the difference, and a ridge regression of what it misses on all columns, which
    count in standard deviations."""
    columns = _quadratic(predicted)
    missed = gaps - columns @ _DIFFERENCE
    mean, spread = columns[:, 1:].mean(axis=0), columns[:, 1:].std(axis=0) + 1e-9
    plain = (columns[:, 1:] - mean) / spread
    penalty = _CORRECTION_PENALTY * np.eye(plain.shape[1])
    slopes = np.linalg.solve(plain.T @ plain + penalty, plain.T @ (missed - missed.mean())) / spread
    corrected: Floats = _DIFFERENCE + np.append(missed.mean() - slopes @ mean, slopes)
    return corrected


def _log_likelihood(scores: Floats, predicted: Floats) -> float:
    sure = np.clip(predicted, 1e-6, 1 - 1e-6)
    return float((scores * np.log(sure) + (1 - scores) * np.log(1 - sure)).sum())


def _scaled(shapes: Floats, mean: Floats, spread: Floats) -> Floats:
    scaled: Floats = np.clip((shapes - mean) / spread, -_CLIP, _CLIP)
    return scaled


def _sigmoid(logits: Floats) -> Floats:
    chance: Floats = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    return chance
