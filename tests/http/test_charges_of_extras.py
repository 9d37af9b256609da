"""Charges may hold what has a price beside the token classes: searches by the piece, images in the output."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from farthing.record import Extra
from ledger.adjustments import priced_part
from tests.gateway import ADMIN_KEY, RunningGateway, running_gateway


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    price = "input_per_mtok: 1, output_per_mtok: 2, output_image_per_mtok: 30, per_web_search: 0.01"
    changes = [("prices:\n", f"prices:\n  - {{provider: mock, model: painter, {price}}}\n")]
    async with running_gateway(tmp_path, changes=changes) as running:
        yield running


async def send(gateway: RunningGateway, **data: Any) -> httpx.Response:
    event = {
        "specversion": "1.0",
        "type": "dev.farthing.usage.v1",
        "source": "/nightly",
        "id": "1",
        "time": datetime.fromtimestamp(gateway.application.house.clock.wall_ns() // 10**9, UTC).isoformat(),
        "data": {"feature": "plain", "provider": "mock", "model": "painter", **data},
    }
    return await gateway.client.post("/api/charges", json=event, headers={"authorization": f"Bearer {ADMIN_KEY}"})


async def test_images_and_searches_are_priced_and_kept_on_the_row(gateway: RunningGateway) -> None:
    """1,000 x 1, 20 x 2 and 80 x 30 USD a million, and 3 searches at 0.01."""
    booked = await send(
        gateway,
        usage={"input_uncached": 1000, "output": 100},
        extras={"output_image": 80, "web_searches": 3, "cached_audio": 0},
    )

    assert booked.json()["cost_usd"] == "0.033440000", booked.text
    (record,) = gateway.records()
    assert record.extras == (
        Extra(name="output_image", quantity=80, rate=28 * 10**9),
        Extra(name="web_searches", quantity=3, rate=10**13),
    )
    assert priced_part(record) == record.cost


async def test_searches_alone_are_enough(gateway: RunningGateway) -> None:
    booked = await send(gateway, extras={"web_searches": 3})

    assert (booked.status_code, booked.json().get("cost_usd")) == (200, "0.030000000")


async def test_beside_a_stated_cost_they_are_kept_without_a_rate(gateway: RunningGateway) -> None:
    booked = await send(gateway, cost_usd="0.5", extras={"storage_searches": 3})

    assert booked.json()["cost_usd"] == "0.500000000"
    (record,) = gateway.records()
    assert record.extras == (Extra(name="storage_searches", quantity=3, rate=0),)


@pytest.mark.parametrize(
    ("extras", "param", "code"),
    [
        ({"storage_searches": 1}, "data.extras.storage_searches", "unpriced_model"),
        ({"output_image": 6}, "data.extras.output_image", "invalid_parameter"),
        ({"output_image": 3, "output_video": 3}, "data.extras.output_video", "invalid_parameter"),
        ({"web_searches": -1}, "data.extras.web_searches", "invalid_parameter"),
        ({"web_searches": 1.5}, "data.extras.web_searches", "invalid_parameter"),
        ({"web_searches": True}, "data.extras.web_searches", "invalid_parameter"),
        ({"web_searches": 10**10}, "data.extras.web_searches", "invalid_parameter"),
        ({"sculptures": 1}, "data.extras.sculptures", "invalid_parameter"),
        ([], "data.extras", "invalid_parameter"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_name_and_not_booked(
    gateway: RunningGateway, extras: Any, param: str, code: str
) -> None:
    refused = await send(gateway, usage={"output": 5}, extras=extras)

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert refused.json()["error"]["code"] == code
    assert gateway.records() == []
