"""The replays of the gate: what they are compared with, and that they decide as the gate itself does."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from bench.routing_promotion import Sums, promotion_figures
from bench.routing_records import PRICED, ladder, read_outcomes, tasks_of, usd_per_token
from bench.routing_trials import fixed_size, gate, least_right, mixture, share_interval
from evals.gate import Rule, judge
from farthing.routing import Verdict

MODELS = ("gemini-1.5-flash", "gpt-4o-mini-2024-07-18", "claude-3-haiku-20240307", "gpt-4o-2024-08-06")
REFERENCE = "claude-3-5-sonnet-20240620"


def test_a_replay_of_many_samples_decides_each_as_the_gate_decides_one() -> None:
    dice = np.random.default_rng(5)
    scores = (dice.random((12, 150)) < np.linspace(0.6, 1, 12)[:, None]).astype(float)
    references = (dice.random((12, 150)) < 0.85).astype(float)
    rule = Rule(items=150, margin=0.08, candidates=2)

    run = gate(rule, scores, references)

    single = [judge(rule, zip(*pair, strict=True)) for pair in zip(scores.tolist(), references.tolist(), strict=True)]
    assert run.promoted.tolist() == [one.verdict is Verdict.PASS for one in single]
    assert run.failed.tolist() == [one.verdict is Verdict.FAIL for one in single]
    assert run.items.tolist() == [one.items for one in single]


def test_the_mixture_alone_uses_more_items_than_the_gate_where_nothing_is_to_be_had() -> None:
    scores = (np.random.default_rng(5).random((200, 400)) < 0.78).astype(float)
    rule = Rule(items=400, bar=0.8)

    assert mixture(rule, scores).items.mean() > 2 * gate(rule, scores).items.mean()


def test_the_exact_test_wants_as_many_right_answers_as_the_binomial_distribution_says() -> None:
    # P(X >= 13 of 15 | 0.6) = 0.0271, P(X >= 12 of 15 | 0.6) = 0.0905.
    assert least_right(15, 0.6, 0.05) == 13
    scores = np.array([[1.0] * 13 + [0.0] * 2, [1.0] * 12 + [0.0] * 3])
    assert fixed_size(Rule(items=15, bar=0.6), scores).promoted.tolist() == [True, False]


def test_the_interval_of_a_share_is_the_exact_one() -> None:
    assert share_interval(0, 200) == pytest.approx((0.0, 0.01828), abs=1e-4)  # 1 - 0.025^(1/200)
    assert share_interval(5, 20) == pytest.approx((0.0866, 0.4910), abs=1e-4)
    assert share_interval(20, 20) == pytest.approx((0.8316, 1.0), abs=1e-4)


def test_savings_are_of_the_traffic_and_net_of_what_the_evals_cost() -> None:
    sums = Sums(
        cost=[2.0, 3.0],
        reference_cost=[4.0, 6.0],
        eval_cost=[0.5, 0.5],
        right=[8, 9],
        reference_right=[9, 9],
        traffic=[10, 10],
        items=[20, 40],
        promotions=1,
        decisions=2,
    )

    row = sums.row("notes", 0.05, "gate", per=2)

    assert (row["saved %"], row["net %"], row["accuracy"], row["reference"], row["items"]) == (50, 40, 0.85, 0.9, 60)


def write_outcomes(folder: Path) -> None:
    """Every model right on four items of five, but the first, which is right on two of five."""
    (folder / "zeroeval").mkdir()
    rows = ["qid,task,model,correct,prompt_chars,output_chars"]
    for model in PRICED:
        for item in range(200):
            right = int(item % 5 < (2 if model == MODELS[0] else 4))
            rows.append(f"q{item:03},sums,{model},{right},400,40")
    with gzip.open(folder / "zeroeval" / "outcomes.csv.gz", "wt") as file:
        file.write("\n".join(rows) + "\n")


def test_a_ladder_has_scores_and_prices_of_the_items_that_all_of_its_models_answered(tmp_path: Path) -> None:
    write_outcomes(tmp_path)

    outcomes = read_outcomes(tmp_path)
    found = ladder(outcomes, tasks_of(outcomes)[0], [*MODELS, REFERENCE])

    asked, told = usd_per_token(REFERENCE)
    assert found.scores.mean(axis=1) == pytest.approx([0.4, 0.8, 0.8, 0.8, 0.8])
    assert found.costs[-1] == pytest.approx(np.full(200, 100 * asked + 10 * told))
    assert (asked, told) == (3e-06, 1.5e-05)


def test_the_replay_promotes_what_is_as_good_and_never_what_is_not(tmp_path: Path) -> None:
    write_outcomes(tmp_path)

    rows = promotion_figures(tmp_path)

    of_gate = [row for row in rows if row["replay"] == "notes" and row["test"] == "gate"]
    assert [row["margin"] for row in of_gate] == [0.05, 0.03]
    assert all(row["false"] == 0 for row in rows)
    assert all(row["accuracy"] == row["reference"] or row["replay"] == "wide" for row in rows)
