"""The judge of the cap proof: it is worth as much as what it would find."""

from dataclasses import replace

import pytest

from bench.cap_proof import SCENARIOS, Outcome, failures

PROVEN = Outcome(
    scenario="plain",
    calls=1000,
    pays_for=100,
    served=99,
    refused=901,
    left=0,
    other=0,
    one_after_another=99,
    cap="0.040060000",
    spent="0.039659400",
    highest=0.99,
    passed=0,
    upstream=99,
    holds=0,
)


def test_a_proof_has_no_failures() -> None:
    assert failures([PROVEN]) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spent": "0.040060001"}, "0.040060001 USD were spent of 0.040060000"),
        ({"passed": 1}, "1 looks above a cap"),
        ({"holds": 2}, "2 holds are left"),
        ({"other": 3}, "3 calls had no proper answer"),
        ({"upstream": 100}, "99 calls were served, but 100 sent"),
        ({"served": 96, "upstream": 96}, "only 96 of 100 calls were served"),
    ],
)
def test_what_was_not_proven_is_said(change: dict[str, object], said: str) -> None:
    found = failures([replace(PROVEN, **change)])  # type: ignore[arg-type]

    assert len(found) == 1
    assert found[0].startswith("plain: ")
    assert said in found[0]


def test_clients_that_left_may_have_been_served_upstream() -> None:
    assert failures([replace(PROVEN, scenario="leavers", served=80, left=30, upstream=99)]) == []


def test_every_scenario_has_a_feature_of_its_own() -> None:
    features = [name for scenario in SCENARIOS for name in scenario.booked_to]

    assert len(set(features)) == len(features)
