"""What is learned about the length of answers, and from which."""

import pytest

from farthing.record import CacheOutcome, Outcome
from farthing.tags import Tags
from farthing.usage import Usage, UsageSource
from gateway.outputbounds import LEAST_SAMPLES, OutputBounds
from ledger.outputs import latest_outputs
from ledger.testing import example_record
from tests.ledgers import Engine

PAIR = ("search", "m")


def seeded(sizes: list[int]) -> OutputBounds:
    bounds = OutputBounds()
    bounds.seed((*PAIR, Usage(output=size)) for size in sizes)
    return bounds


def test_the_bound_is_the_99th_percentile_and_half_of_it_more() -> None:
    bounds = seeded(list(range(1, 201)))

    assert bounds.bound(*PAIR) == 297  # 198 of 200 are at most 198 long; 198 x 1.5


def test_too_few_answers_give_no_bound() -> None:
    assert seeded([10] * (LEAST_SAMPLES - 1)).bound(*PAIR) is None


def test_only_the_latest_thousand_count() -> None:
    bounds = seeded([5000] * 1000 + [10] * 1000)

    assert bounds.bound(*PAIR) == 15


@pytest.mark.parametrize("usage", [Usage(output=10, reasoning=1), Usage(output=10, output_audio=1)])
def test_output_that_cannot_be_seen_as_it_comes_gives_no_bound(usage: Usage) -> None:
    bounds = seeded([10] * LEAST_SAMPLES)

    bounds.seed([(*PAIR, usage)])

    assert bounds.bound(*PAIR) is None


def test_nothing_is_kept_of_what_nobody_asks_about() -> None:
    bounds = OutputBounds()

    for _ in range(LEAST_SAMPLES):
        bounds.learn(example_record("a", model_served="m", usage=Usage(output=10)))

    assert bounds.bound(*PAIR) is None


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, True),
        ({"outcome": Outcome.ABORTED}, False),
        ({"cache": CacheOutcome.EXACT}, False),
        ({"usage": Usage(output=10, source=UsageSource.ESTIMATED)}, False),
        ({"model_served": "another"}, False),
        ({"tags": Tags(tenant="acme", key_id="k", feature="another")}, False),
    ],
)
def test_whole_answers_that_the_provider_counted_are_learned_from(changes: dict[str, object], counts: bool) -> None:
    bounds = seeded([10] * (LEAST_SAMPLES - 1))

    bounds.learn(example_record("a", **{"model_served": "m", "usage": Usage(output=10), **changes}))

    assert (bounds.bound(*PAIR) is not None) is counts


async def test_a_start_learns_from_the_ledger(engine: Engine) -> None:
    kinds: list[dict[str, object]] = [
        {"usage": Usage(output=7)},
        {"usage": Usage(output=8, reasoning=2), "cache": CacheOutcome.MISS},
        {"usage": Usage(output=9), "outcome": Outcome.UPSTREAM_ERROR},
        {"usage": Usage(output=9, source=UsageSource.ESTIMATED)},
        {"usage": Usage(output=9), "cache": CacheOutcome.EXACT},
        {"usage": Usage(output=9), "tags": Tags(tenant="acme", key_id="k", feature="another")},
    ]
    start_ns = 1_800_000_000 * 10**9
    await engine.settle(
        *(
            example_record(str(number), model_served="m", received_ns=start_ns + number, **changes)
            for number, changes in enumerate(kinds)
        )
    )

    learned = latest_outputs(engine.database, ["search"])

    assert learned == [(*PAIR, Usage(output=7)), (*PAIR, Usage(output=8, reasoning=2))]
