"""The verifier: what it keeps apart, that it is the published model, and that it says the same every time."""

from importlib.resources import files

import numpy as np
import pytest

from cache.guards import parse
from cache.likeness import FALLING, FEATURES, RISING, compare
from cache.verifier import MODEL, Forest, Frequencies, Verifier

# Two features, two trees. The first: cosine <= 0.5 is -1, else number <= 0.5 is +2, else 0. The second: always +0.5.
SMALL = {
    "features": list(FEATURES),
    "base": 0.25,
    "tree_starts": [0, 2],
    "node_features": [FEATURES.index("cosine"), FEATURES.index("number"), 0],
    "node_thresholds": [0.5, 0.5, float("inf")],
    "node_masks": [0xFFFF & ~0b001, 0xFFFF & ~0b010, 0xFFFF],
    "leaves": [[-1.0, 2.0, 0.0] + [0.0] * 13, [0.5] + [0.0] * 15],
}


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return Verifier.load()


def score(verifier: Verifier, a: str, b: str, cosine: float = 0.95) -> float:
    return verifier.score(parse(a), [parse(b)], [cosine])[0]


def test_trees_add_up_the_leaves_that_a_row_falls_into() -> None:
    rows = np.zeros((3, len(FEATURES)))
    rows[:, FEATURES.index("cosine")] = [0.4, 0.6, 0.6]
    rows[:, FEATURES.index("number")] = [0, 0, 1]

    found = Forest(SMALL).probabilities(rows)

    raw = np.array([0.25 - 1 + 0.5, 0.25 + 2 + 0.5, 0.25 + 0 + 0.5])
    assert found == pytest.approx(1 / (1 + np.exp(-raw)))


def test_a_model_of_other_features_is_refused() -> None:
    with pytest.raises(ValueError, match=r"other features: run python -m train\.verifier"):
        Forest(SMALL | {"features": ["cosine"]})


@pytest.mark.parametrize(
    "a, b",
    [
        ("How do I reset my password?", "How do I reset my pasword?"),
        ("What is the fee for a wire transfer?", "what's the fee for a wire transfer"),
        ("How can I freeze my card?", "Please, how can I freeze my card?"),
    ],
)
def test_near_repeats_score_high(verifier: Verifier, a: str, b: str) -> None:
    assert score(verifier, a, b) > 0.9


@pytest.mark.parametrize(
    "a, b",
    [
        ("How do I cook rice?", "How do I cook rice for two hundred people?"),
        ("What is the fee for a transfer?", "What is the fee for a transfer under 18?"),
        ("Who sold the house to Mary?", "Who sold the house to John?"),
        ("How do I enable notifications?", "How do I disable notifications?"),
    ],
)
def test_traps_score_low(verifier: Verifier, a: str, b: str) -> None:
    assert score(verifier, a, b) < 0.5


def test_other_numbers_score_nothing(verifier: Verifier) -> None:
    assert score(verifier, "Convert 10 miles to km", "Convert 12 miles to km", 0.99) == 0.0


def test_the_batch_scores_what_each_alone_scores(verifier: Verifier) -> None:
    asked = parse("How do I close my account?")
    kept = [parse(text) for text in ("How can I close my account?", "How do I open an account?", "Where is Rome?")]
    cosines = [0.93, 0.81, 0.1]

    together = verifier.score(asked, kept, cosines)

    assert list(together) == [verifier.score(asked, [k], [c])[0] for k, c in zip(kept, cosines, strict=True)]
    assert list(verifier.score(asked, [], [])) == []


def test_the_packaged_model_is_the_one_of_the_data_card() -> None:
    from cache.verifier import MODEL_SHA256

    card = files("cache").joinpath("..", "docs", "verifier.md")

    assert MODEL_SHA256 in card.read_text("utf-8")
    assert files("cache").joinpath("data", MODEL).is_file()


def test_features_have_their_names_in_order() -> None:
    a, b = parse("Pay Anna 5 euros before noon"), parse("Pay Bob 6 euros after noon")

    found = dict(zip(FEATURES, compare(a, b, 0.5, Frequencies(["pay"])), strict=True))

    assert found["cosine"] == 0.5
    assert (found["number"], found["entity"], found["antonym"], found["negation"]) == (1, 1, 1, 0)
    assert found["named_both"] == 1
    assert set(FEATURES) >= RISING | FALLING


def test_words_that_moved_are_seen() -> None:
    a, b = parse("the dog chased the cat"), parse("the cat chased the dog")

    found = dict(zip(FEATURES, compare(a, b, 0.99, Frequencies([])), strict=True))

    assert found["stems"] == found["bag"] == 1.0
    assert found["order"] == pytest.approx(2 / 3)  # dog, chase, cat: one of three stays
    assert found["moved"] == 2


def test_rare_words_weigh_more() -> None:
    weigh = Frequencies(["the", "card"])

    assert weigh("the") < weigh("card") < weigh("zyzzyva")
