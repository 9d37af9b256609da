"""Hostile spending: what callers vary to get another's answer, more series or more money than their budget has."""

import json
import random
import string
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from farthing.record import Outcome
from tests.gateway import ADMIN_KEY, KEY, OTHER_KEY, RunningGateway
from tests.http.hostile import CHAT, asked, head, hostile_gateway, post, send, serves

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    async with hostile_gateway(tmp_path_factory.mktemp("spending")) as running:
        yield running


# --- the cache -------------------------------------------------------------------------------------

QUESTION: dict[str, Any] = {
    "model": "plain-model",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a farthing?"}],
}
OTHERS: dict[str, dict[str, Any]] = {
    "role": {"messages": [{"role": "developer", "content": "Be brief."}, QUESTION["messages"][1]]},
    "system": {"messages": [{"role": "system", "content": "Be brief! "}, QUESTION["messages"][1]]},
    "no system": {"messages": QUESTION["messages"][1:]},
    "name": {"messages": [QUESTION["messages"][0], {**QUESTION["messages"][1], "name": "ann"}]},
    "order": {"messages": QUESTION["messages"][::-1]},
    "blank": {"messages": [QUESTION["messages"][0], {"role": "user", "content": "What is a farthing? "}]},
    "look-alike": {"messages": [QUESTION["messages"][0], {"role": "user", "content": "What is \u0430 farthing?"}]},
    "parts": {
        "messages": [
            QUESTION["messages"][0],
            {"role": "user", "content": [{"type": "text", "text": "What is a farthing?"}]},
        ]
    },
    "tools": {"tools": [{"type": "function", "function": {"name": "f"}}]},
    "no tools": {"tools": []},
    "tool choice": {"tool_choice": "none"},
    "response format": {"response_format": {"type": "json_object"}},
    "temperature": {"temperature": 0.2},
    "temperature near it": {"temperature": 0.2000001},
    "top_p": {"top_p": 0.5},
    "seed": {"seed": 9007199254740992},
    "the next seed, the same float": {"seed": 9007199254740993},
    "the greatest seed": {"seed": 18446744073709551615},
    "the seed before it": {"seed": 18446744073709551614},
    "n": {"n": 2},
    "max_tokens": {"max_tokens": 5},
    "max_completion_tokens": {"max_completion_tokens": 5},
    "stop": {"stop": ["\n"]},
    "logit_bias": {"logit_bias": {"50256": -100}},
    "logprobs": {"logprobs": True},
    "reasoning effort": {"reasoning_effort": "high"},
    "service tier": {"service_tier": "flex"},
    "store": {"store": True},
    "unknown key": {"farthing_test": 1},
    "unknown key, null": {"farthing_test": None},
    "unknown key, false": {"farthing_test": False},
    "unknown key, text": {"farthing_test": "1"},
    "a namespace": {"cache": {"namespace": "acme", "ttl": 10**6}},
    "another model": {"model": "small-model"},
}


async def test_every_difference_in_the_question_is_a_miss_and_then_a_hit_of_its_own(gateway: RunningGateway) -> None:
    bodies = {name: {**QUESTION, **members} for name, members in OTHERS.items()}
    await gateway.client.post(CHAT, json=QUESTION)

    first = {name: await gateway.client.post(CHAT, json=body) for name, body in bodies.items()}
    again = {name: await gateway.client.post(CHAT, json=body) for name, body in bodies.items()}

    outcomes = {name: reply.headers.get("x-farthing-cache", reply.text) for name, reply in first.items()}
    assert outcomes == dict.fromkeys(bodies, "miss")
    for name, reply in again.items():
        assert reply.headers["x-farthing-cache"] == "exact", name
        assert reply.json()["choices"] == first[name].json()["choices"], name


@pytest.mark.parametrize(
    "members",
    [
        {"user": "ann"},
        {"metadata": {"ticket": "7"}},
        {"stream": False},
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"safety_identifier": "ann"},
        {"messages": QUESTION["messages"], "model": "plain-model"},
    ],
)
async def test_who_asks_and_in_which_form_makes_no_difference(gateway: RunningGateway, members: dict[str, Any]) -> None:
    await gateway.client.post(CHAT, json=QUESTION)

    reply = await gateway.client.post(CHAT, json={**QUESTION, **members})

    assert reply.headers["x-farthing-cache"] == "exact"


async def test_white_space_and_the_order_of_keys_make_no_difference(gateway: RunningGateway) -> None:
    await gateway.client.post(CHAT, json=QUESTION)

    turned = json.dumps(dict(reversed(QUESTION.items())), indent=3).encode()
    reply = await send(gateway, post(turned))

    assert reply.headers["x-farthing-cache"] == "exact"


WIDENING = (
    b"X-Farthing-Tenant: acme",
    b"X-Farthing-Cache-Namespace: acme",
    b"X-Farthing-Cache-Key: 1",
    b"X-Farthing-Cache-Threshold: 0",
    b"X-Farthing-Cache-TTL: 999999999",
    b"Cache-Control: max-age=99999999999, stale-if-error=1, public",
    b"X-Farthing-Environment: test",
)


async def test_no_header_opens_another_tenants_cache(gateway: RunningGateway) -> None:
    question = asked("widening")
    await send(gateway, post(question))

    reply = await send(gateway, post(question, *WIDENING, key=OTHER_KEY))

    assert (reply.status, reply.headers["x-farthing-cache"]) == (200, "miss")


async def test_an_environment_is_a_cache_of_its_own(gateway: RunningGateway) -> None:
    question = asked("which environment")
    await send(gateway, post(question))

    reply = await send(gateway, post(question, b"X-Farthing-Environment: production"))

    assert reply.headers["x-farthing-cache"] == "miss"


@pytest.mark.parametrize(
    "directive", [b"no-cache", b"NO-STORE", b"max-age=9, no-cache", b"max-age=-1", b"max-age=", b"max-age=1e9"]
)
async def test_a_caller_may_tighten(gateway: RunningGateway, directive: bytes) -> None:
    question = asked(f"tighten {directive!r}")
    await send(gateway, post(question))

    reply = await send(gateway, post(question, b"Cache-Control: " + directive))

    assert reply.headers["x-farthing-cache"] == "bypass"


@pytest.mark.parametrize("directive", [b"max-stale=9", b"max-age=" + b"9" * 500, b"maxage=0", b"=,;,", b"\xff"])
async def test_a_directive_that_is_none_changes_nothing(gateway: RunningGateway, directive: bytes) -> None:
    question = asked("directives")
    await send(gateway, post(question))

    reply = await send(gateway, post(question, b"Cache-Control: " + directive))

    assert (reply.status, reply.headers["x-farthing-cache"]) == (200, "exact")


@pytest.mark.parametrize(
    "model", ["mock-500", "mock-429", "mock-not-json", "mock-html-502", "mock-length", "mock-content-filter"]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_no_whole_good_answer_is_never_stored(gateway: RunningGateway, model: str, stream: bool) -> None:
    question = f"never stored {model} {stream}"

    replies = [await gateway.chat(question, model=model, stream=stream) for _ in range(2)]

    assert all(reply.headers["x-farthing-cache"] == "miss" for reply in replies)


@pytest.mark.parametrize("model", ["mock-cut", "mock-error-in-stream"])
async def test_a_stream_that_broke_is_never_stored(gateway: RunningGateway, model: str) -> None:
    replies = [await gateway.chat(f"broken {model}", model=model, stream=True) for _ in range(2)]

    assert [reply.headers["x-farthing-cache"] for reply in replies] == ["miss", "miss"]


async def test_a_hit_passes_the_same_doors_and_is_booked_at_nothing(gateway: RunningGateway) -> None:
    question = asked("doors")
    await send(gateway, post(question))

    stranger = await send(gateway, post(question, key="fk-nobody"))
    forbidden = await send(gateway, post(question, b"X-Farthing-Feature: plain", key=OTHER_KEY))
    hit = await send(gateway, post(question))

    assert (stranger.status, forbidden.status) == (401, 403)
    assert "x-farthing-cache" not in stranger.headers or stranger.headers["x-farthing-cache"] == "bypass"
    record = gateway.records()[-1]
    assert (hit.headers["x-farthing-cache"], record.outcome, record.cost) == ("exact", Outcome.HIT, 0)


# --- metrics ---------------------------------------------------------------------------------------


async def test_random_names_make_no_new_series(gateway: RunningGateway) -> None:
    dice = random.Random(7)

    def name() -> str:
        return "".join(dice.choices(string.ascii_letters, k=12))

    async def storm() -> None:
        await gateway.chat(name(), user=name(), metadata={"run": name(), "ticket": name()})
        await gateway.chat("x", headers={"x-farthing-feature": name()})
        await gateway.chat("x", headers={"x-farthing-environment": name(), "x-farthing-run": name()})
        await gateway.chat("x", headers={"x-farthing-task": name()})
        await gateway.chat("x", metadata={"task": name()})
        await gateway.chat("x", model=name())
        await gateway.chat("x", headers={"authorization": f"Bearer {name()}", "user-agent": name()})
        await gateway.client.post(f"/v1/{name()}", json={})
        await gateway.client.get(f"/{name()}/{name()}")
        await gateway.client.get(f"/v1/models/{name()}")
        await gateway.client.request(name().upper()[:4], CHAT)

    await storm()
    await storm()  # by now every kind of outcome was seen, hits among them
    before = await series(gateway)
    for _ in range(10):
        await storm()

    assert await series(gateway) == before


async def series(gateway: RunningGateway) -> set[str]:
    """The names and labels of all samples."""
    page = (await gateway.client.get("/metrics")).text
    return {line.rsplit(" ", 1)[0] for line in page.splitlines() if line and not line.startswith("#")}


# --- budgets: 0.001 USD a day for the feature, at 1 USD a million tokens in and 2 out --------------

CAPPED = {"x-farthing-feature": "capped"}


def chat_of(content: Any, **members: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **members}


IMAGE = [{"type": "image_url", "image_url": {"url": "https://pictures.example/1.png"}}]
TOO_DEAR: dict[str, tuple[str, dict[str, Any]]] = {
    "no cap: 1024 tokens out": (CHAT, chat_of("x")),
    "max_tokens": (CHAT, chat_of("x", max_tokens=600)),
    "max_completion_tokens": (CHAT, chat_of("x", max_completion_tokens=600)),
    "the larger of two caps": (CHAT, chat_of("x", max_completion_tokens=1, max_tokens=600)),
    "n": (CHAT, chat_of("x", max_tokens=10, n=100)),
    "a long prompt": (CHAT, chat_of("x" * 1100, max_tokens=1)),
    "a prompt of escapes": (CHAT, chat_of("\u00e9" * 550, max_tokens=1)),
    "tools": (CHAT, chat_of("x", max_tokens=1, tools=[{"type": "function", "function": {"name": "f" * 1100}}])),
    "a picture by its address": (CHAT, chat_of(IMAGE, max_tokens=1)),
    "a video by its address": (CHAT, chat_of([{"type": "video_url", "video_url": {"url": "https://v"}}], max_tokens=1)),
    "a file by its id": (CHAT, chat_of([{"type": "file", "file": {"file_id": "file-1"}}], max_tokens=1)),
    "a part of no known kind": (CHAT, chat_of([{"type": "document", "source": "x"}], max_tokens=1)),
    "a search": (CHAT, chat_of("x", max_tokens=1, web_search_options={})),
    "an alias": (CHAT, chat_of("x", model="auto")),
    "a tier": (CHAT, chat_of("x", model="tier/small")),
    "a model": (CHAT, chat_of("x", model="small-model")),
    "a stream": (CHAT, chat_of("x", stream=True)),
    "completions": ("/v1/completions", {"prompt": "x", "max_tokens": 600}),
    "completions, best_of": ("/v1/completions", {"prompt": "x", "max_tokens": 10, "best_of": 100}),
    "completions, many prompts": ("/v1/completions", {"prompt": ["x"] * 100, "max_tokens": 10}),
    "completions, default of 16": ("/v1/completions", {"prompt": "x", "n": 40}),
    "embeddings": ("/v1/embeddings", {"input": ["x" * 100] * 20}),
    "responses": ("/v1/responses", {"input": "x", "max_output_tokens": 600}),
    "responses, no cap": ("/v1/responses", {"input": "x"}),
    "responses, earlier state": ("/v1/responses", {"previous_response_id": "resp_1", "max_output_tokens": 1}),
    "responses, a conversation": ("/v1/responses", {"input": "x", "conversation": "conv_1", "max_output_tokens": 1}),
    "responses, a template": ("/v1/responses", {"prompt": {"id": "pmpt_1"}, "max_output_tokens": 1}),
    "responses, a reference": (
        "/v1/responses",
        {"input": [{"type": "item_reference", "id": "msg_1"}], "max_output_tokens": 1},
    ),
    "responses, reasoning by its id": (
        "/v1/responses",
        {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}], "max_output_tokens": 1},
    ),
    "responses, a picture": (
        "/v1/responses",
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "x"}]}], "max_output_tokens": 1},
    ),
    "responses, a picture as a tool's output": (
        "/v1/responses",
        {
            "input": [{"type": "function_call_output", "call_id": "1", "output": [{"type": "input_image"}]}],
            "max_output_tokens": 1,
        },
    ),
    "responses, a search": (
        "/v1/responses",
        {"input": "x", "tools": [{"type": "web_search"}], "max_output_tokens": 1},
    ),
}


@pytest.mark.parametrize(("path", "members"), TOO_DEAR.values(), ids=TOO_DEAR.keys())
async def test_the_worst_case_counts_whatever_the_shape(
    gateway: RunningGateway, path: str, members: dict[str, Any]
) -> None:
    sent = len(gateway.mock.requests)

    response = await gateway.client.post(path, json={"model": "plain-model", **members}, headers=CAPPED)

    assert (response.status_code, response.json()["error"]["code"]) == (402, "budget_exceeded"), response.text
    assert response.headers["x-should-retry"] == "false"
    assert "retry-after" not in response.headers
    assert gateway.record_of(response).outcome is Outcome.REFUSED
    assert len(gateway.mock.requests) == sent


async def test_media_are_counted_however_their_name_is_spelt(gateway: RunningGateway) -> None:
    body = json.dumps({"model": "plain-model", **chat_of(IMAGE, max_tokens=1)}).replace("image_url", "\\u0069mage_url")

    reply = await send(gateway, post(body.encode(), b"X-Farthing-Feature: capped"))

    assert reply.status == 402


async def test_a_small_call_fits_and_text_parts_are_text(gateway: RunningGateway) -> None:
    parts = [{"type": "text", "text": "small"}]

    responses = [
        await gateway.client.post(CHAT, json={"model": "plain-model", **chat_of(content, max_tokens=1)}, headers=CAPPED)
        for content in ("small", parts)
    ]

    assert [response.status_code for response in responses] == [200, 200]


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE"])
@pytest.mark.parametrize("key", [KEY, ADMIN_KEY])
async def test_no_key_edits_a_cap(gateway: RunningGateway, method: bytes, key: str) -> None:
    paths = ("/api/budgets", "/api/budgets/capped-day", "/budget/update", "/key/update")
    replies = [
        await send(gateway, head(b"Content-Length: 2", target=path.encode(), method=method, key=key) + b"{}")
        for path in paths
    ]

    assert {reply.status for reply in replies} <= {403, 404, 405}
    assert await serves(gateway)


async def test_an_admins_calls_are_counted_like_any_others(gateway: RunningGateway) -> None:
    response = await gateway.chat("x", headers={**CAPPED, "authorization": f"Bearer {ADMIN_KEY}"}, max_tokens=600)

    assert response.status_code == 402
