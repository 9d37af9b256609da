"""Learned holds in a whole gateway: a start learns from the ledger, and a crowd of streams never passes a cap."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from farthing.record import Outcome
from farthing.tags import Tags
from farthing.usage import Usage
from gateway.outputbounds import LEAST_SAMPLES
from ledger import reports
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import SQLiteFile
from ledger.testing import ManualClock, example_record
from tests.gateway import RunningGateway, running_gateway

RUN_CAP = 500_000
"""Nano-dollars of each run: 250 output tokens, or one call at a cap of 150 with its input, but not two."""
CHUNKS = 10
TAGS = Tags(tenant="acme", key_id="first", feature="learned")


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway whose ledger has enough short answers of the feature."""
    (tmp_path / "data").mkdir()
    ledger = await SQLiteLedger.open(tmp_path / "data" / "ledger.db", ManualClock())
    short = {"model_served": "plain-model", "tags": TAGS, "usage": Usage(output=2)}
    await asyncio.gather(*(ledger.settle(None, example_record(f"old-{n}", **short)) for n in range(LEAST_SAMPLES)))
    await ledger.close()
    async with running_gateway(tmp_path, chunks=CHUNKS, duration_ms=50) as running:
        yield running


async def stream(gateway: RunningGateway, run: str, feature: str = "learned") -> httpx.Response:
    headers = {"x-farthing-feature": feature, "x-farthing-run": run}
    return await gateway.chat("hi", model="plain-model", headers=headers, stream=True, max_tokens=150)


async def test_a_start_learns_what_answers_were_like_from_the_ledger(gateway: RunningGateway) -> None:
    assert gateway.application.house.runtime.outputs.bound("learned", "plain-model") == 3
    assert gateway.application.house.runtime.outputs.bound("plain", "plain-model") is None


async def test_streams_run_side_by_side_where_their_caps_would_not_fit(gateway: RunningGateway) -> None:
    learned = await asyncio.gather(*(stream(gateway, "a") for _ in range(2)))
    capped = await asyncio.gather(*(stream(gateway, "b", "plain") for _ in range(2)))

    assert [answer.status_code for answer in learned] == [200, 200]
    assert sorted(answer.status_code for answer in capped) == [200, 402]


async def test_a_crowd_of_streams_never_passes_the_cap_of_its_run(gateway: RunningGateway) -> None:
    answers = await asyncio.gather(*(stream(gateway, "crowd") for _ in range(30)))

    path = gateway.application.house.files.ledger
    (state,) = [
        each for each in reports.budget_states(SQLiteFile(path), now_ns=0) if each.account.scope.endswith("run=crowd")
    ]
    assert state.spent <= RUN_CAP
    assert (state.held, gateway.application.house.ledger.overages) == (0, 0)
    ended = [record for record in gateway.records() if record.tags.run == "crowd"]
    assert len(ended) == len(answers)
    assert {record.outcome for record in ended} <= {Outcome.SUCCESS, Outcome.REFUSED, Outcome.ABORTED}
    assert sum(record.cost for record in ended) == state.spent
