"""The classifier of tasks: learned from examples, sure only where it is right, the same in its file as in memory."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.shares import wilson
from router_policies.centroid import BadArtefact, CentroidClassifier, bag_of, from_text, to_text
from router_policies.lowmargin import ALARM, LowMargins
from router_policies.tasks import Guess
from router_policies.training import LEAST_EXAMPLES, CannotTell, Example, digest_of, train
from tests.labelled import SUMS, TEXTS, TICKETS, examples, inseparable

KNOWN = examples(SUMS, TICKETS)


@pytest.fixture(scope="module")
def classifier() -> CentroidClassifier:
    return train(KNOWN)


def sure(classifier: CentroidClassifier, text: str) -> str:
    guess = classifier.guess(text)
    return guess.task if classifier.is_sure(guess) else ""


# --- what it knows -------------------------------------------------------------------------------


def test_new_requests_of_a_task_are_told_by_their_words(classifier: CentroidClassifier) -> None:
    assert sure(classifier, "How much is 41 plus 7?") == SUMS
    assert sure(classifier, "My card was charged twice today, which class of ticket is this?") == TICKETS


@pytest.mark.parametrize("text", ["", "?!", "zebra quagga", "Guten Tag", "🙂", "\ud800"])
def test_what_is_like_no_example_is_left_alone(classifier: CentroidClassifier, text: str) -> None:
    assert sure(classifier, text) == ""


def test_examples_of_no_task_keep_their_like_away_from_the_others() -> None:
    text = "Write a letter about the shop and how much my card was charged in a gentle tone"
    with_others = train(examples(SUMS, TICKETS, ""))

    assert with_others.guess(text).task == ""
    assert with_others.tasks == {SUMS, TICKETS}


def test_its_figures_are_those_of_examples_that_it_had_not_seen(classifier: CentroidClassifier) -> None:
    held = classifier.held

    assert held.items == len(KNOWN) == sum(held.counts.values())
    assert held.right_if_covered >= 0.95
    assert 0 < held.covered <= 1
    assert all(0 <= low <= 1 for low in held.low.values())


def test_the_order_of_the_examples_and_repeats_change_nothing(classifier: CentroidClassifier) -> None:
    other = train([*reversed(KNOWN), *KNOWN[:5]])

    assert (other.margin, other.cosine, other.held, other.source) == (
        classifier.margin,
        classifier.cosine,
        classifier.held,
        classifier.source,
    )
    assert digest_of(KNOWN) == classifier.source


# --- what it refuses -----------------------------------------------------------------------------


def test_tasks_that_no_margin_parts_are_refused_with_the_figures() -> None:
    with pytest.raises(CannotTell, match=r"No margin parts these tasks: .* of 64 held-out examples are right"):
        train(inseparable())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (examples(SUMS), "Examples of one task alone tell nothing"),
        ([*KNOWN, Example("few", "one")], f"The task few has 1 different examples: give {LEAST_EXAMPLES} or more"),
        ([*KNOWN, Example(SUMS, TEXTS[TICKETS][0])], "The same example stands for"),
    ],
)
def test_examples_from_which_nothing_can_be_learned_are_refused(given: list[Example], said: str) -> None:
    with pytest.raises(CannotTell, match=said):
        train(given)


# --- its file ------------------------------------------------------------------------------------


def test_the_classifier_read_from_its_text_is_the_one_that_was_written(classifier: CentroidClassifier) -> None:
    again = from_text(to_text(classifier))

    texts = [text for those in TEXTS.values() for text in those]
    assert [again.guess(text) for text in texts] == [classifier.guess(text) for text in texts]
    assert (again.margin, again.cosine, again.held, again.source) == (
        classifier.margin,
        classifier.cosine,
        classifier.held,
        classifier.source,
    )


def test_no_text_of_an_example_is_in_the_file(classifier: CentroidClassifier) -> None:
    assert "ticket is" not in to_text(classifier)
    assert "declined" not in to_text(classifier)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"tasks": ["sums"]},
        {"rarity": "AAAA"},
        {"rarity": "?"},
        {"means": {}},
        {"held": {}},
        {"margin": "wide"},
    ],
)
def test_a_file_that_was_tampered_with_is_refused(classifier: CentroidClassifier, change: dict[str, object]) -> None:
    members = json.loads(to_text(classifier)) | change

    with pytest.raises(BadArtefact, match="farthing tasks train"):
        from_text(json.dumps(members))


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "\ufeff{}"])
def test_a_file_that_is_something_else_is_refused(text: str) -> None:
    with pytest.raises(BadArtefact):
        from_text(text)


# --- laws ----------------------------------------------------------------------------------------


@given(st.text(max_size=200))
@settings(max_examples=50)
def test_any_text_gets_a_guess_and_always_the_same(classifier: CentroidClassifier, text: str) -> None:
    guess = classifier.guess(text)

    assert guess == classifier.guess(text)
    assert guess.task in (SUMS, TICKETS)
    assert 0 <= guess.margin <= guess.cosine + 1e-6
    assert guess.cosine <= 1 + 1e-5


def test_a_bag_counts_words_and_pairs_and_no_case() -> None:
    bag = bag_of("Add, add! ADD")

    assert len(bag.places) == 2
    assert sorted(np.round(bag.counts, 4)) == [1.6931, 2.0986]  # the pair twice, the word three times: 1 + ln n


# --- low margins of a task -----------------------------------------------------------------------


def test_requests_that_grow_unlike_the_examples_raise_an_alarm_that_ends_with_them() -> None:
    margins = LowMargins(usual=0.2)

    for number in range(500):
        margins.add(low=number % 5 == 0)
    usual = margins.alarms
    until = 0
    while not margins.alarms:
        margins.add(low=until % 5 != 0)
        until += 1
    for _ in range(60):
        margins.add(low=False)

    assert not usual
    assert until < 20
    assert not margins.alarms


def test_a_false_alarm_is_a_thousand_requests_away_on_average() -> None:
    rng = np.random.default_rng(7)
    runs = []
    for _ in range(20):
        margins, seen = LowMargins(usual=0.3), 0
        for low in rng.random(3_000) < 0.3:
            margins.add(low=bool(low))
            seen += 1
            if margins.alarms:
                break
        runs.append(seen)

    assert sum(runs) / len(runs) > ALARM


def test_the_usual_share_allows_for_what_the_examples_cannot_rule_out(classifier: CentroidClassifier) -> None:
    low, count = classifier.held.low[SUMS], classifier.held.counts[SUMS]

    assert low < wilson(low, count)[1] < classifier.usual_low(SUMS) < 1
    assert not classifier.is_sure(Guess(SUMS, 0.0, 1.0))
