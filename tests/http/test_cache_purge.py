"""Purging through the API and the command line: who may, what goes, and what stays."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gateway import cli
from tests.gateway import ADMIN_KEY, OTHER_KEY, RunningGateway, running_gateway

ADMIN = {"authorization": f"Bearer {ADMIN_KEY}"}
OTHER = {"authorization": f"Bearer {OTHER_KEY}"}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    changes = [("chat: {team: web, cache: {exact: true}}", "chat: {team: web, cache: {tags: [manual]}}")]
    async with running_gateway(tmp_path, changes=changes) as running:
        yield running


async def purge(gateway: RunningGateway, headers: dict[str, str] = ADMIN, **what: Any) -> httpx.Response:
    return await gateway.client.post("/api/cache/purge", json=what, headers=headers)


async def outcome(gateway: RunningGateway, tags: str = "", **headers: str) -> str:
    given = {**({"x-farthing-cache-tags": tags} if tags else {}), **headers}
    answer = await gateway.chat(headers=given)
    assert answer.status_code == 200
    return answer.headers["x-farthing-cache"]


@pytest.mark.parametrize(
    "what",
    [
        {"tenant": "acme"},
        {"feature": "chat"},
        {"tag": "manual"},
        {"tag": "v7"},
        {"tenant": "acme", "feature": "chat", "tag": "v7"},
        {"everything": True},
    ],
)
async def test_what_was_purged_is_asked_anew_and_kept_anew(gateway: RunningGateway, what: dict[str, Any]) -> None:
    assert [await outcome(gateway, "v7") for _ in range(2)] == ["miss", "exact"]

    purged = await purge(gateway, **what)

    assert (purged.status_code, purged.json()) == (200, {"purged": what})
    assert [await outcome(gateway, "v7") for _ in range(2)] == ["miss", "exact"]


@pytest.mark.parametrize(
    "what",
    [{"tenant": "globex"}, {"feature": "routed"}, {"tag": "v8"}, {"tenant": "acme", "tag": "v8"}],
)
async def test_what_was_not_named_stays(gateway: RunningGateway, what: dict[str, Any]) -> None:
    await outcome(gateway, "v7")

    await purge(gateway, **what)

    assert await outcome(gateway, "v7") == "exact"


async def test_the_purge_of_one_tenant_leaves_the_others_answers(gateway: RunningGateway) -> None:
    await outcome(gateway)
    await outcome(gateway, **OTHER)

    await purge(gateway, tenant="acme")

    assert await outcome(gateway, **OTHER) == "exact"
    assert await outcome(gateway) == "miss"


@pytest.mark.parametrize(("headers", "status"), [({}, 403), ({"authorization": "Bearer nobody"}, 401), (OTHER, 403)])
async def test_only_administrators_purge(gateway: RunningGateway, headers: dict[str, str], status: int) -> None:
    await outcome(gateway)

    assert (await purge(gateway, headers, everything=True)).status_code == status

    assert await outcome(gateway) == "exact"


@pytest.mark.parametrize(
    "what",
    [
        {},
        {"everything": False},
        {"everything": "yes"},
        {"everything": True, "tenant": "acme"},
        {"tenant": ""},
        {"tenant": "a|b"},
        {"tag": ["v7"]},
        {"features": "chat"},
    ],
)
async def test_a_purge_that_does_not_say_what_purges_nothing(gateway: RunningGateway, what: dict[str, Any]) -> None:
    await outcome(gateway)

    refused = await purge(gateway, **what)

    assert refused.status_code == 400
    assert await outcome(gateway) == "exact"


async def test_a_purge_that_cannot_be_written_is_told(gateway: RunningGateway) -> None:
    caches = gateway.application.house.runtime.caches

    class Broken:
        async def newer(self, than: int) -> list[tuple[str, int]]:
            return []

        async def advance(self, name: str, at_us: int) -> int:
            raise OSError

        async def close(self) -> None: ...

    rows, caches.epochs._rows = caches.epochs._rows, Broken()
    refused = await purge(gateway, everything=True)
    caches.epochs._rows = rows

    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "cache_unavailable")


async def test_administrators_see_what_lies_in_the_caches(gateway: RunningGateway) -> None:
    await outcome(gateway)
    await outcome(gateway)
    await gateway.application.house.runtime.caches.exact.store.written()  # type: ignore[attr-defined]

    shown = (await gateway.client.get("/api/cache", headers=ADMIN)).json()

    assert shown["store"]["entries"] == 1
    assert shown["store"]["bytes"] > 100
    assert (shown["worker"]["memory_hits"], shown["worker"]["stored"]) == (1, 1)
    assert (await gateway.client.get("/api/cache")).status_code == 403


@pytest.mark.parametrize("tags", ["a b", "ä", ",".join(f"t{at}" for at in range(17)), "x" * 129])
async def test_cache_tags_that_are_none_are_refused(gateway: RunningGateway, tags: str) -> None:
    refused = await gateway.chat(headers={"x-farthing-cache-tags": tags.encode()})  # type: ignore[dict-item]

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "x-farthing-cache-tags")


async def test_the_order_of_tags_is_all_the_same(gateway: RunningGateway) -> None:
    await outcome(gateway, "b, a,,a")

    assert await outcome(gateway, "a,b") == "exact"
    assert await outcome(gateway, "a") == "miss"


async def test_the_command_line_purges_what_a_gateway_serves(gateway: RunningGateway) -> None:
    import asyncio

    await outcome(gateway)
    config = str(gateway.config)

    def run(*words: str) -> str:
        done = CliRunner().invoke(cli.app, ["cache", *words, "--config", config])
        assert done.exit_code == 0, done.output
        return done.output

    told = await asyncio.to_thread(run, "purge", "--feature", "chat")
    assert told == "purged: feature=chat\n"
    await gateway.application.house.tick()

    assert await outcome(gateway) == "miss"
    await gateway.application.house.runtime.caches.exact.store.written()  # type: ignore[attr-defined]
    assert "answers in the exact cache: 2\nbytes: " in await asyncio.to_thread(run, "stats")


@pytest.mark.parametrize("words", [(), ("--everything", "--tag", "x"), ("--tag", "a b")])
def test_the_command_line_wants_to_be_told_what(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli.app, ["cache", "purge", *words])

    assert done.exit_code == 2
