"""The mock upstream answers like OpenAI and fails as its model names say."""

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bench.mock_upstream import Mock, MockSettings, running_mock

FAST = MockSettings(chunks=10, duration_ms=0, slow_ms=20, recording=True)


@pytest.fixture
async def mock() -> AsyncIterator[Mock]:
    async with running_mock(FAST) as running:
        yield running


@pytest.fixture
async def client(mock: Mock) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=mock.base_url, timeout=5, trust_env=False) as client:
        yield client


def chat(text: str = "how many farthings make a penny?", **more: Any) -> dict[str, Any]:
    return {"model": "some-model", "messages": [{"role": "user", "content": text}], **more}


def events(body: str) -> list[Any]:
    datas = [line.removeprefix("data: ") for line in body.split("\n") if line.startswith("data: ")]
    return [data if data == "[DONE]" else json.loads(data) for data in datas]


async def test_a_chat_answer_echoes_the_last_user_message_and_counts_words(client: httpx.AsyncClient) -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "echo: first"},
        {"role": "user", "content": [{"type": "text", "text": "second one"}]},
    ]

    answer = (await client.post("/chat/completions", json=chat() | {"messages": messages})).json()

    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "echo: second one"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["prompt_tokens"] == 7  # 2 + 1 + 2 + 2 words
    assert answer["usage"]["completion_tokens"] == 3
    assert answer["usage"]["total_tokens"] == 10


async def test_the_answer_of_the_load_test_is_about_600_bytes_long(client: httpx.AsyncClient) -> None:
    answer = await client.post("/chat/completions", json=chat("word " * 90))

    assert 550 < len(answer.content) < 700


async def test_max_tokens_cuts_the_answer_and_says_so(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/chat/completions", json=chat("one two three", max_tokens=2))).json()

    assert answer["choices"][0]["message"]["content"] == "echo: one"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 2


async def test_n_choices_are_answered_and_counted(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/chat/completions", json=chat("hi", n=3))).json()

    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["completion_tokens"] == 6  # 3 choices of 2 words


async def test_a_stream_has_the_asked_chunks_then_usage_then_done(client: httpx.AsyncClient) -> None:
    asked = chat("count them", stream=True, stream_options={"include_usage": True})

    answer = await client.post("/chat/completions", json=asked)

    *chunks, usage, done = events(answer.text)
    assert answer.headers["content-type"] == "text/event-stream"
    assert len(chunks) == FAST.chunks
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == "echo: count them"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert all(c["usage"] is None for c in chunks)
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 5  # 2 words in, 3 out
    assert done == "[DONE]"


async def test_a_stream_that_did_not_ask_carries_no_usage(client: httpx.AsyncClient) -> None:
    answer = await client.post("/chat/completions", json=chat(stream=True))

    *chunks, done = events(answer.text)
    assert len(chunks) == FAST.chunks
    assert not any("usage" in chunk for chunk in chunks)
    assert done == "[DONE]"


@pytest.mark.parametrize("prompt", ["say it", ["say it"]])
async def test_a_legacy_completion_streams_what_it_answers_plainly(
    client: httpx.AsyncClient, prompt: str | list[str]
) -> None:
    asked = {"model": "some-model", "prompt": prompt}

    plain = (await client.post("/completions", json=asked)).json()
    streamed = events((await client.post("/completions", json=asked | {"stream": True})).text)

    assert plain["object"] == "text_completion"
    assert plain["choices"][0]["text"] == "echo: say it"
    assert "".join(chunk["choices"][0]["text"] for chunk in streamed[:-1]) == "echo: say it"
    assert len(streamed) == FAST.chunks + 1  # and [DONE]


async def test_embeddings_keep_the_order_and_depend_on_the_text_alone(client: httpx.AsyncClient) -> None:
    asked = {"model": "mock-embedding", "input": ["a", "b", "a"], "dimensions": 16}

    answer = (await client.post("/embeddings", json=asked)).json()

    first, second, third = (entry["embedding"] for entry in answer["data"])
    assert [entry["index"] for entry in answer["data"]] == [0, 1, 2]
    assert first == third != second
    assert len(first) == 16
    assert sum(x * x for x in first) == pytest.approx(1)
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


async def test_base64_embeddings_hold_the_same_floats(client: httpx.AsyncClient) -> None:
    asked = {"model": "mock-embedding", "input": "one text"}

    floats = (await client.post("/embeddings", json=asked)).json()["data"][0]["embedding"]
    coded = (await client.post("/embeddings", json=asked | {"encoding_format": "base64"})).json()

    raw = base64.b64decode(coded["data"][0]["embedding"])
    assert struct.unpack(f"<{len(floats)}f", raw) == pytest.approx(floats)


@pytest.mark.parametrize(("given", "count"), [([1, 2, 3], 1), ([[1, 2], [3]], 2)])
async def test_token_ids_are_embedding_inputs(client: httpx.AsyncClient, given: list[Any], count: int) -> None:
    answer = (await client.post("/embeddings", json={"model": "m", "input": given})).json()

    assert len(answer["data"]) == count
    assert answer["usage"]["prompt_tokens"] == 3


async def test_a_response_is_answered_plainly(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/responses", json={"model": "m", "input": "hello you"})).json()

    assert answer["status"] == "completed"
    assert answer["output"][0]["content"][0]["text"] == "echo: hello you"
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == (2, 3)


async def test_a_streamed_response_ends_with_completed_and_no_done(client: httpx.AsyncClient) -> None:
    given = [{"role": "user", "content": [{"type": "input_text", "text": "hello you"}]}]

    answer = await client.post("/responses", json={"model": "m", "input": given, "stream": True})

    seen = events(answer.text)
    deltas = [event["delta"] for event in seen if event["type"] == "response.output_text.delta"]
    assert seen[0]["type"] == "response.created"
    assert "".join(deltas) == "echo: hello you"
    assert seen[-1]["type"] == "response.completed"
    assert seen[-1]["response"]["usage"]["total_tokens"] == 5
    assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
    assert "[DONE]" not in answer.text


async def test_the_models_are_listed(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/models")).json()

    assert answer["object"] == "list"
    assert "bench-model" in [model["id"] for model in answer["data"]]


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503, 529])
async def test_a_model_may_name_the_status_it_fails_with(client: httpx.AsyncClient, status: int) -> None:
    answer = await client.post("/chat/completions", json=chat(model=f"mock-{status}"))

    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert ("retry-after" in answer.headers) == (status in (429, 503))


async def test_an_html_error_page_is_no_json(client: httpx.AsyncClient) -> None:
    answer = await client.post("/chat/completions", json=chat(model="mock-html-502"))

    assert answer.status_code == 502
    assert answer.headers["content-type"] == "text/html"
    assert answer.text.startswith("<html>")


async def test_a_broken_body_comes_with_status_200(client: httpx.AsyncClient) -> None:
    answer = await client.post("/chat/completions", json=chat(model="mock-not-json"))

    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        answer.json()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cut_answer_breaks_off_midway(client: httpx.AsyncClient, stream: bool) -> None:
    received = b""

    with pytest.raises(httpx.RemoteProtocolError):
        async with client.stream("POST", "/chat/completions", json=chat(model="mock-cut", stream=stream)) as answer:
            async for part in answer.aiter_raw():
                received += part

    assert answer.status_code == 200
    assert received
    assert b"[DONE]" not in received


async def test_a_dropped_request_gets_no_byte(client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        await client.post("/chat/completions", json=chat(model="mock-drop"))


@pytest.mark.parametrize("model", ["mock-hang", "mock-stall"])
async def test_a_silent_upstream_is_left_by_the_client_and_counted(
    client: httpx.AsyncClient, mock: Mock, model: str
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await client.post("/chat/completions", json=chat(model=model, stream=True), timeout=0.03)

    await client.get("/models")
    assert mock.aborted == 1


async def test_a_slow_first_byte_still_answers(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/chat/completions", json=chat(model="mock-slow-first-byte"))).json()

    assert answer["choices"][0]["message"]["content"].startswith("echo: ")


async def test_an_error_inside_a_stream_ends_it_without_done(client: httpx.AsyncClient) -> None:
    asked = chat(model="mock-error-in-stream", stream=True)

    answer = await client.post("/chat/completions", json=asked)

    *chunks, last = events(answer.text)
    assert answer.status_code == 200
    assert chunks
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)
    assert last["error"]["type"] == "server_error"


async def test_an_error_inside_a_streamed_response_is_an_error_event(client: httpx.AsyncClient) -> None:
    asked = {"model": "mock-error-in-stream", "input": "hi", "stream": True}

    answer = await client.post("/responses", json=asked)

    assert events(answer.text)[-1]["type"] == "error"
    assert "event: error\n" in answer.text


async def test_usage_can_be_missing_everywhere(client: httpx.AsyncClient) -> None:
    model = "mock-no-usage"

    plain = (await client.post("/chat/completions", json=chat(model=model))).json()
    asked = chat(model=model, stream=True, stream_options={"include_usage": True})
    streamed = events((await client.post("/chat/completions", json=asked)).text)

    assert plain["usage"] is None
    assert len(streamed) == FAST.chunks + 1  # and [DONE], but no usage chunk
    assert not any(chunk["usage"] for chunk in streamed[:-1])


async def test_usage_can_stand_beside_the_finish_reason(client: httpx.AsyncClient) -> None:
    answer = await client.post("/chat/completions", json=chat(model="mock-usage-beside-choice", stream=True))

    *chunks, _done = events(answer.text)
    assert len(chunks) == FAST.chunks
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["total_tokens"] > 0


@pytest.mark.parametrize(("model", "reason"), [("mock-length", "length"), ("mock-content-filter", "content_filter")])
async def test_a_model_may_name_its_finish_reason(client: httpx.AsyncClient, model: str, reason: str) -> None:
    plain = (await client.post("/chat/completions", json=chat(model=model))).json()
    streamed = events((await client.post("/chat/completions", json=chat(model=model, stream=True))).text)

    assert plain["choices"][0]["finish_reason"] == reason
    assert streamed[-2]["choices"][0]["finish_reason"] == reason


async def test_a_truncated_response_is_incomplete(client: httpx.AsyncClient) -> None:
    asked = {"model": "mock-length", "input": "hi", "stream": True}

    seen = events((await client.post("/responses", json=asked)).text)

    assert seen[-1]["type"] == "response.incomplete"
    assert seen[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_done_can_be_left_out(client: httpx.AsyncClient) -> None:
    answer = await client.post("/chat/completions", json=chat(model="mock-no-done", stream=True))

    assert events(answer.text)[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("body", [b"{", b"null", b"[]", b'{"n": "x", "messages": []}'])
async def test_a_bad_body_is_a_400_and_the_connection_lives(client: httpx.AsyncClient, body: bytes) -> None:
    refused = await client.post("/chat/completions", content=body)
    answered = await client.post("/chat/completions", json=chat())

    assert refused.status_code == 400
    assert answered.status_code == 200


async def test_an_unknown_path_is_a_404(client: httpx.AsyncClient) -> None:
    assert (await client.post("/audio/speech", json={})).status_code == 404


async def test_requests_are_recorded_with_path_headers_and_body(client: httpx.AsyncClient, mock: Mock) -> None:
    await client.post("/chat/completions?api-version=1", json=chat("hi"), headers={"X-Trace": "abc"})

    (path, headers, body) = mock.requests[0]
    assert path == "/v1/chat/completions?api-version=1"
    assert headers["x-trace"] == "abc"
    assert json.loads(body) == mock.requests[0].json == chat("hi")


async def test_nothing_is_recorded_when_recording_is_off() -> None:
    async with (
        running_mock(MockSettings(duration_ms=0)) as quiet,
        httpx.AsyncClient(base_url=quiet.base_url, trust_env=False) as client,
    ):
        await client.post("/chat/completions", json=chat())

    assert quiet.answered == 1
    assert quiet.requests == []


async def test_pipelined_requests_are_answered_in_order(mock: Mock) -> None:
    host, port = mock.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    models = ["mock-slow-first-byte"] + ["plain"] * 400

    for number, model in enumerate(models):
        last = "connection: close\r\n" if number == 400 else ""
        body = json.dumps(chat(f"number-{number}", model=model))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{last}content-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body.encode())
    received = await asyncio.wait_for(reader.read(-1), 5)
    writer.close()
    await writer.wait_closed()

    order = [int(part.split(b'"')[0]) for part in received.split(b"number-")[1:]]
    assert order == list(range(401))


async def test_what_is_not_http_is_refused_and_closed(mock: Mock) -> None:
    host, port = mock.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    writer.write(b"\x16\x03\x01 not http\r\n\r\n")
    received = await asyncio.wait_for(reader.read(-1), 5)
    writer.close()
    await writer.wait_closed()

    assert received.startswith(b"HTTP/1.1 400 ")
