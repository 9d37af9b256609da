"""The trade of hold sizes, simulated: what a row says, and that it says the same each time."""

import random
from itertools import islice

from bench.false_refusals import CAP, MEAN_OUTPUT, PAID_CALLS, POLICIES, Ask, asks, cost, measure, one_by_one, outputs


def test_outputs_have_the_mean_they_are_said_to_have_and_stay_under_the_cap() -> None:
    drawn = list(islice(outputs(random.Random(1), 0.5), 5000))

    assert MEAN_OUTPUT * 0.97 < sum(drawn) / len(drawn) < MEAN_OUTPUT * 1.03
    assert max(drawn) <= CAP


def test_one_by_one_each_call_is_served_whose_cost_still_fits() -> None:
    calls = [Ask(at=0.0, output=100), Ask(at=1.0, output=900), Ask(at=2.0, output=100)]

    assert one_by_one(calls, cost(100) * 2) == ["call-0", "call-2"]


def test_calls_arrive_in_order_and_as_many_as_are_paid_for() -> None:
    made = asks(random.Random(1), 0.5, 20)

    assert len(made) == PAID_CALLS
    assert [ask.at for ask in made] == sorted(ask.at for ask in made)


async def test_a_learned_hold_refuses_fewer_calls_than_the_cap_and_passes_no_cap() -> None:
    rows = {policy.name: await measure(policy, 0.5, 100, seed=2) for policy in POLICIES}

    falsely = {name: float(row["refused falsely"].rstrip("%")) for name, row in rows.items()}
    assert falsely["learned, input counted"] < falsely["learned"] < falsely["cap"]
    assert {row["overshoot"] for row in rows.values()} == {0}


async def test_a_seed_gives_the_same_row_each_time() -> None:
    first, second = [await measure(POLICIES[-1], 0.5, 20, seed=3) for _ in range(2)]

    assert first == second
