"""The measuring of a filter before the embedding, on texts of our own."""

from collections.abc import Sequence

import numpy as np
import pytest

from bench.cacherules import StaticRule
from bench.cachestreams import Stream
from bench.prefilter import Watched, Words, rows
from cache.verifier import Verifier
from train.data import Question

TEXTS = ["How do I close my account?", "How can I close my account?", "Where is the bank?", "Close the old account"]
INTENTS = ["close", "close", "where", "other"]
VECTORS = np.array([[1, 0, 0], [0.98, 0.2, 0], [0, 0, 1], [0.7, 0.7, 0]], np.float32)
ALL = np.arange(4)


class FixedVectors:
    """Stands for `train.texts.Embedded`."""

    def of(self, texts: Sequence[str]) -> np.ndarray:
        return VECTORS[[TEXTS.index(text) for text in texts]]


@pytest.fixture(scope="module")
def stream() -> Stream:
    questions = [Question(text, intent) for text, intent in zip(TEXTS, INTENTS, strict=True)]
    return Stream(questions, FixedVectors(), Verifier.load())  # type: ignore[arg-type]


def test_likeness_by_words_is_their_share_of_all_that_either_has() -> None:
    like = Words(TEXTS).like(0, ALL)

    assert like.tolist() == pytest.approx([1, 1, 0, 2 / 3])  # close, account; of close, old, account


def test_a_question_knows_the_likest_before_it_and_a_kept_one_the_likest_after_it(stream: Stream) -> None:
    watched = Watched(StaticRule(0.99, guards=False), Words(TEXTS), len(TEXTS))  # type: ignore[arg-type]

    for asked in range(4):
        near = stream.near(asked, ALL[:asked])
        watched.serve(asked, near, lambda one: False)

    assert watched.likest.tolist() == pytest.approx([0, 1, 0, 2 / 3])
    assert watched.compared.tolist() == pytest.approx([1, 2 / 3, 0, 0])


def test_a_row_tells_what_each_level_would_cut(stream: Stream) -> None:
    found = rows("mine", stream, Words(TEXTS))

    assert [row["least"] for row in found] == list(Words.levels)
    # The first looks among nothing; the third has no word in common with any.
    assert (found[0]["not looked up %"], found[0]["never embedded %"]) == (50, 25)
