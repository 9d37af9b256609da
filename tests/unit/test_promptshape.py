"""The shape of a prompt: what differs between prompts shows in it, whatever the text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_policies.promptshape import CHARACTERS_MAX, SIZE, shape, shapes

QUESTION = "Which of these is NOT a prime?\nA. 2\nB. 4\nC. 5\nD. 7\nAnswer:"


@given(st.text(max_size=300))
def test_any_text_has_a_shape_of_finite_numbers(text: str) -> None:
    found = shape(text)

    assert found.shape == (SIZE,)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    "other",
    [
        QUESTION.replace("NOT ", ""),  # negation
        QUESTION.replace("4", "four"),  # digits in the options
        QUESTION.replace("\nD. 7", ""),  # an option less
        QUESTION.replace("Which", "Why"),  # the kind of question
        QUESTION + " $\\frac{1}{2}$",  # LaTeX
    ],
)
def test_what_makes_a_prompt_another_one_shows_in_its_shape(other: str) -> None:
    assert not np.array_equal(shape(QUESTION), shape(other))


def test_what_lies_beyond_the_limit_is_not_looked_at() -> None:
    assert np.array_equal(shape("a " * CHARACTERS_MAX), shape("a " * CHARACTERS_MAX + "9"))


def test_shapes_are_one_row_a_prompt_also_of_none() -> None:
    assert shapes(["one", "two"]).shape == (2, SIZE)
    assert shapes([]).shape == (0, SIZE)
