"""In which order the deployments of a tier are tried."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.catalog import Deployment, Provider
from router_policies.deployments import ordered

PROVIDER = Provider(name="p", adapter="openai", base_url="http://127.0.0.1:1")


def deployments(*weights: int) -> list[Deployment]:
    return [
        Deployment(name=f"m{number}", provider=PROVIDER, model=f"m{number}", weight=weight)
        for number, weight in enumerate(weights)
    ]


@given(weights=st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any), start=st.integers(0, 10**9))
def test_each_deployment_comes_first_as_often_as_its_weight_says(weights: list[int], start: int) -> None:
    total = sum(weights)

    firsts = Counter(ordered(deployments(*weights), turn=turn)[0].model for turn in range(start, start + total))

    if len(weights) > 1:
        assert firsts == Counter({f"m{number}": weight for number, weight in enumerate(weights) if weight})


@given(
    weights=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    turn=st.integers(0, 10**9),
    cooling=st.sets(st.sampled_from(["p/m0", "p/m1", "p/m2", "p/m3"])),
)
def test_every_deployment_is_tried_once_and_those_that_cool_come_last(
    weights: list[int], turn: int, cooling: set[str]
) -> None:
    order = [place.id for place in ordered(deployments(*weights), turn=turn, cooling=cooling)]

    assert sorted(order) == [f"p/m{number}" for number in range(len(weights))]
    assert order == sorted(order, key=lambda place: place in cooling)


@pytest.mark.parametrize(("weights", "firsts"), [((2, 2, 2), "021021"), ((3, 2), "01010"), ((6, 4), "01010")])
def test_turns_are_spread_out_rather_than_given_in_one_block(weights: tuple[int, ...], firsts: str) -> None:
    turns = [ordered(deployments(*weights), turn=turn)[0].model for turn in range(len(firsts))]

    assert turns == [f"m{number}" for number in firsts]


def test_when_one_cools_down_the_others_share_its_turns_by_weight() -> None:
    firsts = Counter(ordered(deployments(5, 1, 1), turn=turn, cooling={"p/m0"})[0].model for turn in range(10))

    assert firsts == {"m1": 5, "m2": 5}
