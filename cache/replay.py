"""Replay: a stored answer given again, plain or as the stream that it might have come as."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from cache.replay_responses import cut_up
from cache.replay_responses import events as response_events
from farthing.answer import StoredAnswer
from farthing.call import Endpoint
from farthing.usage import Usage

DONE: Final = b"data: [DONE]\n\n"


def plain(endpoint: Endpoint, answer: StoredAnswer, *, new_id: str, created: int) -> bytes:
    """The answer as plain JSON with an id and a time (seconds since 1970) of its own; the rest as stored."""
    if endpoint is Endpoint.EMBEDDINGS:  # has neither id nor time
        return answer.body
    body = answer.body
    if len(body) > _CUT_BYTES or not (new_id.isascii() and new_id.isprintable()) or '"' in new_id or "\\" in new_id:
        return orjson.dumps(_renewed(orjson.loads(body), new_id, created))
    pieces = _cut(body)
    if pieces is None:
        return orjson.dumps(_renewed(orjson.loads(body), new_id, created))
    fresh = {_ID: b'"%b"' % new_id.encode(), _TIME: b"%d" % created}
    return b"".join([fresh.get(piece, piece) for piece in pieces])


_ID: Final = b'"renewed-c1d4a7f0b9e2-by-farthing"'
_TIME: Final = b"8123456789012345"
_SEAM: Final = re.compile(b"(%b|%b)" % (_ID, _TIME))
_CUT_BYTES: Final = 16_384


@lru_cache(maxsize=1024)  # 16 MB at most; the hash of a body is computed once, and it is found by identity
def _cut(body: bytes) -> tuple[bytes, ...] | None:
    """The renewed answer in pieces, with marks where its id and times go: a hot answer is put together in a third of
    the time that parsing and writing it takes. None where the answer itself holds a mark."""
    if b"renewed-c1d4a7f0b9e2-by-farthing" in body or _TIME in body:
        return None
    marked = orjson.dumps(_renewed(orjson.loads(body), _ID[1:-1].decode(), int(_TIME)))
    return tuple(piece for piece in _SEAM.split(marked) if piece)


def stream(
    endpoint: Endpoint, answer: StoredAnswer, *, new_id: str, created: int, include_usage: bool, pieces: int = 1
) -> list[bytes]:
    """The answer as the frames of a server-sent event stream, one frame an item; a text in so many pieces, unless it
    has log probabilities, which belong to the whole.

    `include_usage` adds the chunk that `stream_options.include_usage` asks for; Responses always tell usage
    and have no `[DONE]`. Raises ValueError for embeddings, which do not stream.
    """
    body = _renewed(orjson.loads(answer.body), new_id, created)
    if endpoint is Endpoint.RESPONSES:
        return [_event(event) for event in response_events(body, pieces)]
    if endpoint is Endpoint.EMBEDDINGS:
        raise ValueError("embeddings do not stream")
    usage = body.get("usage") or _usage_object(answer.usage)
    chunks = _chat_choices(body, pieces) if endpoint is Endpoint.CHAT else _text_choices(body, pieces)
    kind = "chat.completion.chunk" if endpoint is Endpoint.CHAT else "text_completion"
    head = {name: value for name, value in body.items() if name not in ("object", "choices", "usage")}
    frames = [_frame(kind, head, choices, include_usage, None) for choices in chunks]
    if include_usage:
        frames.append(_frame(kind, head, [], True, usage))
    return [*frames, DONE]


def _renewed(body: dict[str, Any], new_id: str, created: int) -> dict[str, Any]:
    """With a fresh id and time, where there were an id and a time.

    A response that the provider keeps (`store`) keeps its id too: clients continue from it by
    `previous_response_id`, and the provider knows no other.
    """
    kept_there = body.get("object") == "response" and body.get("store") is True
    fresh = {"created": created, "created_at": created, "completed_at": created}
    if not kept_there:
        fresh["id"] = new_id  # type: ignore[assignment]
    return {name: fresh.get(name, value) if value is not None else None for name, value in body.items()}


def _frame(kind: str, head: Mapping[str, Any], choices: list[Any], tell_usage: bool, usage: Any) -> bytes:
    chunk = {"id": head.get("id"), "object": kind, **head, "choices": choices}
    if tell_usage:
        chunk["usage"] = usage
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _event(event: Mapping[str, Any]) -> bytes:
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"


def _chat_choices(body: Mapping[str, Any], pieces: int) -> Iterator[list[dict[str, Any]]]:
    choices = _indexed(body["choices"])
    for choice in choices:
        cut = 1 if choice.get("logprobs") else pieces
        yield [_chat_choice(choice, _opening(choice["message"]))]
        yield from ([_chat_choice(choice, delta)] for delta in _deltas(choice["message"], cut))
    for choice in choices:
        yield [_ending(choice, {"delta": {}})]


def _chat_choice(choice: Mapping[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    spoken = delta.get("content") or ("role" not in delta and delta.get("refusal"))
    logprobs = choice.get("logprobs") if spoken else None
    return {"index": choice["index"], "delta": delta, "logprobs": logprobs, "finish_reason": None}


def _opening(message: Mapping[str, Any]) -> dict[str, Any]:
    content = None if message.get("content") is None else ""
    opening: dict[str, Any] = {"role": message.get("role", "assistant"), "content": content}
    if "refusal" in message:
        opening["refusal"] = None
    return opening


_TOLD_APART: Final = ("role", "content", "refusal", "tool_calls")


def _deltas(message: Mapping[str, Any], pieces: int) -> Iterator[dict[str, Any]]:
    """Reasoning and whatever else the message holds first, then the text, then each tool call."""
    for name, value in message.items():
        if name not in _TOLD_APART and value is not None and value != []:
            yield {name: value}
    for name in ("content", "refusal"):
        if message.get(name):
            yield from ({name: part} for part in cut_up(message[name], pieces))
    for index, call in enumerate(message.get("tool_calls") or ()):
        yield {"tool_calls": [{"index": index, **call}]}


def _text_choices(body: Mapping[str, Any], pieces: int) -> Iterator[list[dict[str, Any]]]:
    choices = _indexed(body["choices"])
    for choice in choices:
        for part in cut_up(choice["text"], 1 if choice.get("logprobs") else pieces):
            text = {"text": part, "logprobs": choice.get("logprobs")}
            yield [{"index": choice["index"], **text, "finish_reason": None}]
    for choice in choices:
        yield [_ending(choice, {"text": ""})]


def _indexed(choices: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each choice with its index: some providers leave it out of a plain answer, where the order tells it."""
    return [{"index": index, **choice} for index, choice in enumerate(choices)]


def _ending(choice: Mapping[str, Any], nothing: Mapping[str, Any]) -> dict[str, Any]:
    told = ("index", "message", "text", "logprobs", "finish_reason")
    rest = {name: value for name, value in choice.items() if name not in told}
    reason = choice["finish_reason"]
    return {"index": choice["index"], **nothing, "logprobs": None, "finish_reason": reason, **rest}


def _usage_object(usage: Usage) -> dict[str, int]:
    prompt, completion = usage.input_total, usage.output_total
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
