"""The splits: no text is on both sides. Skipped where the labelled data is not beside the project."""

import pytest

from train.data import HOME, Half, clinc150_choices, clinc150_stream, number, paws, paws_folds, qqp_questions
from train.traps import Pair

needs_data = pytest.mark.skipif(not HOME.is_dir(), reason="the labelled data is not beside the project")


@needs_data
def test_the_halves_of_paws_share_no_sentence() -> None:
    sides = [{text for pair in paws(half) for text in (pair.a, pair.b)} for half in Half]

    assert not sides[0] & sides[1]
    assert sum(len(paws(half)) for half in Half) == 8000


@needs_data
def test_what_constants_were_chosen_by_is_not_in_the_reported_stream() -> None:
    chosen, reported = clinc150_choices(), clinc150_stream()

    # Some texts of CLINC150 occur twice; as rows they are apart.
    assert len(chosen) == len(reported) == 9000
    assert len({q.text for q in chosen} & {q.text for q in reported}) < 10


def test_pairs_that_share_a_sentence_are_in_one_fold() -> None:
    pairs = [Pair("a", "b", True, ""), Pair("b", "c", False, ""), Pair("x", "y", True, ""), Pair("c", "d", True, "")]

    folds = paws_folds(pairs, 97)

    assert folds[0] == folds[1] == folds[3] != folds[2]


def test_questions_that_labels_join_are_one_intent() -> None:
    found = qqp_questions([Pair("a", "b", True, ""), Pair("b", "c", True, ""), Pair("a", "d", False, "")])

    assert {question.text for question in found} == {"a", "b", "c", "d"}
    assert len({question.intent for question in found if question.text in "abc"}) == 1
    assert len({question.intent for question in found}) == 2


def test_a_text_has_the_same_number_on_every_machine() -> None:
    assert number("paws") == 448909036842781788
