"""Replay: a stored answer is given again as the official package expects it, plain or streamed."""

from typing import Any

import httpx2
import openai
import orjson
import pytest
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from cache.assemble import assembler
from cache.replay import DONE, plain, stream
from cache.testing import example_answer, example_body
from farthing.call import Endpoint

CALLS = [
    {"id": "c0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
    {"id": "c1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
]
TEXT = example_body("Paris, of course.")
TOOLS = example_body(None, tool_calls=CALLS)
REASONED = example_body("Paris.", reasoning_content="Let me see.", annotations=[])
COMPLETION = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1,
    "model": "small-1",
    "choices": [{"index": 0, "text": "Paris.", "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}
RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "completed_at": 2,
    "status": "completed",
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "model": "small-1",
    "output": [
        {
            "id": "rs_1",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "Thinking of France."}],
        },
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Paris.", "annotations": [], "logprobs": []}],
        },
        {
            "id": "fc_1",
            "type": "function_call",
            "status": "completed",
            "call_id": "call_1",
            "name": "f",
            "arguments": '{"a":1}',
        },
    ],
    "parallel_tool_calls": True,
    "store": False,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "usage": {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 11,
    },
}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def _frames(endpoint: Endpoint, body: dict[str, Any], *, include_usage: bool = False) -> list[bytes]:
    answer = example_answer(body)
    return stream(endpoint, answer, new_id="new-1", created=99, include_usage=include_usage)


def _data(frames: list[bytes]) -> list[dict[str, Any]]:
    return [orjson.loads(frame.split(b"data: ", 1)[1]) for frame in frames if frame != DONE]


@pytest.mark.parametrize(
    "endpoint, body, kind, time",
    [
        (Endpoint.CHAT, TEXT, ChatCompletion, "created"),
        (Endpoint.CHAT, TOOLS, ChatCompletion, "created"),
        (Endpoint.COMPLETIONS, COMPLETION, Completion, "created"),
        (Endpoint.RESPONSES, RESPONSE, Response, "created_at"),
    ],
)
def test_a_plain_replay_differs_in_id_and_time_only(endpoint: Endpoint, body: Any, kind: Any, time: str) -> None:
    again = orjson.loads(plain(endpoint, example_answer(body), new_id="new-1", created=99))

    assert (again["id"], again[time]) == ("new-1", 99)
    fresh = ("id", "created", "created_at", "completed_at")
    assert {k: v for k, v in again.items() if k not in fresh} == {k: v for k, v in body.items() if k not in fresh}
    assert list(again) == list(body)
    kind.model_validate(again)


def test_embeddings_are_replayed_byte_for_byte() -> None:
    body = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.25]}],
        "model": "e",
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }
    answer = example_answer(body)

    again = plain(Endpoint.EMBEDDINGS, answer, new_id="new-1", created=99)

    assert again == answer.body
    CreateEmbeddingResponse.model_validate_json(again)
    with pytest.raises(ValueError, match="stream"):
        _frames(Endpoint.EMBEDDINGS, body)


def test_a_chat_stream_opens_with_the_role_and_ends_with_done() -> None:
    frames = _frames(Endpoint.CHAT, TEXT)

    first, *middle, last = chunks = _data(frames)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in middle) == "Paris, of course."
    assert last["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    assert {(chunk["id"], chunk["created"], chunk["object"]) for chunk in chunks} == {
        ("new-1", 99, "chat.completion.chunk")
    }
    assert all("usage" not in chunk for chunk in chunks)
    assert frames[-1] == DONE
    assert all(frame.startswith(b"data: ") and frame.endswith(b"\n\n") and frame.count(b"\n") == 2 for frame in frames)


@pytest.mark.parametrize("body", [TEXT, TOOLS, REASONED])
def test_the_official_package_accepts_every_chat_chunk(body: dict[str, Any]) -> None:
    for chunk in _data(_frames(Endpoint.CHAT, body, include_usage=True)):
        ChatCompletionChunk.model_validate(chunk)


def test_usage_is_told_last_and_only_to_those_who_asked() -> None:
    chunks = _data(_frames(Endpoint.CHAT, TEXT, include_usage=True))

    assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], TEXT["usage"])
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def test_usage_is_told_even_where_the_stored_body_has_none() -> None:
    without = {name: value for name, value in TEXT.items() if name != "usage"}

    chunks = _data(_frames(Endpoint.CHAT, without, include_usage=True))

    assert chunks[-1]["usage"] == {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


@pytest.mark.parametrize("body", [TEXT, TOOLS, REASONED, example_body("a", refusal="No.")])
def test_a_replayed_stream_assembles_into_the_stored_answer(body: dict[str, Any]) -> None:
    made = assembler(Endpoint.CHAT)
    for chunk in _data(_frames(Endpoint.CHAT, body, include_usage=True)):
        made.feed(chunk)

    assembled = orjson.loads(made.body() or b"")

    message = {name: value for name, value in body["choices"][0]["message"].items() if value != []}
    assert assembled == {**body, "id": "new-1", "created": 99, "choices": [{**body["choices"][0], "message": message}]}


def test_several_choices_are_streamed_side_by_side() -> None:
    body = {**TEXT, "choices": [{**TEXT["choices"][0], "index": at} for at in (0, 1)]}
    made = assembler(Endpoint.CHAT, choices=2)

    for chunk in _data(_frames(Endpoint.CHAT, body)):
        ChatCompletionChunk.model_validate(chunk)
        made.feed(chunk)

    assert orjson.loads(made.body() or b"")["choices"] == body["choices"]


def test_a_text_completion_stream_is_accepted_and_assembles_again() -> None:
    made = assembler(Endpoint.COMPLETIONS)

    for chunk in _data(_frames(Endpoint.COMPLETIONS, COMPLETION, include_usage=True)):
        made.feed(chunk)
        if chunk["choices"]:
            finish = chunk["choices"][0]["finish_reason"] or "stop"  # the package's type has no null here
            Completion.model_validate({**chunk, "choices": [{**chunk["choices"][0], "finish_reason": finish}]})

    assert orjson.loads(made.body() or b"") == {**COMPLETION, "id": "new-1", "created": 99}


def test_a_responses_stream_tells_every_event_in_order() -> None:
    frames = _frames(Endpoint.RESPONSES, RESPONSE)

    events = _data(frames)
    types = [event["type"].removeprefix("response.") for event in events]
    assert types == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert all(
        frame.startswith(f"event: {event['type']}\n".encode()) for frame, event in zip(frames, events, strict=True)
    )
    assert DONE not in frames


def test_the_official_package_accepts_every_responses_event() -> None:
    for event in _data(_frames(Endpoint.RESPONSES, RESPONSE)):
        EVENT.validate_python(event)


def test_a_responses_stream_ends_with_the_whole_response_and_begins_with_none_of_it() -> None:
    events = _data(_frames(Endpoint.RESPONSES, RESPONSE))

    begun, whole = events[0]["response"], events[-1]["response"]
    assert (begun["output"], begun["usage"], begun["status"], begun["id"]) == ([], None, "in_progress", "new-1")
    assert whole == {**RESPONSE, "id": "new-1", "created_at": 99, "completed_at": 99}


def test_a_response_that_the_provider_keeps_keeps_its_id() -> None:
    answer = example_answer({**RESPONSE, "store": True})

    again = orjson.loads(plain(Endpoint.RESPONSES, answer, new_id="new-1", created=99))

    assert (again["id"], again["created_at"]) == ("resp_1", 99)


def test_the_official_client_reads_the_replayed_streams() -> None:
    streams = {
        "/v1/chat/completions": _frames(Endpoint.CHAT, TOOLS, include_usage=True),
        "/v1/responses": _frames(Endpoint.RESPONSES, RESPONSE),
    }

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(
            200, headers={"content-type": "text/event-stream"}, content=b"".join(streams[request.url.path])
        )

    with openai.OpenAI(
        api_key="k", base_url="http://gateway/v1", http_client=httpx2.Client(transport=httpx2.MockTransport(answer))
    ) as client:
        with client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "x"}]) as chat:
            completion = chat.get_final_completion()
        with client.responses.stream(model="m", input="x") as responses:
            response = responses.get_final_response()

    assert [call.function.arguments for call in completion.choices[0].message.tool_calls or ()] == ['{"a":1}', "{}"]
    assert completion.usage is not None
    assert response.output_text == "Paris."


@pytest.mark.parametrize("new_id", ["chatcmpl-2", 'an "odd" one', "a\\b", "ä", "x" * 300])
@pytest.mark.parametrize(
    "content", ["Paris.", '"renewed-c1d4a7f0b9e2-by-farthing"', "renewed-c1d4a7f0b9e2-by-farthing", "8123456789012345"]
)
def test_a_hot_answer_reads_as_one_that_was_parsed_and_written_anew(new_id: str, content: str) -> None:
    body = {**example_body(content), "created": 1_700_000_000, "nested": {"id": "kept", "created": 5}}
    answer = example_answer(body)

    for created in (1, 1_800_000_000):  # the second time from its pieces
        replayed = orjson.loads(plain(Endpoint.CHAT, answer, new_id=new_id, created=created))
        assert replayed == {**body, "id": new_id, "created": created}
