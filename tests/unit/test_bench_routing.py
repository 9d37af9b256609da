"""The routing benchmark: its recipe on small outcomes of our own, and on the recorded ones where they are at hand."""

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench import routing, routing_gaming, routing_live
from bench.routing import HOME, table
from bench.routing_curves import curve
from bench.routing_drift import DETECTORS
from bench.routing_prompts import read_outcomes, task_curves, task_gaps, untaught
from evals.drift import Floats
from router_policies.promptrouter import Prompts, learn
from router_policies.promptshape import shapes

recorded_data = pytest.mark.skipif(not HOME.is_dir(), reason="the recorded outcomes are not on this machine")


def outcome(task: str, prompt: str, weak: int, strong: int, contaminated: int = 0) -> dict[str, object]:
    return {
        "bench": "mmlu",
        "task": task,
        "prompt": prompt,
        "weak": weak,
        "strong": strong,
        "contaminated": contaminated,
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Forty prompts of two tasks; the strong model is better at law only."""
    rows = [outcome("law", f"law {at}", 0, 1) for at in range(20)] + [
        outcome("art", f"art {at}", 1, 1) for at in range(20)
    ]
    (tmp_path / "routellm").mkdir()
    with gzip.open(tmp_path / "routellm" / "outcomes.jsonl.gz", "wt") as file:
        file.write("\n".join(json.dumps(row) for row in [*rows, outcome("law", "leaked", 1, 0, contaminated=1)]))
    return tmp_path


def test_contaminated_prompts_are_not_read(data: Path) -> None:
    recorded = read_outcomes(data, "mmlu")

    assert "leaked" not in recorded.prompts
    assert recorded.outcomes.gap.sum() == 20


def test_what_is_learned_from_is_not_tested_on_and_is_at_most_half_of_a_task(data: Path) -> None:
    recorded = read_outcomes(data, "mmlu")

    learned, rest = recorded.drawn(15, np.random.default_rng(0))

    assert sorted([*learned, *rest]) == list(range(40))
    assert np.bincount(recorded.tasks[learned]).tolist() == [10, 10]


def test_a_tasks_gap_is_shrunk_towards_that_of_all() -> None:
    found = task_gaps(np.array([0, 0, 1, 1]), np.array([1.0, 1, 0, 0]), 3)

    assert found == pytest.approx([12 / 22, 10 / 22, 0.5])  # (2 + 20 * 0.5) / 22; a task without items has that of all


def test_routing_by_task_is_perfect_where_the_task_is_all_there_is(data: Path) -> None:
    recorded = read_outcomes(data, "mmlu")

    found = [curve for _, curve in task_curves(recorded, 5, 3)]

    assert [one.cpt(0.8) for one in found] == pytest.approx([40, 40, 40])


def test_a_part_prints_its_table_and_writes_its_figures(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"router": "none", "APGR": 0.5}]
    monkeypatch.setitem(routing.PARTS, "prompts", routing.Part("Prompts", lambda _: rows, "One\nnote."))
    monkeypatch.setattr(
        sys, "argv", ["routing", "--part", "prompts", "--data", str(data), "--json", str(tmp_path / "p")]
    )

    routing.main()

    assert "router  APGR\nnone     0.5" in capsys.readouterr().out
    written = json.loads((tmp_path / "p").read_text())
    assert (written["figures"], written["note"]) == (rows, "One note.")


def test_without_the_recorded_data_the_benchmark_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["routing", "--data", str(tmp_path / "none")])

    with pytest.raises(SystemExit, match="not on this machine"):
        routing.main()


def test_a_table_of_named_values_has_them_in_lines() -> None:
    assert table({"a": 1.0, "long": 12}) == ["what  value", "a         1", "long     12"]


@recorded_data
def test_the_recipe_reproduces_the_known_figures_on_recorded_outcomes() -> None:
    recorded = read_outcomes(HOME, "mmlu")

    scores = {router: scores for router, _, scores in untaught(recorded)}
    drawn = [one.apgr for _, one in task_curves(recorded, 40, 12)]

    assert (len(recorded.prompts), round(recorded.outcomes.weak.mean(), 4)) == (14037, 0.6809)
    assert curve(recorded.outcomes, scores["longer prompt to strong"]).apgr == pytest.approx(0.583, abs=5e-4)
    assert curve(recorded.outcomes, recorded.outcomes.gap).apgr == pytest.approx(1.268, abs=1e-3)
    assert np.mean(drawn) == pytest.approx(0.651, abs=0.015)  # three standard errors of twelve draws


def test_drift_is_seen_sooner_than_by_the_detector_that_ours_replaces() -> None:
    def runs(seed: int, share: float, items: int) -> Iterator[Floats]:
        dice = np.random.default_rng(seed)
        return ((dice.random(200) < share).astype(float) for _ in range(items))

    ours, theirs = (np.median(seen(0.85, runs(1, 0.75, 5_000))) for seen in DETECTORS.values())
    false = [np.isfinite(seen(0.85, runs(2, 0.95, 1_000))).mean() for seen in DETECTORS.values()]

    assert ours < 0.8 * theirs
    assert max(false) < 0.02


def test_a_flattered_judge_may_not_decide_and_a_broken_deployment_loses_its_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routing_gaming, "RUNS", 8)

    shares = {row["what"]: row["share, %"] for row in routing_gaming.gaming_figures()}

    assert shares["constant answer: promoted by the gate alone"] == 100
    assert shares["constant answer: its judge may decide"] == 0
    assert shares["constant answer: promoted, outputs compared"] == 0
    assert shares["broken deployment: promoted"] == 0
    assert shares["then it breaks: demoted"] == 100


@recorded_data
def test_agreement_on_recorded_answers_stays_above_what_both_scores_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing_live, "RUNS", 3)
    monkeypatch.setattr(routing_live, "TASKS", ("gsm",))

    rows = {row["instead"]: row for row in routing_live.live_figures(HOME)}

    worst = rows["gemma-2-2b-it"]
    assert worst["agrees, before"] >= worst["right, before"] + 0.95 - 1 - 0.05
    assert (worst["agrees, before"], worst["then"]) == pytest.approx((0.926, 0.504), abs=0.001)
    assert (worst["seen, %"], rows["gpt-4o-2024-08-06"]["seen, %"]) == (100, 0)


@recorded_data
def test_a_router_that_sees_only_the_prompt_beats_the_best_published_with_40_labels_a_task() -> None:
    recorded = read_outcomes(HOME, "mmlu")
    learned, rest = recorded.drawn(40, np.random.default_rng(0))
    seen, tested = learned[::2], rest[::5]  # half of the labels and a fifth of the test: in a second

    outcomes = recorded.outcomes.at(seen)
    router = learn(Prompts.of(shapes([recorded.prompts[at] for at in seen])), outcomes.weak, outcomes.strong)
    found = router.predicted_gaps(Prompts.of(shapes([recorded.prompts[at] for at in tested])))

    assert curve(recorded.outcomes.at(tested), found).apgr > 0.603
