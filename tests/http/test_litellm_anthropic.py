"""The litellm adapter against a stand-in that speaks Anthropic's Messages format."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("litellm", reason="litellm is not installed: it comes with farthing[providers]")

from cache.prefixes import marked
from cache.testing import example_call
from farthing.catalog import Deployment, Provider, Quirks, Timeouts
from farthing.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from farthing.sse import Reader
from gateway.upstreams.litellm import LiteLLMUpstream
from gateway.upstreams.testing import Ending, Scripted, scripted_server

# litellm's own types trip a warning of pydantic, which litellm would turn into a failed call.
pytestmark = pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning")

MARK = {"type": "ephemeral"}
USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 5,
    "cache_read_input_tokens": 100,
    "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3},
    "output_tokens": 7,
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "hello there"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": USAGE,
}
ASKED = {"model": "auto", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}], "metadata": {"a": "b"}}


def event(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def delta(text: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


OPENING = (
    event(
        "message_start", message={**MESSAGE, "content": [], "stop_reason": None, "usage": {**USAGE, "output_tokens": 1}}
    ),
    event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    event("ping"),
    delta("hello"),
)
CLOSING = (
    delta(" there"),
    event("content_block_stop", index=0),
    event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=USAGE),
    event("message_stop"),
)


def plain(answer: object, status: int = 200, **headers: str) -> Scripted:
    return Scripted(
        status=status, headers={"content-type": "application/json", **headers}, chunks=(json.dumps(answer).encode(),)
    )


def stream(*events: bytes, ending: Ending = Ending.COMPLETE) -> Scripted:
    return Scripted(headers={"content-type": "text/event-stream"}, chunks=events, ending=ending)


def failure(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}


@pytest.fixture
async def upstream() -> AsyncIterator[LiteLLMUpstream]:
    made = LiteLLMUpstream()
    yield made
    await made.close()


def deployment(base_url: str, timeouts: Timeouts = Timeouts()) -> Deployment:
    provider = Provider(name="anthropic", adapter="litellm", base_url=base_url, api_key="sk-secret", timeouts=timeouts)
    return Deployment(name="m", provider=provider, model="claude-sonnet-4-5")


async def ask(upstream: LiteLLMUpstream, target: Deployment, body: object = ASKED) -> tuple[int, dict[str, Any]]:
    answer = await upstream.send(target, "chat/completions", json.dumps(body).encode(), stream=False)
    read = await answer.read()
    await answer.close()
    return answer.status, json.loads(read)


def of_openai(usage: dict[str, Any]) -> dict[str, Any]:
    details = usage["prompt_tokens_details"]
    return {
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "cached_tokens": details["cached_tokens"],
        "cache_creation_tokens": details["cache_creation_tokens"],
        "one_hour": details["cache_creation_token_details"]["ephemeral_1h_input_tokens"],
    }


# 10 uncached + 5 written + 100 read = 115
COUNTED = {
    "prompt_tokens": 115,
    "completion_tokens": 7,
    "cached_tokens": 100,
    "cache_creation_tokens": 5,
    "one_hour": 3,
}


async def test_a_plain_call_is_translated_both_ways(upstream: LiteLLMUpstream) -> None:
    async with scripted_server(plain(MESSAGE)) as server:
        status, answer = await ask(upstream, deployment(server.base_url))

    [(line, headers, body)] = server.requests
    assert line == "POST /v1/messages HTTP/1.1"
    assert headers["x-api-key"] == "sk-secret"
    assert json.loads(body) == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    }
    assert (status, answer["object"]) == (200, "chat.completion")
    assert answer["choices"][0]["message"]["content"] == "hello there"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert of_openai(answer["usage"]) == COUNTED


async def test_a_call_with_tools_needs_no_package_beside_litellm(upstream: LiteLLMUpstream) -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}

    async with scripted_server(plain(MESSAGE)) as server:
        status, _ = await ask(upstream, deployment(server.base_url), {**ASKED, "tools": [tool]})

    assert status == 200
    assert json.loads(server.requests[0][2])["tools"][0]["name"] == "add"


async def test_the_marks_of_prompt_caches_reach_the_provider_where_they_were_set(upstream: LiteLLMUpstream) -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
    called = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    conversation = [
        {"role": "user", "content": "add"},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
    ]
    with_system = {"messages": [{"role": "system", "content": "Rules."}, *conversation], "tools": [tool]}
    without = {"messages": conversation[:1], "tools": [tool]}

    async with scripted_server(plain(MESSAGE), plain(MESSAGE)) as server:
        for body in (with_system, without):
            call = example_call({**ASKED, **body})
            marks = marked(call, head=True, turns=True, whole_messages=True)
            await ask(upstream, deployment(server.base_url), {**call.body, **marks})

    first, second = (json.loads(body) for _, _, body in server.requests)
    assert first["system"] == [{"type": "text", "text": "Rules.", "cache_control": MARK}]
    assert "cache_control" not in first["tools"][0]
    assert first["messages"][-1]["content"][-1]["cache_control"] == MARK
    assert first["messages"][-1]["content"][-1]["type"] == "tool_result"
    assert second["tools"][0]["cache_control"] == MARK
    assert second["messages"] == [{"role": "user", "content": [{"type": "text", "text": "add", "cache_control": MARK}]}]
    assert [json.dumps(body).count("cache_control") for body in (first, second)] == [2, 2]


async def test_a_stream_becomes_openai_chunks_one_usage_chunk_and_done(upstream: LiteLLMUpstream) -> None:
    async with scripted_server(stream(*OPENING, *CLOSING)) as server:
        target = deployment(server.base_url)
        answer = await upstream.send(target, "chat/completions", json.dumps(ASKED).encode(), stream=True)
        frames = [event.data for event in Reader().feed(await answer.read())]
        await answer.close()

    *chunks, usage = [json.loads(frame) for frame in frames[:-1]]
    assert frames[-1] == b"[DONE]"
    assert answer.headers["content-type"] == "text/event-stream"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "hello there"
    assert [chunk["choices"][0].get("finish_reason") for chunk in chunks][-1] == "stop"
    assert not any("usage" in chunk for chunk in chunks)
    assert usage["choices"] == []
    assert "cost" not in usage["usage"]
    assert of_openai(usage["usage"]) == COUNTED
    assert len({chunk["id"] for chunk in [*chunks, usage]}) == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(400, "invalid_request_error"), (429, "rate_limit_error"), (529, "overloaded_error")]
)
async def test_an_error_keeps_its_status_its_sentence_and_its_retry_after(
    upstream: LiteLLMUpstream, status: int, kind: str
) -> None:
    async with scripted_server(plain(failure(kind, "No, sk-secret"), status, **{"retry-after": "7"})) as server:
        body = json.dumps(ASKED).encode()
        answer = await upstream.send(deployment(server.base_url), "chat/completions", body, stream=False)

    assert (answer.status, answer.headers["retry-after"]) == (status, "7")
    assert json.loads(await answer.read())["error"]["message"] == "No, ***"
    assert len(server.requests) == 1


async def test_a_parameter_that_the_provider_does_not_have_is_refused_and_not_dropped(
    upstream: LiteLLMUpstream,
) -> None:
    async with scripted_server() as server:
        status, answer = await ask(upstream, deployment(server.base_url), {**ASKED, "logit_bias": {"1": 1}})

    assert status == 400
    assert "logit_bias" in answer["error"]["message"]
    assert server.requests == []


@pytest.mark.parametrize("name", ["api_base", "base_url", "fallbacks", "mock_response", "extra_headers", "api_key"])
async def test_a_parameter_of_litellm_itself_is_refused(upstream: LiteLLMUpstream, name: str) -> None:
    async with scripted_server() as server:
        status, answer = await ask(upstream, deployment(server.base_url), {**ASKED, name: "http://127.0.0.1:1"})

    assert (status, answer["error"]["param"]) == (400, name)
    assert server.requests == []


async def test_a_link_to_an_image_is_refused_and_never_fetched(upstream: LiteLLMUpstream) -> None:
    async with scripted_server() as server:
        image = {"type": "image_url", "image_url": {"url": server.base_url + "/image.png"}}
        message = {"role": "user", "content": [{"type": "text", "text": "see https://x"}, image]}
        status, answer = await ask(upstream, deployment(server.base_url), {**ASKED, "messages": [message]})

    assert (status, answer["error"]["param"]) == (400, "messages")
    assert server.requests == []


async def test_other_operations_are_refused(upstream: LiteLLMUpstream) -> None:
    answer = await upstream.send(deployment("http://127.0.0.1:1"), "responses", b"{}", stream=False)

    assert answer.status == 400
    assert "adapter: openai" in json.loads(await answer.read())["error"]["message"]


async def test_a_closed_port_is_unreachable(upstream: LiteLLMUpstream) -> None:
    async with scripted_server(Scripted(ending=Ending.REFUSED)) as server:
        with pytest.raises(UpstreamUnreachable, match="'anthropic'"):
            await ask(upstream, deployment(server.base_url))


async def test_no_answer_runs_into_the_first_byte_timeout_and_closes_the_connection(
    upstream: LiteLLMUpstream,
) -> None:
    async with scripted_server(plain(MESSAGE), Scripted(ending=Ending.SILENT)) as server:
        await ask(upstream, deployment(server.base_url))  # the first call of all imports much

        with pytest.raises(UpstreamTimeout, match=r"timeouts\.first_byte"):
            await ask(upstream, deployment(server.base_url, Timeouts(first_byte=0.3)))

        async with asyncio.timeout(5):
            await server.gone.wait()


@pytest.mark.parametrize(("setting", "timeouts"), [("idle", Timeouts(idle=0.05)), ("total", Timeouts(total=0.3))])
async def test_a_stream_that_falls_silent_runs_into_a_timeout(
    upstream: LiteLLMUpstream, setting: str, timeouts: Timeouts
) -> None:
    async with scripted_server(stream(*OPENING, ending=Ending.STALL)) as server:
        target = deployment(server.base_url, timeouts)
        answer = await upstream.send(target, "chat/completions", json.dumps(ASKED).encode(), stream=True)
        with pytest.raises(UpstreamTimeout, match=f"timeouts.{setting}"):
            await answer.read()
        await answer.close()


@pytest.mark.parametrize(
    "script",
    [
        stream(*OPENING, ending=Ending.CUT),
        stream(*OPENING, event("error", **failure("overloaded_error", "Overloaded"))),
    ],
    ids=["cut", "error event"],
)
async def test_a_stream_that_breaks_gives_its_chunks_and_then_breaks(
    upstream: LiteLLMUpstream, script: Scripted
) -> None:
    got = []

    async with scripted_server(script) as server:
        target = deployment(server.base_url)
        answer = await upstream.send(target, "chat/completions", json.dumps(ASKED).encode(), stream=True)
        with pytest.raises(UpstreamBroken):
            async for chunk in answer.chunks():
                got.append(chunk)  # noqa: PERF401 - what came before the break must be seen
        await answer.close()

    assert b"hello" in b"".join(got)
    assert b"[DONE]" not in b"".join(got)


async def test_closing_a_stream_closes_its_connection(upstream: LiteLLMUpstream) -> None:
    async with scripted_server(stream(*OPENING, ending=Ending.STALL)) as server:
        target = deployment(server.base_url)
        answer = await upstream.send(target, "chat/completions", json.dumps(ASKED).encode(), stream=True)
        await anext(answer.chunks())

        await answer.close()

        async with asyncio.timeout(5):
            await server.gone.wait()


async def test_the_path_prefix_names_the_provider_to_litellm(upstream: LiteLLMUpstream) -> None:
    async with scripted_server(plain(MESSAGE)) as server:
        target = deployment(server.base_url)
        provider = replace(target.provider, name="claude-eu", quirks=Quirks(path_prefix="anthropic"))
        status, _ = await ask(upstream, replace(target, provider=provider))

    assert status == 200
    assert server.requests[0][0] == "POST /v1/messages HTTP/1.1"


async def test_a_model_may_carry_litellms_prefix_itself(upstream: LiteLLMUpstream) -> None:
    async with scripted_server(plain(MESSAGE)) as server:
        target = deployment(server.base_url)
        named = replace(target, model="anthropic/claude-x", provider=replace(target.provider, name="other"))
        status, _ = await ask(upstream, named)

    assert status == 200
    assert json.loads(server.requests[0][2])["model"] == "claude-x"
