"""/api/runs: runs with caps of their own, each the property of its tenant."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from farthing.money import nano_from_usd
from ledger import raises
from ledger.amendments import Raise
from tests.gateway import ADMIN_KEY, KEY, OTHER_KEY, RunningGateway, running_gateway
from tests.ledgers import Engine

WITH_MOST = ('limit_usd: "0.0005", window: run', 'limit_usd: "0.0005", max_run_usd: 1, window: run')


@pytest.fixture
async def gateway(tmp_path: Path, engine: Engine) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, changes=(WITH_MOST,), engine=engine) as running:
        yield running


@pytest.fixture
async def on_file(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, changes=(WITH_MOST,)) as running:
        yield running


async def api(gateway: RunningGateway, method: str, path: str, key: str = KEY, **body: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return await gateway.client.request(method, path, headers=headers, json=body or None)


async def open_run(gateway: RunningGateway, run: str, cap: str, **body: Any) -> httpx.Response:
    return await api(gateway, "POST", "/api/runs", run=run, cap_usd=cap, **body)


async def call(gateway: RunningGateway, run: str, content: str = "hello", **more: Any) -> httpx.Response:
    headers = {"x-farthing-run": run, "x-farthing-feature": "plain", "cache-control": "no-cache"}
    return await gateway.chat(content, headers=headers, **{"model": "plain-model", "max_tokens": 50, **more})


async def test_an_opened_run_has_its_own_cap_and_tells_what_is_left(gateway: RunningGateway) -> None:
    opened = await open_run(gateway, "job/7", "0.5", feature="plain", ttl="2h")
    answer = await call(gateway, "job/7")
    shown = await api(gateway, "GET", "/api/runs/job/7")

    assert (opened.status_code, answer.status_code, shown.status_code) == (201, 200, 200), opened.text
    run, record = shown.json(), gateway.record_of(answer)
    assert (run["state"], run["cap_usd"], run["feature"], run["held_usd"]) == (
        "open",
        "0.500000000",
        "plain",
        "0.000000000",
    )
    assert nano_from_usd(run["spent_usd"]) == record.cost > 0
    assert nano_from_usd(run["left_usd"]) == nano_from_usd("0.5") - record.cost
    assert run["closes_at"] is not None


async def test_a_run_beyond_the_default_cap_goes_on_when_it_is_opened_with_more(gateway: RunningGateway) -> None:
    refused = await call(gateway, "r", max_tokens=1000)

    await open_run(gateway, "r", "0.01")
    served = await call(gateway, "r", max_tokens=1000)

    assert (refused.status_code, served.status_code) == (402, 200)
    assert refused.json()["error"]["budget"]["id"] == "each-run"
    assert "raise the cap of this run" in refused.json()["error"]["message"]
    assert "wait" not in refused.json()["error"]["message"]


async def test_answers_of_a_run_say_what_the_run_has_left(gateway: RunningGateway) -> None:
    await open_run(gateway, "r", "0.0004")

    answer = await call(gateway, "r")
    without = await gateway.chat("hello", headers={"x-farthing-feature": "plain"})

    left = nano_from_usd(answer.headers["x-farthing-run-remaining-usd"])
    assert 0 < left < nano_from_usd("0.0004")
    assert "x-farthing-run-remaining-usd" not in without.headers


async def test_an_exhausted_run_is_paused_and_resumes_when_its_cap_is_raised(gateway: RunningGateway) -> None:
    await open_run(gateway, "r", "0.0002")
    refused = await call(gateway, "r", max_tokens=120)
    paused = await _state_until(gateway, "r", "paused")

    raised = await open_run(gateway, "r", "0.01")
    served = await call(gateway, "r", max_tokens=120)

    assert refused.json()["error"]["budget"]["id"] == "opened run"
    assert paused == "paused"
    assert raised.json()["state"] == "open"
    assert served.status_code == 200


async def test_a_run_of_which_a_smaller_call_is_served_is_not_paused(gateway: RunningGateway) -> None:
    await open_run(gateway, "r", "0.0003")
    await call(gateway, "r", max_tokens=140)
    paused = await _state_until(gateway, "r", "paused")

    served = await call(gateway, "r", "small", max_tokens=20)
    after = await _state_until(gateway, "r", "open")

    assert (paused, served.status_code, after) == ("paused", 200, "open")


async def _state_until(gateway: RunningGateway, run: str, wanted: str) -> str:
    """The state, asked for again until it is the wanted one, at most a second."""
    state = ""
    for _ in range(100):
        state = (await api(gateway, "GET", f"/api/runs/{run}")).json()["state"]
        if state == wanted:
            break
        await asyncio.sleep(0.01)
    return state


async def test_a_closed_run_takes_no_more_calls_and_cannot_be_opened_again(gateway: RunningGateway) -> None:
    await open_run(gateway, "r", "0.01")
    await call(gateway, "r")

    closed = await api(gateway, "POST", "/api/runs/r/close")
    refused = await call(gateway, "r")
    again = await open_run(gateway, "r", "0.02")

    assert closed.json()["state"] == "closed"
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "run_closed")
    assert refused.headers["x-should-retry"] == "false"
    assert again.json()["error"]["code"] == "run_closed"
    assert gateway.records()[-1].outcome == "refused"


async def test_another_tenants_run_is_not_found_and_its_money_is_not_touched(gateway: RunningGateway) -> None:
    await open_run(gateway, "shared", "0.01")
    headers = {"authorization": f"Bearer {OTHER_KEY}", "x-farthing-run": "shared"}
    theirs = await gateway.chat("hello", headers=headers, model="plain-model", max_tokens=5)

    shown = await api(gateway, "GET", "/api/runs/shared", OTHER_KEY)
    closed = await api(gateway, "POST", "/api/runs/unknown/close", OTHER_KEY)
    mine = await api(gateway, "GET", "/api/runs/shared")

    assert theirs.status_code == 200
    assert nano_from_usd(shown.json()["cap_usd"]) == nano_from_usd("0.0005"), "its own run of that name"
    assert closed.status_code == 404
    assert mine.json()["spent_usd"] == "0.000000000"


async def test_a_run_that_nobody_knows_is_not_found(gateway: RunningGateway) -> None:
    answer = await api(gateway, "GET", "/api/runs/never")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_what_a_run_cost_before_it_was_opened_counts(gateway: RunningGateway) -> None:
    before = gateway.record_of(await call(gateway, "r")).cost

    opened = await open_run(gateway, "r", "0.5")

    assert nano_from_usd(opened.json()["spent_usd"]) == before > 0


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"run": "r", "cap_usd": "1.5"}, "cap_usd"),
        ({"run": "r", "cap_usd": 0}, "cap_usd"),
        ({"run": "r", "cap_usd": -1}, "cap_usd"),
        ({"run": "r", "cap_usd": "1e9999999"}, "cap_usd"),
        ({"run": "r", "cap_usd": "0.0000000001"}, "cap_usd"),
        ({"run": "r", "cap_usd": True}, "cap_usd"),
        ({"run": "r"}, "cap_usd"),
        ({"run": "r", "cap_eur": 1, "cap_usd": 1}, "cap_eur"),
        ({"run": "a b", "cap_usd": 1}, "run"),
        ({"run": "a", "cap_usd": 1, "ttl": "soon"}, "ttl"),
        ({"run": "a", "cap_usd": 1, "feature": "unheard"}, "feature"),
    ],
)
async def test_a_body_that_cannot_be_meant_is_refused_with_its_member(
    on_file: RunningGateway, body: dict[str, Any], param: str
) -> None:
    answer = await api(on_file, "POST", "/api/runs", **body)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_key_may_open_runs_of_its_own_features_only(gateway: RunningGateway) -> None:
    answer = await api(gateway, "POST", "/api/runs", OTHER_KEY, run="r", cap_usd="0.1", feature="plain")
    unknown = await api(gateway, "POST", "/api/runs", "fk-nobody", run="r", cap_usd="0.1")

    assert (answer.status_code, unknown.status_code) == (403, 401)


async def test_a_raise_of_something_else_does_not_free_a_run_of_its_cap(gateway: RunningGateway) -> None:
    """A refused call is weighed again when anything has changed."""
    await open_run(gateway, "r", "0.0002")
    first = await call(gateway, "r")
    made = Raise(
        id="raise-of-another-worker",
        budget="capped-day",
        scope="",
        amount=nano_from_usd("1"),
        made_ns=0,
        until_ns=2**62,
        ended_ns=None,
        author="boss",
        reason="launch week",
    )
    await asyncio.to_thread(raises.add, gateway.database, made)

    refused = await call(gateway, "r", "again", max_tokens=100)

    assert (first.status_code, refused.status_code) == (200, 402)
    assert refused.json()["error"]["budget"]["id"] == "opened run"


async def test_many_calls_at_once_never_pass_the_cap_of_a_run_that_is_raised_meanwhile(
    gateway: RunningGateway,
) -> None:
    await open_run(gateway, "r", "0.0005")
    calls = [call(gateway, "r", f"call {index}") for index in range(30)]
    raised = open_run(gateway, "r", "0.0012")

    answers = await asyncio.gather(*calls[:15], raised, *calls[15:])
    shown = (await api(gateway, "GET", "/api/runs/r")).json()

    statuses = [answer.status_code for answer in answers]
    spent = sum(record.cost for record in gateway.records())
    assert set(statuses) <= {200, 201, 402}
    assert statuses.count(200) > 0
    assert nano_from_usd(shown["spent_usd"]) == spent <= nano_from_usd("0.0012")
    assert shown["held_usd"] == "0.000000000"
    assert (await api(gateway, "GET", "/api/budgets", ADMIN_KEY)).status_code == 200
