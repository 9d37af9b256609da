"""The order in which deployments are tried: turns by weight, load, or a key; fair, and as bounded as promised."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.catalog import Deployment, Provider
from router_policies.deployments import by_key, by_load, by_turn, pool_of, within_bound

WEIGHTS = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def seeds(count: int) -> tuple[int, ...]:
    provider = Provider(name="p", adapter="openai", base_url="http://x")
    places = [Deployment(name=f"m{number}", provider=provider, model=f"m{number}") for number in range(count)]
    return pool_of("t", places).seeds


def all_of(weights: list[int]) -> list[int]:
    return list(range(len(weights)))


@given(weights=WEIGHTS, start=st.integers(0, 10**9))
def test_over_one_round_of_turns_each_comes_first_as_often_as_its_weight_says(weights: list[int], start: int) -> None:
    total = sum(weights)

    firsts = Counter(by_turn(weights, all_of(weights), turn)[0] for turn in range(start, start + total))

    assert firsts == dict(enumerate(weights))


@given(weights=WEIGHTS, turn=st.integers(0, 10**9), data=st.data())
def test_every_order_has_each_deployment_once(weights: list[int], turn: int, data: st.DataObject) -> None:
    loads = data.draw(st.lists(st.integers(0, 50), min_size=len(weights), max_size=len(weights)))
    among = all_of(weights)

    orders = [
        by_turn(weights, among, turn),
        by_load(weights, among, loads, turn),
        by_key(weights, seeds(len(weights)), among, turn),
        within_bound(weights, among, loads),
    ]

    assert [sorted(order) for order in orders] == [among] * 4


@pytest.mark.parametrize(("weights", "firsts"), [((2, 2, 2), "021021"), ((3, 2), "01010"), ((6, 4), "01010")])
def test_turns_are_spread_out_rather_than_given_in_one_block(weights: tuple[int, ...], firsts: str) -> None:
    turns = [by_turn(weights, list(range(len(weights))), turn)[0] for turn in range(len(firsts))]

    assert "".join(map(str, turns)) == firsts


def test_when_one_is_left_out_the_others_share_its_turns_by_weight() -> None:
    firsts = Counter(by_turn((5, 1, 1), [1, 2], turn)[0] for turn in range(10))

    assert firsts == {1: 5, 2: 5}


@given(weights=WEIGHTS, turn=st.integers(0, 10**9), data=st.data())
def test_the_one_with_the_least_under_way_for_its_weight_comes_first(
    weights: list[int], turn: int, data: st.DataObject
) -> None:
    loads = data.draw(st.lists(st.integers(0, 50), min_size=len(weights), max_size=len(weights)))

    order = by_load(weights, all_of(weights), loads, turn)

    shares = [loads[place] / weights[place] for place in order]
    assert shares == sorted(shares)


@given(weights=WEIGHTS, start=st.integers(0, 10**6))
def test_of_those_alike_the_one_comes_first_whose_turn_it_is(weights: list[int], start: int) -> None:
    idle = [0] * len(weights)

    firsts = Counter(by_load(weights, all_of(weights), idle, turn)[0] for turn in range(start, start + sum(weights)))

    assert firsts == dict(enumerate(weights))


@given(
    weights=st.lists(st.integers(1, 9), min_size=2, max_size=8),
    keys=st.lists(st.integers(0, 2**64 - 1)),
    data=st.data(),
)
def test_when_one_is_gone_only_its_own_keys_move_and_all_others_keep_their_order(
    weights: list[int], keys: list[int], data: st.DataObject
) -> None:
    gone = data.draw(st.integers(0, len(weights) - 1))
    marks = seeds(len(weights))
    left = [place for place in all_of(weights) if place != gone]

    for key in keys:
        before = by_key(weights, marks, all_of(weights), key)
        after = by_key(weights, marks, left, key)

        assert after == [place for place in before if place != gone]


def test_keys_are_shared_out_by_weight_to_within_chance() -> None:
    weights, draws = (1, 2, 5), 8000
    marks = seeds(3)

    firsts = Counter(by_key(weights, marks, [0, 1, 2], key)[0] for key in range(draws))

    for place, weight in enumerate(weights):
        share = weight / 8
        allowed = 4.5 * (draws * share * (1 - share)) ** 0.5  # standard deviations
        assert abs(firsts[place] - draws * share) < allowed


def test_a_new_deployment_takes_its_share_of_keys_and_no_other_key_moves() -> None:
    marks, keys = seeds(4), range(4000)

    moved = 0
    for key in keys:
        before, after = (by_key((1,) * 4, marks, list(range(n)), key)[0] for n in (3, 4))
        assert after in (before, 3)
        moved += after != before

    assert 850 < moved < 1150  # a quarter


@given(weights=WEIGHTS, keys=st.lists(st.integers(0, 3), min_size=1, max_size=60), data=st.data())
def test_one_hot_prompt_never_gives_a_deployment_more_than_five_quarters_of_its_share(
    weights: list[int], keys: list[int], data: st.DataObject
) -> None:
    marks, loads, among = seeds(len(weights)), [0] * len(weights), all_of(weights)

    for key in keys:
        first = within_bound(weights, by_key(weights, marks, among, key), loads)[0]
        loads[first] += 1

        share = sum(loads) * weights[first] / sum(weights)
        assert loads[first] < 1.25 * share + 1  # the bound, rounded up to a whole call
        if data.draw(st.booleans()):
            busy = [place for place in among if loads[place]]
            loads[data.draw(st.sampled_from(busy))] -= 1
