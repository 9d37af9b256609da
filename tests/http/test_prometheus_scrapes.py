"""A real Prometheus scrapes a real gateway: every rule is evaluated, every query of the boards answered, the figures of
spending are the ledger's, and an alert reaches who owns the feature. Some fifteen seconds, on this machine alone."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import yaml

from ledger import reports
from tests.gateway import RunningGateway, running_gateway
from tests.prometheus import CONFIG, BoardQuery, board_queries, free_address, rules, running

SCRAPE_S = 1.0
LOAD_S = 6.0
PATIENCE_S = 20.0
NOT_HERE = {
    # The semantic cache is off, ...
    "spend: Semantic cache: wrong answers: A",
    "spend: Semantic cache: wrong answers: B",
    "spend: Semantic cache: wrong answers: C",
    "spend: Semantic cache: wrong answers: D",
    # ... no embeddings are asked for twice.
    "spend: Hit rate by cache: B",
    # ... and the upstream has no prompt cache.
    "spend: Prompt cache: share of input tokens read: A",
}
"""Queries whose series this gateway has no cause to make."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    """A running one; `gateway` is what it scrapes."""

    client: httpx.AsyncClient
    gateway: RunningGateway

    async def ask(self, expr: str) -> list[dict[str, Any]]:
        """The series that a query has now. Fails on an error of the query."""
        answer = (await self.client.get("/api/v1/query", params={"query": expr})).json()
        assert answer["status"] == "success", (expr, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    async def draw(self, expr: str) -> list[dict[str, Any]]:
        """The series that a query has had in the last minute. Fails on an error of the query."""
        now = time.time()
        asked = {"query": expr, "start": str(now - 60), "end": str(now), "step": "1"}
        answer = (await self.client.get("/api/v1/query_range", params=asked)).json()
        assert answer["status"] == "success", (expr, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    async def number(self, expr: str) -> float:
        """The one value of a query; NaN where it has none."""
        found = await self.ask(expr)
        return float(found[0]["value"][1]) if found else float("nan")

    async def by_feature(self, expr: str) -> dict[str, float]:
        """The values of a query by their label feature."""
        return {one["metric"]["feature"]: float(one["value"][1]) for one in await self.ask(expr)}

    async def has_seen_all(self) -> bool:
        """Whether its last scrape shows all that is on the books."""
        seen = await self.number("sum(farthing_cost_usd_total)")
        return abs(seen - sum(books(self.gateway).spent.values())) < 1e-9


@asynccontextmanager
async def scraped(tmp_path: Path, alertmanager: str = "") -> AsyncIterator[Prometheus]:
    """A gateway and a Prometheus with the rules of the project, once it has scraped."""
    address = free_address()
    async with running_gateway(tmp_path) as gateway:
        config: dict[str, Any] = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(CONFIG / "rules" / "*.yml")],
            "scrape_configs": [
                {"job_name": "farthing", "static_configs": [{"targets": [f"{gateway.host}:{gateway.port}"]}]}
            ],
        }
        if alertmanager:
            config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
        options = ("--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--log.level=warn")
        async with running("prometheus", tmp_path, address, *options) as client:
            prometheus = Prometheus(client=client, gateway=gateway)
            await until(lambda: is_scraped(prometheus))
            yield prometheus


async def is_scraped(prometheus: Prometheus) -> bool:
    """Whether it has reached the gateway."""
    return await prometheus.number('up{job="farthing"}') == 1


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    """Wait, up to a bound, for what another process does."""
    async with asyncio.timeout(PATIENCE_S):
        while not await happened():  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.05)


async def traffic(gateway: RunningGateway, number: int) -> None:
    """Calls of several features and tiers, old questions and new ones, and one that a budget refuses."""
    for feature in ("plain", "routed", "chat"):
        await gateway.chat("the same", headers={"x-farthing-feature": feature})
        await gateway.chat(f"number {number}", headers={"x-farthing-feature": feature})
    await gateway.chat("the same", headers={"x-farthing-feature": "plain"}, model="tier/small")
    await gateway.chat("the same", headers={"x-farthing-feature": "capped"}, max_tokens=1_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the ledger's own report says so far, USD: costs by feature, and what hits avoided."""

    spent: dict[str, float]
    avoided: float


def books(gateway: RunningGateway) -> Books:
    """As `farthing report spend --by feature` has it."""
    forever = {"since_ns": 0, "until_ns": time.time_ns() + 10**12}
    rows = reports.spend(gateway.database, by=("feature",), **forever)
    return Books(
        spent={row.keys[0]: row.cost / 1e9 for row in rows if row.cost},
        avoided=sum(row.avoided_cache for row in rows) / 1e9,
    )


def query(panel: str) -> BoardQuery:
    """The first query of a panel."""
    return next(one for one in board_queries() if one.panel == panel)


async def test_boards_and_rules_show_what_is_on_the_books(tmp_path: Path) -> None:
    async with scraped(tmp_path) as prometheus:
        gateway = prometheus.gateway
        await gateway.chat("fits", headers={"x-farthing-feature": "capped"}, max_tokens=10)
        await traffic(gateway, -2)
        await traffic(gateway, -1)
        await until(prometheus.has_seen_all)
        before = books(gateway)

        began = time.monotonic()
        for number in count():
            await traffic(gateway, number)
            await asyncio.sleep(0.04)
            if time.monotonic() - began > LOAD_S:
                break
        await until(prometheus.has_seen_all)
        await every_rule_is_evaluated(prometheus)

        after = books(gateway)
        since = Books(
            spent={name: usd - before.spent[name] for name, usd in after.spent.items() if name != "capped"},
            avoided=after.avoided - before.avoided,
        )
        await the_counters_are_the_ledgers(prometheus, after)
        await the_panels_are_the_ledgers(prometheus, since)
        await every_query_is_answered(prometheus)


async def the_counters_are_the_ledgers(prometheus: Prometheus, true: Books) -> None:
    """To the nano-dollar: nothing is lost on the way."""
    shown = await prometheus.by_feature("sum by (feature) (farthing_cost_usd_total) > 0")

    assert {name: round(usd, 9) for name, usd in shown.items()} == true.spent


async def the_panels_are_the_ledgers(prometheus: Prometheus, true: Books) -> None:
    """`increase()` extrapolates to half a scrape beyond the first and the last one that it has."""
    most = 1 + 1.2 * SCRAPE_S / (LOAD_S - SCRAPE_S)
    total = await prometheus.number(query("Spent").asked(shown="5m", lately="5s"))
    days = await prometheus.by_feature(query("Cost per feature per day").asked(shown="5m", lately="5s"))
    caches = await prometheus.number(query("Saved by caches").asked(shown="5m", lately="5s"))
    two = await prometheus.number(query("Spent").asked(shown="5m", lately="5s", features="plain|chat"))

    within(total, sum(true.spent.values()), most)
    within(two, true.spent["plain"] + true.spent["chat"], most)
    within(caches, true.avoided, most)
    for name, usd in true.spent.items():
        within(days[name], usd, most)


def within(shown: float, true: float, most: float) -> None:
    """Not less than what was spent, and not more than scraping explains."""
    assert true > 0
    assert true * (1 - 1e-9) <= shown <= true * most


async def every_query_is_answered(prometheus: Prometheus) -> None:
    """Without an error, and with series wherever this gateway has any."""
    empty = set()
    for one in board_queries():
        asked = one.asked(shown="5m", lately="5s")
        if not (await prometheus.ask(asked) if one.instant else await prometheus.draw(asked)):
            empty.add(one.name)

    assert empty == NOT_HERE


async def every_rule_is_evaluated(prometheus: Prometheus) -> None:
    """Each at least once, and none with an error."""
    await until(lambda: are_evaluated(prometheus))
    groups = (await prometheus.client.get("/api/v1/rules")).json()["data"]["groups"]
    found = [rule for group in groups for rule in group["rules"]]

    assert len(found) == len(list(rules()))
    assert [(rule["name"], rule.get("lastError")) for rule in found if rule["health"] != "ok"] == []


async def are_evaluated(prometheus: Prometheus) -> bool:
    """Whether no rule is still to be evaluated."""
    groups = (await prometheus.client.get("/api/v1/rules")).json()["data"]["groups"]
    return all(rule["health"] != "unknown" for group in groups for rule in group["rules"])


@asynccontextmanager
async def webhook() -> AsyncIterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """A server that takes what is posted. Yields its address, and path and body of each request."""
    posted: list[tuple[str, dict[str, Any]]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        posted.append((head.split()[1], json.loads(await reader.readexactly(length))))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", posted
    finally:
        server.close()
        await server.wait_closed()


async def test_an_alert_reaches_the_team_of_its_feature(tmp_path: Path) -> None:
    address = free_address()
    async with webhook() as (hook, posted):
        routes = (CONFIG / "alertmanager.yml").read_text().replace("https://hooks.example.org", hook)
        routes = routes.replace('team="support"', 'team="web"')
        (tmp_path / "alertmanager.yml").write_text(routes)
        options = ("--config.file=alertmanager.yml", "--storage.path=alerts", "--cluster.listen-address=")
        async with (
            running("prometheus-alertmanager", tmp_path, address, *options),
            scraped(tmp_path, alertmanager=address) as prometheus,
        ):
            refused = await prometheus.gateway.chat("x", headers={"x-farthing-feature": "capped"}, max_tokens=1_000)

            await until(lambda: any_of(posted))
            open_alerts = await prometheus.number(query("Open alerts").expr)

    (path, told), *_ = posted
    (alert,) = told["alerts"]
    assert refused.status_code == 402
    assert path == "/support"
    assert alert["labels"] == {
        "alertname": "FarthingBudgetRefuses",
        "feature": "capped",
        "team": "web",
        "severity": "page",
    }
    assert alert["annotations"]["stop"].startswith("budgets.yaml: ")
    assert open_alerts == 1


async def any_of(posted: list[Any]) -> bool:
    """Whether something was posted."""
    return bool(posted)
