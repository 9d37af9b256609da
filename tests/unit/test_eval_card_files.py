"""Scorecards as files."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.cardfiles import CardFiles, read_card, to_text
from farthing.errors import ConfigError
from farthing.money import Nano
from farthing.routing import Scorecard, Verdict

CARD = Scorecard(
    task="faq",
    tier="small",
    verdict=Verdict.PASS,
    score=0.9125,
    bar=0.85,
    items=160,
    suite="faq",
    suite_hash="a" * 64,
    models=("local/smol", "local/smol-2"),
    run_id="20261124-150000-abcdef",
    decided_ns=1_700_000_000_000_000_000,
    valid_until_ns=1_701_000_000_000_000_000,
    low=0.86,
    high=0.95,
    margin=0.03,
    reference="large",
    difference=-0.0125,
    e_value=2.5e20,
    e_needed=20.0,
    cost=Nano(1_234_567_890),
    prompt_hash="b" * 64,
    grader="c" * 64,
    fingerprints=("fp_1",),
    rule="betting/2",
    reason="promoted: e-value 21 of 20 after 160 items",
)


@given(
    score=st.floats(0, 1),
    e_value=st.floats(0, 1e300),
    margin=st.none() | st.floats(0.001, 0.5),
    cost=st.integers(0, 10**15),
    reason=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60),
    until=st.none() | st.integers(0, 2**62),
)
def test_a_card_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    score: float,
    e_value: float,
    margin: float | None,
    cost: int,
    reason: str,
    until: int | None,
) -> None:
    card = replace(
        CARD, score=score, e_value=e_value, margin=margin, cost=Nano(cost), reason=reason, valid_until_ns=until
    )
    file = tmp_path_factory.getbasetemp() / "card.yaml"

    file.write_text(to_text(card), encoding="utf-8")

    assert read_card(file) == card


def test_the_same_card_is_the_same_text_in_one_file_for_each_task_and_tier(tmp_path: Path) -> None:
    files = CardFiles(tmp_path / "cards")

    first = files.write(replace(CARD, task="a/b")).read_text()
    second = files.write(replace(CARD, task="a/b")).read_text()
    files.write(CARD)

    assert first == second
    assert [path.name for path in sorted(files.directory.iterdir())] == ["a%2Fb--small.yaml", "faq--small.yaml"]
    assert {card.task for card in files.latest()} == {"a/b", "faq"}
    assert files.latest("faq") == (CARD,)


def test_an_undecided_card_does_not_take_the_place_of_a_decided_one(tmp_path: Path) -> None:
    files = CardFiles(tmp_path)
    files.write(CARD)

    files.write(replace(CARD, verdict=Verdict.UNDECIDED))

    assert files.latest() == (CARD,)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("score: 0.9125", "score: 0.99", "digest: does not fit: the card was changed by hand"),
        ("score: 0.9125", "score: high", "faq--small.yaml:5: score: is a number"),
        ("verdict: pass", "verdict: passed", "verdict: is pass, fail or undecided"),
        ("items: 160", "items: 160\nnote: x", "note: is no field of a scorecard"),
        ("items: 160\n", "", "lacks items"),
        ("cost: '1.234567890'", "cost: free", "cost: is an amount in USD, in quotes"),
        ("task: faq", "task: a b", "task: is no name"),
        ("score: 0.9125", "score: [", "is not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_used_leaves_the_card_that_was_read_before(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    files = CardFiles(tmp_path)
    path = files.write(CARD)
    before = files.latest()
    text = path.read_text()
    assert old in text

    path.write_text(text.replace(old, new))

    assert files.latest() == before
    assert told in files.problems[0]
    with pytest.raises(ConfigError, match="The scorecard cannot be used"):
        read_card(path)


def test_a_removed_file_is_a_removed_card(tmp_path: Path) -> None:
    files = CardFiles(tmp_path)
    path = files.write(CARD)
    before = files.version()

    path.unlink()

    assert files.latest() == ()
    assert files.version() != before
