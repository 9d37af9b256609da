"""The measuring of semantic caches: streams, rules, figures, on texts of our own."""

import json
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import pytest

from bench.cacheplot import Point, plot
from bench.cacherules import CalibratedRule, CertainRule, StaticRule, VCacheRule
from bench.cachestreams import Near, Stream, Tally, play
from bench.results import DIRECTORY
from bench.semantic_cache import estimate_rows, served_at
from cache.verifier import Verifier
from train.data import Question

QUESTIONS = [
    Question("How do I close my account?", "close"),
    Question("How can I close my account?", "close"),
    Question("How do I open an account?", "open"),
    Question("Where is the bank?", "where"),
    Question("How can I open an account?", "open"),
]
VECTORS = np.array([[1, 0, 0], [0.98, 0.2, 0], [0.96, -0.28, 0], [0, 0, 1], [0.96, -0.27, 0.05]], np.float32)


class FixedVectors:
    """Stands for `train.texts.Embedded`."""

    def of(self, texts: Sequence[str]) -> np.ndarray:
        found = VECTORS[[next(at for at, one in enumerate(QUESTIONS) if one.text == text) for text in texts]]
        return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def stream() -> Stream:
    return Stream(QUESTIONS, FixedVectors(), Verifier.load())  # type: ignore[arg-type]


def test_a_static_rule_serves_the_nearest_above_its_threshold(stream: Stream) -> None:
    # 1 finds 0 (0.98, right), 2 finds 0 (0.96, wrong), 3 finds none, 4 finds 0 for 1 and 2 were not kept (wrong).
    assert play(stream, range(5), StaticRule(0.9, guards=False)) == Tally(5, 3, 2, 0)


def test_guards_pass_over_what_they_object_to(stream: Stream) -> None:
    # 2 is kept ("open" is not "close"), so 4 finds it.
    assert play(stream, range(5), StaticRule(0.9, guards=True)) == Tally(5, 2, 0, 0)


def test_the_rule_before_evidence_asks_for_a_high_score() -> None:
    rule = CertainRule(0.98)

    assert rule.serve(0, [Near(1, 0.99, 0.97), Near(2, 0.9, 0.99)], lambda _: True) == Near(2, 0.9, 0.99)
    assert rule.serve(0, [Near(1, 0.99, 0.97), Near(2, 0.99, None)], lambda _: True) is None


def test_a_calibrated_rule_grades_its_misses_and_serves_nothing_yet(stream: Stream) -> None:
    graded = []

    served = CalibratedRule(0.01, seed=1).serve(
        1, stream.near(1, np.array([0, 2])), lambda near: not graded.append(near)
    )

    assert served is None
    assert [near.entry for near in graded] == [0]


def test_vcache_explores_less_the_more_often_an_entry_was_right() -> None:
    rule = VCacheRule(0.05, seed=1)
    near = [Near(1, 0.95, 0.9)]

    served = [rule.serve(0, near, lambda _: True) is not None for _ in range(300)]

    assert not served[0]
    assert np.mean(served[-100:]) > 0.8


def test_vcache_goes_on_exploring_an_entry_that_is_often_wrong() -> None:
    rule = VCacheRule(0.05, seed=1)
    grades = iter([True, False] * 1000)

    served = [rule.serve(0, [Near(1, 0.95, 0.9)], lambda _: next(grades)) is not None for _ in range(300)]

    assert np.mean(served) < 0.15


def test_pairs_served_are_those_above_what_the_allowed_share_of_others_reaches() -> None:
    others = np.arange(100) / 100  # at 1 % one may be served: 0.99; so the threshold is above 0.98
    scores = np.concatenate([others, [0.985, 0.5, 0.995, 0.98]])
    same = np.array([False] * 100 + [True] * 4)

    assert served_at(scores, same, 0.01) == 50.0


def test_the_plot_is_an_image_with_a_dot_for_each_estimate() -> None:
    points = [Point("QQP", 0.01, 0, 2000, 0.004, 0.005, 0.001, 0.02), Point("QQP", 0.01, 1, 2000, 0.0, 0.0, 0.0, 0.9)]

    found = ElementTree.fromstring(plot(points))

    assert len(found.findall("{*}circle")) == 2


def test_estimates_are_summed_up_by_stream_and_budget() -> None:
    points = [
        Point("QQP", budget, seed, requests, true, 0.005, 0.001, 0.02)
        for budget in (0.005, 0.01, 0.02)
        for seed, true in ((0, 0.004), (1, 0.0))
        for requests, true in ((2000, 0.003), (3000, true))
    ]

    rows = estimate_rows(points)

    assert [row["budget %"] for row in rows] == [0.5, 1.0, 2.0, None]
    assert rows[0] == {
        "stream": "QQP",
        "budget %": 0.5,
        "seeds": 2,
        "true wrong % of all": 0.2,
        "estimated %": 0.5,
        "intervals that hold the truth": 1,
        "upper ends above it": 2,
        "earlier snapshots %": 100.0,
    }
    assert rows[-1]["seeds"] == 6


# --- the page ------------------------------------------------------------------------------------


def figures(part: str) -> list[dict[str, object]]:
    return json.loads((DIRECTORY / f"semantic_cache{part}.json").read_text())["figures"]


def test_the_page_of_caches_says_what_was_measured() -> None:
    page = (DIRECTORY.parent / "caching.md").read_text().replace("**", "")

    tail = "{hits %:.1f} | {wrong % of all:.2f} | {most wrong % of a seed:.2f} |"
    lines = [
        *("| | " + "ours" + row["rule"].removeprefix("Farthing") + " | " + tail.format(**row) for row in figures("")),
        *(
            "| {stream} | {second half} | {budget %:g} % | ".format(**row) + tail.format(**row)
            for row in figures("_hostile")
        ),
        *("| {true wrong % of all:.2f} | {estimated %:.2f} |".format(**row) for row in figures("_estimates")[-1:]),
    ]

    assert [line for line in lines if line not in page] == []
