"""What the mock upstream says: OpenAI's answer shapes, the same for the same request.

The text is `echo: ` and the last user message, cut to 200 characters, or to the words that max_tokens allows.
"""

import base64
import hashlib
import struct
from dataclasses import dataclass
from typing import Any

import orjson

Json = dict[str, Any]
CREATED = 1_700_000_000  # a fixed Unix time: equal requests get equal answers
FINISHES = {"mock-length": "length", "mock-content-filter": "content_filter"}


@dataclass(frozen=True, slots=True)
class Said:
    """What the mock says to one request, before it takes the shape of an API."""

    ident: str
    model: str
    text: str
    finish: str
    choices: int
    tokens: tuple[int, int] | None  # input, output: words, so never above a real tokenizer's count
    fingerprint: str = ""  # of the provider's system; none where empty


def _text(value: Any) -> str:
    """Join the texts in a prompt, message, list of parts or list of token ids."""
    if isinstance(value, dict):
        return _text(value.get("text", value.get("content")))
    if isinstance(value, list):
        return " ".join(map(_text, value))
    return "" if value is None else str(value)


def _last_user_text(prompt: Any) -> str:
    if not isinstance(prompt, list):
        return _text(prompt)
    asked = [m for m in prompt if not isinstance(m, dict) or m.get("role") == "user"]
    return _text(asked[-1]) if asked else ""


def say(ident: str, body: Json, prompt: Any) -> Said:
    model = str(body.get("model"))
    text = f"echo: {_last_user_text(prompt)}"[:200]
    words, finish = text.split(), FINISHES.get(model, "stop")
    cap = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens")
    if isinstance(cap, int) and cap < len(words):
        words, finish = words[:cap], "length"
        text = " ".join(words)
    n = body.get("n") or 1
    counts = (max(1, len(_text(prompt).split())), len(words) * n)
    return Said(ident, model, text, finish, n, None if model == "mock-no-usage" else counts)


def _usage(tokens: tuple[int, int] | None, names: tuple[str, str] = ("prompt", "completion")) -> Json | None:
    if tokens is None:
        return None
    into, out = names
    return {
        f"{into}_tokens": tokens[0],
        f"{out}_tokens": tokens[1],
        "total_tokens": sum(tokens),
        f"{into}_tokens_details": {"cached_tokens": 0},
        f"{out}_tokens_details": {"reasoning_tokens": 0},
    }


def _completion(said: Said, kind: str, inner: Json, finish: str | None, **more: Any) -> Json:
    choice = {"logprobs": None, "finish_reason": finish, **inner}
    choices = [{"index": i, **choice} for i in range(said.choices)]
    return {
        "id": said.ident,
        "object": kind,
        "created": CREATED,
        "model": said.model,
        "choices": choices,
        **({"system_fingerprint": said.fingerprint} if said.fingerprint else {}),
        **more,
    }


def chat(said: Said) -> Json:
    message: Json = {"role": "assistant", "content": said.text, "refusal": None, "annotations": []}
    more = {"service_tier": "default", "usage": _usage(said.tokens)}
    return _completion(said, "chat.completion", {"message": message}, said.finish, **more)


def legacy(said: Said) -> Json:
    return _completion(said, "text_completion", {"text": said.text}, said.finish, usage=_usage(said.tokens))


def response(said: Said, status: str = "") -> Json:
    status = status or ("completed" if said.finish == "stop" else "incomplete")
    reason = {"length": "max_output_tokens"}.get(said.finish, said.finish)
    content = [{"type": "output_text", "text": said.text, "annotations": []}]
    item = {
        "id": f"msg_{said.ident}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }
    opened = status == "in_progress"
    return {
        "id": said.ident,
        "object": "response",
        "created_at": CREATED,
        "model": said.model,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": reason} if status == "incomplete" else None,
        "metadata": {},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "output": [] if opened else [item],
        "usage": None if opened else _usage(said.tokens, ("input", "output")),
    }


def event(value: Json, name: str = "") -> bytes:
    data = b"data: %b\n\n" % orjson.dumps(value)
    return b"event: %b\n%b" % (name.encode(), data) if name else data


def _pieces(text: str, count: int) -> list[str]:
    return [text[len(text) * i // count : len(text) * (i + 1) // count] for i in range(count)]


def completion_events(said: Said, body: Json, chunks: int, chat: bool) -> list[bytes]:
    """Exactly `chunks` events, then, if asked, one with the usage and no choice."""
    asked = (body.get("stream_options") or {}).get("include_usage")
    more = {"usage": None} if asked else {}
    kind = "chat.completion.chunk" if chat else "text_completion"
    pieces = _pieces(said.text, max(1, chunks - 2))
    if chat:
        inners: list[Json] = [{"delta": {"role": "assistant", "content": ""}}]
        inners += [{"delta": {"content": piece}} for piece in pieces]
    else:
        inners = [{"text": ""}, *({"text": piece} for piece in pieces)]
    events = [event(_completion(said, kind, inner, None, **more)) for inner in inners]
    beside = said.model == "mock-usage-beside-choice"
    last = {"usage": _usage(said.tokens)} if beside else more
    events.append(event(_completion(said, kind, {"delta": {}} if chat else {"text": ""}, said.finish, **last)))
    if asked and said.tokens and not beside:
        events.append(event({**_completion(said, kind, {}, None), "choices": [], "usage": _usage(said.tokens)}))
    return events if said.model == "mock-no-done" else [*events, b"data: [DONE]\n\n"]


def response_events(said: Said, chunks: int) -> list[bytes]:
    at = {"item_id": f"msg_{said.ident}", "output_index": 0, "content_index": 0}
    done, blank = response(said), {"type": "output_text", "text": "", "annotations": []}
    item = done["output"][0]
    opened = {**item, "status": "in_progress", "content": []}
    events: list[tuple[str, Json]] = [
        ("created", {"response": response(said, "in_progress")}),
        ("output_item.added", {"output_index": 0, "item": opened}),
        ("content_part.added", {**at, "part": blank}),
        *(("output_text.delta", {**at, "delta": piece}) for piece in _pieces(said.text, max(1, chunks - 2))),
        ("output_text.done", {**at, "text": said.text}),
        ("content_part.done", {**at, "part": item["content"][0]}),
        ("output_item.done", {"output_index": 0, "item": item}),
        (done["status"], {"response": done}),
    ]
    typed = [({"type": f"response.{name}", "sequence_number": i, **v}) for i, (name, v) in enumerate(events)]
    return [event(value, value["type"]) for value in typed]


def _vector(text: str, dimensions: int) -> list[float]:
    """A unit vector of `dimensions` floats that depends on the text alone."""
    raw = [byte - 127.5 for byte in hashlib.shake_128(text.encode()).digest(dimensions)]
    norm = sum(x * x for x in raw) ** 0.5
    return [x / norm for x in raw]


def embeddings(body: Json) -> Json:
    given = body.get("input")
    inputs = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    vectors: list[Any] = [_vector(_text(text), body.get("dimensions") or 8) for text in inputs]
    if body.get("encoding_format") == "base64":
        vectors = [base64.b64encode(struct.pack(f"<{len(v)}f", *v)).decode() for v in vectors]
    words = max(1, len(_text(inputs).split()))
    data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
    usage = {"prompt_tokens": words, "total_tokens": words}
    return {"object": "list", "data": data, "model": body.get("model"), "usage": usage}
