"""What the gateway says a call would do is what it then does, with the row agreeing afterwards."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from farthing.routing import Verdict
from tests.gateway import ADMIN_KEY, RunningGateway, running_gateway
from tests.http.test_reload import record_card, reload

CALLS: tuple[tuple[dict[str, Any], dict[str, str]], ...] = (
    ({"model": "auto"}, {"x-farthing-feature": "routed"}),
    ({"model": "plain-model"}, {"x-farthing-feature": "routed"}),
    ({"model": "plain-model"}, {"x-farthing-feature": "plain"}),
    ({"model": "tier/small"}, {}),
    ({"model": "auto"}, {"x-farthing-task": "triage"}),
    ({"model": "auto", "metadata": {"task": "triage"}}, {}),
    ({"model": "auto", "metadata": {"task": "something-else"}}, {}),
)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path) as running:
        yield running


async def explain(gateway: RunningGateway, asked: dict[str, Any]) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    response = await gateway.client.post("/api/explain", json=asked, headers=headers)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


@pytest.mark.parametrize("verdict", [None, Verdict.PASS, Verdict.FAIL])
async def test_a_call_goes_where_it_was_said_to_go(gateway: RunningGateway, verdict: Verdict | None) -> None:
    if verdict is not None:
        record_card(gateway, verdict)
        await reload(gateway)

    for number, (more, headers) in enumerate(CALLS):
        body = {"messages": [{"role": "user", "content": f"question {number}"}], **more}
        said = await explain(gateway, {"body": body, "headers": headers, "key": "first"})
        answer = await gateway.client.post("/v1/chat/completions", json=body, headers=headers)
        row = await explain(gateway, {"request_id": answer.headers["x-farthing-request-id"]})

        assert answer.status_code == 200, answer.text
        assert answer.headers["x-farthing-route"] == said["route"]["reason"] == row["route"]["reason"]
        assert answer.headers.get("x-farthing-tier") == said["route"]["tier"] == row["route"]["tier"]
        assert [said[name] for name in ("feature", "task_source")] == [row[name] for name in ("feature", "task_source")]
        assert (said["task"] or None) == row["task"]
        assert row["now"] == said["route"]
        assert answer.headers["x-farthing-cost-usd"] == row["cost_usd"]
        taken = [place for tier in row["tiers"] if tier["taken"] for place in tier["deployments"]]
        assert [place["cost_usd"] for place in (*taken, *row["outside"])] == [row["cost_usd"]]
