"""What can be seen of a running gateway from outside, and what must never be seen."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from bench.mock_upstream import MockSettings, running_mock
from ledger import prices
from tests.gateway import ADMIN_KEY, KEY, OTHER_KEY, RunningGateway, running_gateway
from tests.processes import GatewayProcess, gateway_process, records, write_config

SECRET_WORDS = "zq-canary-of-a-prompt"
WRONG_KEY = "fk-canary-of-a-wrong-key"
KEPT_BY_CACHES = ("cache.db", "semantic.db")
"""A cache keeps answers, so these files hold them by their nature."""


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path) as running:
        yield running


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_health_and_readiness_need_no_key_and_tell_no_more_than_a_word(gateway: RunningGateway) -> None:
    nobody = {"authorization": ""}

    health = await gateway.client.get("/healthz", headers=nobody)
    ready = await gateway.client.get("/readyz", headers=nobody)

    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "reasons": []})


async def test_a_gateway_whose_ledger_is_gone_is_not_ready(gateway: RunningGateway) -> None:
    ledger = gateway.application.house.files.ledger
    aside = ledger.rename(ledger.with_suffix(".aside"))

    ready = await gateway.client.get("/readyz")

    aside.rename(ledger)
    assert ready.status_code == 503
    assert ready.json() == {"status": "not ready", "reasons": ["ledger"]}


async def test_metrics_are_shown_on_this_machine_but_not_through_a_proxy(gateway: RunningGateway) -> None:
    direct = await gateway.client.get("/metrics", headers={"authorization": ""})
    passed_on = await gateway.client.get("/metrics", headers={"x-forwarded-for": "203.0.113.7"})

    assert direct.status_code == 200
    assert passed_on.status_code == 403


async def test_the_age_of_the_price_list_is_shown(gateway: RunningGateway) -> None:
    age_s = await gateway.metric("farthing_price_catalog_age_seconds")

    published_ns = prices.published_ns()
    assert published_ns is not None
    assert 0 <= gateway.application.house.clock.wall_ns() / 1e9 - published_ns / 1e9 - age_s < 60


@pytest.mark.parametrize("path", ["/api/spend", "/api/budgets", "/api/records/req-none"])
async def test_reports_are_for_admins(gateway: RunningGateway, path: str) -> None:
    callers = [{"authorization": ""}, *map(bearer, (WRONG_KEY, KEY, OTHER_KEY, ADMIN_KEY))]

    statuses = [(await gateway.client.get(path, headers=caller)).status_code for caller in callers]

    assert statuses[:-1] == [401, 401, 403, 403]
    assert statuses[-1] in (200, 404)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
async def test_promtool_finds_nothing_to_say_about_the_metrics(gateway: RunningGateway) -> None:
    await gateway.chat("first")
    await gateway.chat("first")
    await gateway.chat("x", model="mock-500")
    await gateway.chat("x", headers={"x-farthing-feature": "capped"}, max_tokens=10)
    page = (await gateway.client.get("/metrics")).content

    checked = await asyncio.to_thread(
        subprocess.run, ["promtool", "check", "metrics"], input=page, capture_output=True, check=False
    )

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


async def mixed_calls(gateway: GatewayProcess) -> list[httpx.Response]:
    """Calls of every kind, each with the secret words wherever a client may put text."""
    said = SECRET_WORDS
    client = gateway.client
    url = "/v1/chat/completions"
    good = {"model": "auto", "user": said, "messages": [{"role": "user", "content": said}], "x_unknown": said}
    answers = [await client.post(url, json={**good, **more}) for more in VARIATIONS]
    answers.append(await client.post("/v1/embeddings", json={"model": "plain-model", "input": [said]}))
    answers.append(await client.post("/v1/completions", json={"model": "plain-model", "prompt": said}))
    answers.append(await client.post("/v1/responses", json={"model": "plain-model", "input": said}))
    answers.append(await client.post(url, content=f'{{"messages": "{said}'.encode()))
    answers.append(await client.post(url, content=json.dumps(said).encode()))
    answers.append(await client.post(url, json=good, headers=bearer(WRONG_KEY)))
    answers.append(await client.post(url, json=good, headers={"authorization": f"Basic {WRONG_KEY}"}))
    answers.append(await client.get(f"/dashboard?secret={said}"))
    answers.append(await client.get("/metrics", headers=bearer(WRONG_KEY)))
    capped = {**good, "max_tokens": 2000}
    answers.append(await client.post(url, json=capped, headers={"x-farthing-feature": "capped"}))
    return answers


VARIATIONS: tuple[dict[str, object], ...] = (
    {},
    {},
    {"stream": True},
    {"stream": True, "model": "mock-error-in-stream"},
    {"stream": True, "model": "mock-cut"},
    {"model": "no-such-model"},
    {"model": "mock-500"},
    {"model": "mock-429"},
    {"model": "mock-html-502"},
    {"model": "mock-not-json"},
    {"model": "mock-drop"},
    {"model": "mock-no-usage", "stream": True},
    {"messages": SECRET_WORDS},
    {"messages": [{"role": SECRET_WORDS, "content": [SECRET_WORDS]}]},
    {"messages": [SECRET_WORDS]},
    {"max_tokens": SECRET_WORDS},
    {"temperature": SECRET_WORDS},
    {"stream": SECRET_WORDS},
    {"n": SECRET_WORDS},
    {"stream_options": SECRET_WORDS},
    {"tools": [{"type": "function", "function": {"name": "f", "description": SECRET_WORDS}}]},
    {"metadata": {"note": SECRET_WORDS}},
    {"metadata": SECRET_WORDS},
)


async def test_no_text_of_prompts_answers_or_keys_is_kept_or_shown(tmp_path: Path) -> None:
    async with running_mock(MockSettings(chunks=5, duration_ms=0)) as mock:
        async with gateway_process(write_config(tmp_path, mock.base_url)) as gateway:
            answers = await mixed_calls(gateway)
            metrics = (await gateway.client.get("/metrics")).content
            files = written(gateway.folder)  # while it runs: the write-ahead logs are among them
            await gateway.end()
        files |= {f"{name} at the end": data for name, data in written(gateway.folder).items()}
        log = gateway.log.encode()

    assert {200, 400, 401, 402, 404} <= {answer.status_code for answer in answers}
    assert SECRET_WORDS in answers[0].text  # the upstream echoes it: the search would find it
    assert log.count(b'"event":"request"') >= len(answers) - 2
    assert {"ledger.db", "evals.db"} <= files.keys()
    errors = b"".join(answer.content for answer in answers if answer.status_code >= 400)
    seen = {**files, "the log": log, "the metrics": metrics, "the error answers": errors}
    for text in (SECRET_WORDS, WRONG_KEY, KEY):
        found = [name for name, data in seen.items() if text.encode() in data]
        assert found == [], f"{text} is in {found}"


def written(folder: Path) -> dict[str, bytes]:
    """Every file of the data directory but those of the caches."""
    return {
        file.name: file.read_bytes()
        for file in (folder / "data").rglob("*")
        if file.is_file() and not file.name.startswith(KEPT_BY_CACHES)
    }


async def test_each_log_line_says_what_the_record_says(tmp_path: Path) -> None:
    async with (
        running_mock(MockSettings(chunks=5, duration_ms=0)) as mock,
        gateway_process(write_config(tmp_path, mock.base_url)) as gateway,
    ):
        await mixed_calls(gateway)
        await gateway.end()

    lines = [json.loads(line) for line in gateway.log.splitlines() if line.startswith('{"event":"request"')]
    logged = {line["id"]: line for line in lines}
    kept = {record.id: record for record in records(tmp_path)}
    assert len(lines) == len(logged)
    assert logged.keys() == kept.keys()
    for id_, record in kept.items():
        line = logged[id_]
        assert (line["outcome"], line["status"], line["cost_nano"]) == (record.outcome, record.status, record.cost)
        assert (line["cache"], line["tier"], line["seconds"]) == (record.cache, record.tier, record.seconds)
        assert (line["input_tokens"], line["output_tokens"]) == (record.usage.input_total, record.usage.output_total)
        assert (line["tenant"], line["feature"]) == (record.tags.tenant, record.tags.feature)
        assert line.get("error", "") == record.error_code
