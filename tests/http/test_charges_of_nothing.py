"""An event is booked once and for ever, so one that says nothing must not take the id of one that does."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway import ADMIN_KEY, RunningGateway, running_gateway


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    fee = "  - {provider: mock, model: by-the-call, per_request: 0.5}\n  - {provider: mock, model: gift, free: true}\n"
    async with running_gateway(tmp_path, changes=[("prices:\n", f"prices:\n{fee}")]) as running:
        yield running


async def send(gateway: RunningGateway, **data: Any) -> httpx.Response:
    event = {
        "specversion": "1.0",
        "type": "dev.farthing.usage.v1",
        "source": "/nightly",
        "id": "1",
        "time": datetime.fromtimestamp(gateway.application.house.clock.wall_ns() // 10**9, UTC).isoformat(),
        "data": {"feature": "plain", "provider": "mock", "model": "plain-model", **data},
    }
    return await gateway.client.post("/api/charges", json=event, headers={"authorization": f"Bearer {ADMIN_KEY}"})


@pytest.mark.parametrize("usage", [{}, {"input_uncached": 0, "output": 0}])
async def test_an_event_without_a_token_is_refused_and_its_id_stays_free(
    gateway: RunningGateway, usage: dict[str, int]
) -> None:
    refused = await send(gateway, usage=usage)
    mended = await send(gateway, usage={"input_uncached": 1000})

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "data.usage")
    assert (mended.status_code, mended.json()["duplicate"], mended.json()["cost_usd"]) == (200, False, "0.001000000")


@pytest.mark.parametrize(
    ("data", "usd"),
    [
        ({"usage": {}, "cost_usd": "0"}, "0.000000000"),
        ({"usage": {}, "model": "by-the-call"}, "0.500000000"),
        ({"usage": {"output": 5}, "model": "gift"}, "0.000000000"),
    ],
)
async def test_what_is_stated_has_a_fee_or_is_free_on_purpose_is_booked(
    gateway: RunningGateway, data: dict[str, Any], usd: str
) -> None:
    booked = await send(gateway, **data)

    assert (booked.status_code, booked.json().get("cost_usd")) == (200, usd)
