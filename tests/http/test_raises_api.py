"""/api/budgets/ID/raises: more money for a time, counted by every worker."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from farthing.money import nano_from_usd
from ledger import raises
from ledger.amendments import Raise
from tests.gateway import ADMIN_KEY, KEY, RunningGateway, running_gateway
from tests.ledgers import Engine

PATH = "/api/budgets/capped-day/raises"
TOMORROW = "2099-01-01T00:00:00Z"
RAISE: dict[str, Any] = {"amount_usd": "0.01", "until": TOMORROW, "reason": "launch week"}
CAPPED = {"x-farthing-feature": "capped"}


@pytest.fixture
async def gateway(tmp_path: Path, engine: Engine) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, engine=engine) as running:
        yield running


@pytest.fixture
async def on_file(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path) as running:
        yield running


async def ask(client: httpx.AsyncClient, method: str, path: str, body: Any = None, key: str = ADMIN_KEY) -> Any:
    return await client.request(method, path, json=body, headers={"authorization": f"Bearer {key}"})


async def call(client: httpx.AsyncClient, content: str = "hello", max_tokens: int = 1000) -> int:
    """The status of a call of which the budget of 0.001 USD cannot pay the worst case, 0.002 USD and more."""
    body = {"model": "plain-model", "max_tokens": max_tokens, "messages": [{"role": "user", "content": content}]}
    return (await client.post("/v1/chat/completions", json=body, headers=CAPPED)).status_code


async def test_a_raise_counts_at_once_and_ends_when_it_is_deleted(gateway: RunningGateway) -> None:
    before = await call(gateway.client)

    made = await ask(gateway.client, "POST", PATH, RAISE)
    with_it = await call(gateway.client)
    ended = await ask(gateway.client, "DELETE", f"{PATH}/{made.json()['id']}")
    after = await call(gateway.client)

    assert made.status_code == 201, made.text
    assert (made.json()["author"], made.json()["state"], made.json()["amount_usd"]) == ("boss", "active", "0.010000000")
    assert ended.status_code == 200
    assert (before, with_it, after) == (402, 200, 402)


async def test_the_raise_is_shown_where_budgets_are_shown(gateway: RunningGateway) -> None:
    await ask(gateway.client, "POST", PATH, RAISE)

    lines = (await ask(gateway.client, "GET", "/api/budgets")).json()["budgets"]
    listed = (await ask(gateway.client, "GET", PATH)).json()["raises"]

    (line,) = [line for line in lines if line["budget"] == "capped-day"]
    assert line["limit_usd"] == "0.011000000"
    assert [one["reason"] for one in line["raises"]] == [one["reason"] for one in listed] == ["launch week"]
    await call(gateway.client)
    assert await gateway.metric("farthing_budget_limit_usd", budget="capped-day") == 0.011


async def test_a_raise_of_one_scope_leaves_the_others(tmp_path: Path) -> None:
    each = '\n  - {id: each, limit_usd: "0.001", window: day, per: [feature, key]}\n'
    async with running_gateway(tmp_path, changes=(("budgets:\n", "budgets:" + each),)) as gateway:
        await ask(gateway.client, "POST", PATH, RAISE)

        await ask(gateway.client, "POST", "/api/budgets/each/raises", {**RAISE, "scope": "feature=plain,key=first"})
        other = await call(gateway.client)
        await ask(gateway.client, "POST", "/api/budgets/each/raises", {**RAISE, "scope": "feature=capped,key=first"})
        meant = await call(gateway.client)

        assert (other, meant) == (402, 200)


async def test_another_worker_serves_with_a_raise_that_it_has_not_looked_for(gateway: RunningGateway) -> None:
    async with gateway.another_worker() as (_, port):
        headers = {"authorization": f"Bearer {KEY}"}
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=10, trust_env=False) as other:
            before = await call(other)

            made = await ask(gateway.client, "POST", PATH, RAISE)
            with_it = await call(other, "again")
            await ask(gateway.client, "DELETE", f"{PATH}/{made.json()['id']}")
            shown = (await ask(other, "GET", PATH)).json()["raises"]

        assert (before, with_it) == (402, 200)
        assert shown[0]["state"] == "ended"


async def test_all_calls_that_were_weighed_before_a_raise_was_seen_are_weighed_again(gateway: RunningGateway) -> None:
    await call(gateway.client)
    made = Raise(
        id="raise-of-another-worker",
        budget="capped-day",
        scope="",
        amount=nano_from_usd("0.05"),
        made_ns=0,
        until_ns=2**62,
        ended_ns=None,
        author="boss",
        reason="launch week",
    )

    await asyncio.to_thread(raises.add, gateway.database, made)
    statuses = await asyncio.gather(*(call(gateway.client, f"call {number}") for number in range(8)))

    assert statuses == [200] * 8


async def test_another_worker_takes_up_the_end_of_a_raise_at_its_next_look(gateway: RunningGateway) -> None:
    async with gateway.another_worker() as (worker, port):
        headers = {"authorization": f"Bearer {KEY}"}
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=10, trust_env=False) as other:
            made = await ask(gateway.client, "POST", PATH, RAISE)
            with_it = await call(other)

            await ask(gateway.client, "DELETE", f"{PATH}/{made.json()['id']}")
            await worker.house.tick()
            after = await call(other, "again")

        assert (with_it, after) == (200, 402)


async def test_calls_of_two_workers_never_pass_the_cap_while_it_is_raised(gateway: RunningGateway) -> None:
    async with gateway.another_worker() as (_, port):
        headers = {"authorization": f"Bearer {KEY}"}
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=10, trust_env=False) as other:
            clients = [gateway.client, other] * 15
            calls = [call(client, f"call {index}", 100) for index, client in enumerate(clients)]

            statuses, made = await asyncio.gather(
                asyncio.gather(*calls), ask(gateway.client, "POST", PATH, {**RAISE, "amount_usd": "0.0005"})
            )

    lines = (await ask(gateway.client, "GET", "/api/budgets")).json()["budgets"]
    (line,) = [line for line in lines if line["budget"] == "capped-day"]
    spent = sum(record.cost for record in gateway.records())
    assert made.status_code == 201
    assert set(statuses) <= {200, 402}
    assert 0 < spent <= nano_from_usd("0.0015")
    assert (nano_from_usd(line["spent_usd"]), line["reserved_usd"]) == (spent, "0.000000000")


@pytest.mark.parametrize("until", [None, "", 7, "soon", "30d", "2020-01-01T00:00:00Z"])
async def test_an_end_that_is_none_is_answered_with_what_to_write(on_file: RunningGateway, until: Any) -> None:
    refused = await ask(on_file.client, "POST", PATH, {**RAISE, "until": until})
    without = await ask(on_file.client, "POST", PATH, {name: RAISE[name] for name in RAISE if name != "until"})

    for answer in (refused, without):
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, "until")
        assert error["message"] == "`until` must be a time to come, such as 2027-01-31T18:00:00Z."


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"amount_usd": "0"}, "amount_usd"),
        ({"amount_usd": "-1"}, "amount_usd"),
        ({"amount_usd": None}, "amount_usd"),
        ({"amount_usd": "NaN"}, "amount_usd"),
        ({"until": "2020-01-01"}, "until"),
        ({"until": 7}, "until"),
        ({"reason": " "}, "reason"),
        ({"amount_eur": 1}, "amount_eur"),
        ({"scope": "feature=chat"}, "scope"),
        ({"scope": "feature=capped,key=first"}, "scope"),
        ({"scope": "features=capped"}, "scope"),
    ],
)
async def test_a_body_that_cannot_be_meant_is_refused(
    on_file: RunningGateway, change: dict[str, Any], param: str
) -> None:
    answer = await ask(on_file.client, "POST", PATH, {**RAISE, **change})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_raises_are_for_administrators_and_for_budgets_that_exist(on_file: RunningGateway) -> None:
    answers = [
        await ask(on_file.client, "POST", PATH, RAISE, KEY),
        await ask(on_file.client, "GET", PATH, None, KEY),
        await ask(on_file.client, "DELETE", f"{PATH}/raise-1", None, KEY),
        await ask(on_file.client, "POST", "/api/budgets/nothing/raises", RAISE),
        await ask(on_file.client, "DELETE", f"{PATH}/raise-1"),
        await ask(on_file.client, "PUT", PATH, RAISE),
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 403, 404, 404, 405]
