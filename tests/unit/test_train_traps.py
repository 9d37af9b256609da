"""Traps and near repeats: what is changed, and that the same seed makes the same pairs."""

import random

import pytest

from train.traps import REPEATS, TRAPS, make_pairs, make_traps

TEXTS = ("How do I send 20 dollars to Paris before noon?", "I can't find my card in London, what is the fee?")


@pytest.mark.parametrize(
    "kind, text, expected",
    [
        ("number", "after two weeks", {"three weeks", "ten weeks", "twenty weeks", "six weeks"}),
        ("entity", "a flight to Rome", {"London", "Paris", "Madrid", "Vienna", "Tokyo"}),
        ("antonym", "how to enable it", {"disable"}),
        ("negation", "why can't I pay", {"why can I pay"}),
        ("scope", "open an account?", {"for kids?", "at night?", "in cash?", "for students?"}),
        ("words", "transfer money between accounts", {"money transfer", "accounts"}),
    ],
)
def test_a_trap_changes_one_thing(kind: str, text: str, expected: set[str]) -> None:
    found = {TRAPS[kind](text, random.Random(seed)) for seed in range(40)} - {None}

    assert text not in found
    assert any(part in changed for part in expected for changed in found if changed)


@pytest.mark.parametrize("kind", sorted(REPEATS))
def test_a_repeat_is_another_text_or_none(kind: str) -> None:
    assert REPEATS[kind]("how do i pay, what is the fee", random.Random(1)) not in ("", "x")


@pytest.mark.parametrize("kind", ["number", "entity", "antonym", "negation", "words"])
def test_a_text_without_such_a_thing_has_no_such_trap(kind: str) -> None:
    assert TRAPS[kind]("hello", random.Random(1)) is None


def test_the_same_seed_makes_the_same_pairs() -> None:
    assert list(make_pairs(TEXTS, 7)) == list(make_pairs(TEXTS, 7))
    assert {pair.same for pair in make_pairs(TEXTS, 7)} == {True, False}
    assert all(not pair.same and pair.a in TEXTS for pair in make_traps(TEXTS, 7))
