"""Storable: errors, refusals, filtered, truncated and empty answers are never kept."""

from typing import Any

import pytest

from cache.storable import Storable, storable
from cache.testing import example_body
from farthing.call import Endpoint

CALLS = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


def _chat(finish_reason: Any = "stop", *, choice: Any = None, **message: Any) -> dict[str, Any]:
    body = example_body(**message)
    body["choices"][0] |= {"finish_reason": finish_reason, **(choice or {})}
    return body


def _response(*output: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {
        "object": "response",
        "id": "resp_1",
        "status": "completed",
        "error": None,
        "output": list(output),
        **members,
    }


def _message(text: Any = "Paris.", **members: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [part], **members}


def test_a_complete_text_may_be_kept_for_paraphrases_too() -> None:
    assert storable(Endpoint.CHAT, _chat()) is Storable.SEMANTIC
    completion = {"choices": [{"index": 0, "text": "Paris.", "finish_reason": "stop"}]}
    assert storable(Endpoint.COMPLETIONS, completion) is Storable.SEMANTIC
    assert (
        storable(Endpoint.RESPONSES, _response({"type": "reasoning", "summary": []}, _message())) is Storable.SEMANTIC
    )


@pytest.mark.parametrize(
    "body",
    [
        _chat("tool_calls", content=None, tool_calls=CALLS),
        _chat("stop", content=None, tool_calls=CALLS),
        _chat("function_call", content=None, function_call={"name": "f", "arguments": "{}"}),
        {**_chat(), "choices": [*_chat()["choices"], *_chat(choice={"index": 1})["choices"]]},
        _chat(choice={"logprobs": {"content": [{"token": "P", "logprob": -0.1}]}}),
    ],
)
def test_tool_calls_several_choices_and_probabilities_are_for_the_same_request_only(body: dict[str, Any]) -> None:
    assert storable(Endpoint.CHAT, body) is Storable.EXACT


def test_embeddings_and_function_calls_are_for_the_same_request_only() -> None:
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "c",
        "name": "f",
        "arguments": "{}",
        "status": "completed",
    }

    assert storable(Endpoint.EMBEDDINGS, {"data": [{"embedding": [0.1]}]}) is Storable.EXACT
    assert storable(Endpoint.RESPONSES, _response(call)) is Storable.EXACT


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "overloaded"}},
        {**_chat(), "error": {"message": "late"}},
        _chat("length"),
        _chat("content_filter"),
        _chat(None),
        _chat("tool_calls"),
        _chat("length", content=None, tool_calls=CALLS),
        _chat(content=""),
        _chat(content=" \n"),
        _chat(content=None),
        _chat(content=[{"type": "text", "text": "x"}]),
        _chat(refusal="I cannot help with that."),
        _chat(audio={"id": "a"}),
        _chat(choice={"content_filter_results": {"hate": {"filtered": True, "severity": "high"}}}),
        {**_chat(), "prompt_filter_results": [{"content_filter_results": {"jailbreak": {"filtered": True}}}]},
        {**_chat(), "moderation": {"output": {"results": [{"flagged": True}]}}},
        {**_chat(), "choices": []},
        {**_chat(), "choices": None},
        {**_chat(), "choices": ["text"]},
        {**_chat(), "choices": [*_chat()["choices"], *_chat("length")["choices"]]},
        {},
    ],
)
def test_errors_refusals_filtered_truncated_and_empty_answers_are_never_kept(body: dict[str, Any]) -> None:
    assert storable(Endpoint.CHAT, body) is Storable.NO


def test_a_filter_that_found_nothing_does_not_matter() -> None:
    clean = {"hate": {"filtered": False, "severity": "safe"}, "jailbreak": {"filtered": False, "detected": False}}

    assert storable(Endpoint.CHAT, _chat(choice={"content_filter_results": clean})) is Storable.SEMANTIC


@pytest.mark.parametrize(
    "body",
    [
        _response(_message(), status="incomplete"),
        _response(_message(), status="failed", error={"code": "server_error"}),
        _response(_message(), incomplete_details={"reason": "max_output_tokens"}),
        _response(_message(status="incomplete")),
        _response(_message(content=[{"type": "refusal", "refusal": "No."}])),
        _response(_message("")),
        _response(_message(content=[])),
        _response(),
        _response({"type": "reasoning", "summary": []}),
        _response({"type": "web_search_call", "id": "ws_1", "status": "completed"}, _message()),
        _response(_message(), conversation={"id": "conv_1"}),
        _response(_message(), background=True),
        {"output": [_message()]},
    ],
)
def test_a_response_that_is_not_finished_text_or_call_is_never_kept(body: dict[str, Any]) -> None:
    assert storable(Endpoint.RESPONSES, body) is Storable.NO


@pytest.mark.parametrize("body", [{"data": []}, {"data": [{"embedding": []}]}, {"data": [{}]}, {}])
def test_embeddings_without_a_vector_are_never_kept(body: dict[str, Any]) -> None:
    assert storable(Endpoint.EMBEDDINGS, body) is Storable.NO


@pytest.mark.parametrize("text, reason", [("", "stop"), ("x", "length"), ("x", None)])
def test_a_text_completion_is_kept_only_if_it_came_to_its_end(text: str, reason: str | None) -> None:
    body = {"choices": [{"index": 0, "text": text, "finish_reason": reason}]}

    assert storable(Endpoint.COMPLETIONS, body) is Storable.NO
