"""Laws of the verifier: whatever the texts, another number never helps, and the same question has the same score."""

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from cache.guards import parse
from cache.likeness import FALLING, FEATURES, RISING, compare
from cache.verifier import Frequencies, Verifier, packaged_frequencies

WORDS = st.sampled_from(
    (
        "how",
        "do",
        "I",
        "send",
        "move",
        "money",
        "card",
        "dollars",
        "to",
        "my",
        "for",
        "weeks",
        "in",
        "Rome",
        "not",
        "before",
    )
)
TEXTS = st.lists(WORDS, min_size=1, max_size=8).map(" ".join)
COSINES = st.floats(min_value=-1, max_value=1)


@cache
def verifier() -> Verifier:
    return Verifier.load()


@given(TEXTS, TEXTS, COSINES, st.integers(2, 999), st.integers(2, 999))
def test_making_numbers_differ_never_raises_the_score(a: str, b: str, cosine: float, number: int, other: int) -> None:
    alike = verifier().score(parse(f"{a} {number}"), [parse(f"{b} {number}")], [cosine])[0]

    changed = verifier().score(parse(f"{a} {number}"), [parse(f"{b} {other}")], [cosine])[0]

    assert changed <= alike


@given(TEXTS, TEXTS, COSINES)
def test_a_score_is_a_probability_and_always_the_same(a: str, b: str, cosine: float) -> None:
    found = [verifier().score(parse(a), [parse(b)], [cosine])[0] for _ in range(2)]

    assert found[0] == found[1]
    assert 0 <= found[0] <= 1


@given(TEXTS, TEXTS, COSINES, st.sampled_from(sorted(RISING | FALLING)), st.floats(0, 5))
def test_more_likeness_never_lowers_and_more_difference_never_raises(
    a: str, b: str, cosine: float, name: str, more: float
) -> None:
    row = compare(parse(a), parse(b), cosine, packaged())
    at = FEATURES.index(name)
    changed = [value + more if place == at else value for place, value in enumerate(row)]

    before, after = verifier().probabilities([row, changed])

    assert (after >= before) if name in RISING else (after <= before)


@cache
def packaged() -> Frequencies:
    return packaged_frequencies()
