"""The learned router, on prompts whose truth is known."""

import numpy as np
import pytest

from bench.routing_curves import Outcomes, curve
from router_policies.promptrouter import (
    CORRECTED_FROM,
    MEANING_PRIORS,
    TASK_PRIORS,
    Prior,
    Prompts,
    learn,
)

Floats = np.ndarray


def world(count: int, seed: int = 0) -> tuple[Floats, Floats, Floats, Floats]:
    """Shapes of three numbers, 0/1 scores, and the true gap: the strong model is better where the first is high."""
    dice = np.random.default_rng(seed)
    shapes = dice.standard_normal((count, 3))
    weak, strong = 1 / (1 + np.exp(2 * shapes[:, 0] - 1)), np.full(count, 0.85)
    scores = [(dice.random(count) < chance).astype(float) for chance in (weak, strong)]
    return shapes, scores[0], scores[1], strong - weak


def apgr(found: Floats, gaps: Floats) -> float:
    """Of true gaps, without the noise of 0 and 1."""
    ones = np.ones(len(gaps))
    return curve(Outcomes(0 * gaps, gaps, ones, 10 * ones), found).apgr


@pytest.mark.parametrize("labels", [300, CORRECTED_FROM])
def test_a_router_that_learned_ranks_prompts_nearly_as_well_as_one_that_knows(labels: int) -> None:
    shapes, weak, strong, _ = world(labels)
    asked, _, _, gaps = world(2000, seed=1)

    found = learn(Prompts.of(shapes), weak, strong).predicted_gaps(Prompts.of(asked))

    best = apgr(gaps, gaps)
    assert apgr(found, gaps) > 0.5 + 0.9 * (best - 0.5)
    assert np.abs(found - gaps).mean() < 0.1


def test_where_nothing_is_to_be_learned_all_prompts_have_about_the_mean_gap() -> None:
    dice = np.random.default_rng(2)
    shapes = dice.standard_normal((600, 3))
    weak, strong = (dice.random((2, 600)) < [[0.6], [0.8]]).astype(float)

    found = learn(Prompts.of(shapes), weak, strong).predicted_gaps(Prompts.of(shapes))

    assert found.mean() == pytest.approx((strong - weak).mean(), abs=0.03)
    assert found.std() < 0.06


def test_a_task_with_few_labels_is_shrunk_towards_the_others() -> None:
    shapes = np.zeros((200, 3))
    tasks = np.repeat([0, 1], [196, 4])
    weak = np.where(tasks == 0, np.arange(200) % 2, 0).astype(float)
    strong = np.where(tasks == 0, np.arange(200) % 2, 1).astype(float)

    router = learn(Prompts.of(shapes, tasks=tasks), weak, strong, [Prior(0.1, task=0.5)])

    known, few, unknown = (router.predicted_gap(np.zeros(3), task=task) for task in (0, 1, 7))
    assert known == pytest.approx(0, abs=0.05)
    assert 0.1 < few < 0.9  # all four say 1
    assert unknown == pytest.approx(router.predicted_gap(np.zeros(3)))
    assert known < unknown < few


def test_meaning_is_used_where_vectors_are_given() -> None:
    vectors = np.eye(2)[np.arange(100) % 3 % 2]
    weak = vectors[:, 0]

    router = learn(Prompts.of(np.zeros((100, 3)), vectors=vectors), weak, np.ones(100), MEANING_PRIORS)

    gaps = [router.predicted_gap(np.zeros(3), vector=vector) for vector in np.eye(2)]
    assert gaps == pytest.approx([0, 1], abs=0.15)
    with pytest.raises(ValueError, match="vectors of 2 numbers, these prompts have 0"):
        router.predicted_gap(np.zeros(3))


def test_one_prompt_has_the_same_gap_alone_as_among_others() -> None:
    shapes, weak, strong, _ = world(100)
    tasks = np.arange(100) % 3
    prompts = Prompts.of(shapes, tasks=tasks)

    router = learn(prompts, weak, strong, TASK_PRIORS)

    alone = [router.predicted_gap(shape, task=int(task)) for shape, task in zip(shapes[:5], tasks, strict=False)]
    assert alone == pytest.approx(router.predicted_gaps(prompts)[:5])


def test_the_same_labels_make_the_same_router() -> None:
    shapes, weak, strong, _ = world(100)

    first, second = (learn(Prompts.of(shapes), weak, strong).predicted_gaps(Prompts.of(shapes)) for _ in range(2))

    assert np.array_equal(first, second)


def test_models_that_are_always_right_or_always_wrong_have_a_gap_of_nearly_one() -> None:
    shapes, *_ = world(100)

    router = learn(Prompts.of(shapes), np.zeros(100), np.ones(100))

    assert router.predicted_gap(shapes[0]) > 0.9


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 labelled prompts, not 7"):
        learn(Prompts.of(np.zeros((7, 3))), np.zeros(7), np.ones(7))


def test_scores_of_another_scale_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1, not 0 to 7"):
        learn(Prompts.of(np.zeros((8, 3))), np.zeros(8), np.arange(8.0))
