"""The task of requests that name none, in a running gateway: what tells it, what the ledger says, what is counted."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from farthing.routing import Verdict
from gateway.taskexamples import read_examples, write_classifier
from router_policies.prompthash import PREFIX, prompt_hash
from router_policies.training import train
from tests.gateway import ADMIN_KEY, RunningGateway, running_gateway
from tests.http.test_reload import record_card
from tests.labelled import write_examples

PROMPT = "You triage tickets.\nAnswer with one word."
SIGNS = (
    "  triage: {bar: 0.8, reference: large, candidates: [small]}",
    f"""\
  triage:
    bar: 0.8
    reference: large
    candidates: [small]
    system_prompts: ["{PREFIX}{prompt_hash(PROMPT)}"]
    match: [{{user_prefix: "Triage:"}}]
  sums: {{bar: 0.8, reference: large, match: [{{user_regex: "^[0-9+ ]+$"}}]}}""",
)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """The small tier has passed for `triage`; requests of feature `chat` name no task."""
    async with running_gateway(tmp_path, changes=(SIGNS,)) as running:
        record_card(running, Verdict.PASS)
        await running.application.house.tick()
        yield running


def messages(user: str, system: str = "") -> list[dict[str, Any]]:
    said = [{"role": "system", "content": system}] if system else []
    return [*said, {"role": "user", "content": user}]


async def ask(gateway: RunningGateway, user: str, system: str = "", **headers: str) -> httpx.Response:
    named = {f"x-farthing-{name}": value for name, value in headers.items()}
    return await gateway.chat(messages=messages(user, system), headers=named)


@pytest.mark.parametrize(
    ("user", "system", "headers", "told"),
    [
        ("Help!", PROMPT.replace("\n", " \r\n") + "\n", {}, ("triage", "system_prompt", "small")),
        ("Triage: help!", "Something else.", {}, ("triage", "rule", "small")),
        ("1 + 1", "", {}, ("sums", "rule", "large")),
        ("1 + 1", PROMPT, {}, ("triage", "system_prompt", "small")),
        ("1 + 1", PROMPT, {"task": "sums"}, ("sums", "header", "large")),
        ("1 + 1", PROMPT, {"feature": "routed"}, ("triage", "feature", "small")),
        ("Help!", "Something else.", {}, ("", "default", "large")),
    ],
)
async def test_what_a_request_shows_tells_its_task_where_nothing_names_it(
    gateway: RunningGateway, user: str, system: str, headers: dict[str, str], told: tuple[str, str, str]
) -> None:
    answer = await ask(gateway, user, system, **headers)

    record = gateway.record_of(answer)
    assert (record.tags.task, record.task_source, record.tier) == told


async def test_a_hit_of_the_exact_cache_has_the_task_of_the_first_answer(gateway: RunningGateway) -> None:
    answers = [await ask(gateway, "Help!", PROMPT) for _ in range(3)]

    records = [gateway.record_of(answer) for answer in answers]
    assert [record.cache for record in records] == ["miss", "exact", "exact"]
    assert {(record.tags.task, record.task_source) for record in records} == {("triage", "system_prompt")}


async def test_prompts_that_no_task_claims_are_listed_by_hash_and_leave_the_list_when_they_are_claimed(
    gateway: RunningGateway,
) -> None:
    for number in range(2):
        await ask(gateway, f"Question {number}", "A prompt of nobody.")
    await ask(gateway, "Help!", PROMPT)
    await gateway.application.house.runtime.tasks.flush()

    listed = await gateway.client.get("/api/tasks/prompts", headers={"authorization": f"Bearer {ADMIN_KEY}"})
    refused = await gateway.client.get("/api/tasks/prompts")

    (found,) = listed.json()["prompts"]
    assert (found["hash"], found["feature"], found["requests"]) == (
        PREFIX + prompt_hash("A prompt of nobody."),
        "chat",
        2,
    )
    assert found["first_seen"] <= found["last_seen"]
    assert refused.status_code == 403
    assert "nobody" not in listed.text


async def test_without_signs_nobody_looks_at_what_a_request_says(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as running:
        answer = await ask(running, "Triage: help!", PROMPT)

        assert running.application.house.runtime.generation.resolver is None
        assert running.record_of(answer).task_source == "default"


async def test_embeddings_have_no_task_by_what_they_say(tmp_path: Path) -> None:
    rule = ("reference: large, candidates: [small]}", "reference: large, candidates: [small], match: [{tools: false}]}")
    async with running_gateway(tmp_path, changes=(rule,)) as running:
        answer = await running.client.post("/v1/embeddings", json={"model": "plain-model", "input": "x"})

        assert running.record_of(answer).task_source == "default"


LEARNED = (
    "  triage: {bar: 0.8, reference: large, candidates: [small]}",
    """\
  tickets: {bar: 0.8, reference: large, candidates: [small], examples: "file://tickets.jsonl"}
  triage: {bar: 0.8, reference: large, candidates: [small]}
  sums: {bar: 0.8, reference: large, examples: "file://sums.jsonl"}
task_resolution: {deadline: 5s}""",
)


async def test_a_request_like_the_examples_of_a_task_is_of_it_as_soon_as_the_classifier_is_trained(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path, changes=(LEARNED,)) as running:
        house = running.application.house
        write_examples(running.config if running.config.is_dir() else running.config.parent)
        ready = await running.client.get("/readyz", headers={"authorization": f"Bearer {ADMIN_KEY}"})
        before = running.record_of(await ask(running, "How much is 41 plus 7?"))
        path = house.files.classifier
        write_classifier(path, train(read_examples(house.settings.catalog, house.settings.tasks)))
        await house.tick()

        known = running.record_of(await ask(running, "How much is 42 plus 7?"))
        unknown = running.record_of(await ask(running, "zebra quagga"))
        pinned = running.record_of(await running.chat("How much is 43 plus 7?", model="tier/small"))

        assert "farthing tasks train" in ready.text
        assert (before.tags.task, before.task_source) == ("", "default")
        assert (known.tags.task, known.task_source, known.tier) == ("sums", "centroid", "large")
        assert (unknown.tags.task, unknown.task_source) == ("", "default")
        assert (pinned.tags.task, pinned.task_source) == ("", "default")
        assert await running.metric("farthing_task_guesses", result="sure") == 1
        assert await running.metric("farthing_task_guesses", result="unsure") == 1
        assert await running.metric("farthing_task_low_margin_alarm") == 0


async def test_a_header_that_names_an_undeclared_task_is_refused_or_means_none_as_the_configuration_says(
    tmp_path: Path,
) -> None:
    lenient = ("features:\n", "task_resolution: {unknown: default}\nfeatures:\n")
    for name in ("strict", "lenient"):
        (tmp_path / name).mkdir()
    async with running_gateway(tmp_path / "strict") as running:
        refused = await ask(running, "x", task="nobody")
    async with running_gateway(tmp_path / "lenient", changes=(lenient,)) as running:
        answered = await ask(running, "x", task="nobody")
        record = running.record_of(answered)

    assert refused.status_code == 400
    assert answered.status_code == 200
    assert (record.tags.task, record.task_source) == ("", "header")
