"""The policy latency_bound: cheap, good enough, and in time."""

from dataclasses import replace

from farthing.catalog import Measure
from farthing.routing import Latency, RouteQuestion
from router_policies.cheapest_passing import CheapestPassing
from router_policies.latency_bound import LatencyBound
from tests.unit.test_policy_cheapest_passing import SMALL, TINY, question

BOUND = LatencyBound(CheapestPassing(), 2.0, Measure.TOTAL)


def timed(asked: RouteQuestion, samples: int = 20, **seconds: float) -> RouteQuestion:
    """The question with those 95th percentiles of the whole answer, the first byte at half of it."""
    latencies = tuple(
        Latency(tier=tier, samples=samples, first_byte_s=total / 2, total_s=total) for tier, total in seconds.items()
    )
    return replace(asked, latencies=latencies)


def test_the_cheapest_tier_in_time_answers_and_the_reason_shows_its_figure() -> None:
    choice = BOUND.choose(timed(question(SMALL, TINY), tiny=1.5, small=0.5))

    assert choice.tier == "tiny"
    assert choice.reason == (
        "cheapest passing: tiny scored 0.92 of bar 0.85 on sentiment (24 items); tiny takes 1.5 s of 2 s (p95)"
    )


def test_a_tier_that_is_too_slow_is_passed_over_for_the_next_that_passes() -> None:
    choice = BOUND.choose(timed(question(SMALL, TINY), tiny=3, small=1, large=0.1))

    assert choice.tier == "small"
    assert choice.reason == "latency: small in place of tiny: tiny takes 3 s of 2 s (p95)"


def test_a_fast_tier_without_a_pass_is_never_taken() -> None:
    choice = BOUND.choose(timed(question(SMALL), tiny=0.1, small=3, mid=0.1, large=1))

    assert choice.tier == "large"


def test_an_unknown_latency_counts_as_in_time_and_is_said_to_be_unknown() -> None:
    unknown = BOUND.choose(question(TINY))
    few = BOUND.choose(timed(question(TINY), samples=19, tiny=9))

    assert (unknown.tier, few.tier) == ("tiny", "tiny")
    assert unknown.reason.endswith("latency not known")


def test_where_none_is_in_time_the_fastest_that_may_answer_does() -> None:
    choice = BOUND.choose(timed(question(SMALL, TINY), tiny=5, small=3, mid=1, large=4))

    assert choice.tier == "small"


def test_the_first_byte_may_be_what_is_bounded() -> None:
    policy = LatencyBound(CheapestPassing(), 2.0, Measure.FIRST_BYTE)

    assert policy.choose(timed(question(TINY), tiny=3)).tier == "tiny"


def test_without_a_task_nobody_else_may_answer_however_slow_the_default_tier_is() -> None:
    choice = BOUND.choose(timed(question(TINY, task=None), large=9, tiny=0.1))

    assert choice.tier == "large"
