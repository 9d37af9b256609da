"""Caps under fire: far more calls at once, through two workers, than each cap pays for. bench/cap_proof.py is the large
form of the same."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import uvloop

from bench.cap_proof import SCENARIOS, Outcome, config_of, failures, fire
from bench.mock_upstream import MockSettings, running_mock
from bench.victims import running_victim

CALLS, PAYS_FOR, WORKERS = 100, 10, 2


async def fire_at_each(directory: Path) -> Sequence[Outcome]:
    async with running_mock(MockSettings(chunks=4, duration_ms=30, recording=True)) as mock:
        config = config_of(directory, mock.base_url, PAYS_FOR)
        async with running_victim(config, WORKERS) as victim:
            return [await fire(victim, mock, scenario, calls=CALLS, pays_for=PAYS_FOR) for scenario in SCENARIOS]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    found = uvloop.run(fire_at_each(tmp_path_factory.mktemp("caps")))
    return {outcome.scenario: outcome for outcome in found}


@pytest.mark.parametrize("name", [scenario.name for scenario in SCENARIOS])
def test_a_cap_is_never_passed_and_pays_for_what_it_can_whatever_the_calls(
    outcomes: dict[str, Outcome], name: str
) -> None:
    outcome = outcomes[name]

    assert failures([outcome]) == []
    assert outcome.served + outcome.refused + outcome.left == CALLS
