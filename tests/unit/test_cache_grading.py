"""The local grader: what words, numbers and one embedding can tell about two answers, and what stays open."""

import pytest

from cache.grading import LocalGrader
from cache.testing import WordEmbedder

QUESTION = "What is the capital of France?"
LONG = (
    "You can give it back within a month of buying it, at any of our shops, with the receipt that you were given there"
)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("Paris.", "paris", True),
        ("**Paris**", "Paris!", True),
        ("Paris.", "The capital of France is Paris.", True),
        ("Paris.", "Lyon.", False),
        ("Yes, you can.", "No.", False),
        ("No.", "No, it is not.", True),
        ("It costs 20 euros.", "It costs 30 euros.", False),
        ("You can return it.", "You cannot return it.", False),
        ("It opens before noon.", "It opens after noon.", False),
        ("Yes.", "Yes, with the receipt.", False),
        ("You can return it.", "You can return it with the receipt.", False),
        (LONG + ".", LONG + ", so please keep it.", True),
        (LONG + ", 20 times.", LONG + ", 30 times.", None),
        (
            LONG,
            "Trains leave the main station every hour on weekdays and seldom on Sundays, so look at the board",
            False,
        ),
        ("...", "Paris.", None),
    ],
)
async def test_two_answers_are_compared(a: str, b: str, same: bool | None) -> None:
    grader = LocalGrader(WordEmbedder())

    assert await grader.same(QUESTION, a, QUESTION, b) is same
    assert await grader.same(QUESTION, b, QUESTION, a) is same
