"""Storable: whether a complete answer is worth keeping, and for which of the caches."""

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, Final

from farthing.call import Endpoint


class Storable(IntEnum):
    """For whom an answer may be kept; ordered, so that the minimum over the parts is that of the whole."""

    NO = 0
    EXACT = 1
    """For the very same request only: tool calls, several choices, embeddings."""
    SEMANTIC = 2


def storable(endpoint: Endpoint, body: Mapping[str, Any]) -> Storable:
    """What may be done with the parsed plain answer: nothing if it is an error, refused, filtered, cut or empty."""
    try:
        return Storable.NO if body.get("error") else _RULES[endpoint](body)
    except (TypeError, AttributeError, KeyError, RecursionError):
        return Storable.NO  # not the shape of the endpoint


def _chat(body: Mapping[str, Any]) -> Storable:
    return _choices(body, _chat_choice)


def _completion(body: Mapping[str, Any]) -> Storable:
    return _choices(body, _text_choice)


def _choices(body: Mapping[str, Any], grade: Callable[[Mapping[str, Any]], Storable]) -> Storable:
    choices = body["choices"]
    if not isinstance(choices, list) or not choices or _filtered(body):
        return Storable.NO
    grades = [grade(choice) for choice in choices]
    return min(grades) if len(grades) == 1 else min(Storable.EXACT, *grades)


def _chat_choice(choice: Mapping[str, Any]) -> Storable:
    message = choice["message"]
    if message.get("refusal") or message.get("audio") or _filtered(choice):
        return Storable.NO
    if message.get("tool_calls") or message.get("function_call"):
        return Storable.EXACT if choice["finish_reason"] in _CALLED else Storable.NO
    return _text(message["content"], choice)


def _text_choice(choice: Mapping[str, Any]) -> Storable:
    return Storable.NO if _filtered(choice) else _text(choice["text"], choice)


def _text(text: Any, choice: Mapping[str, Any]) -> Storable:
    if choice["finish_reason"] != "stop" or not isinstance(text, str) or not text.strip():
        return Storable.NO
    return Storable.EXACT if choice.get("logprobs") else Storable.SEMANTIC


# Some providers end tool calls with `stop`.
_CALLED: Final = frozenset({"tool_calls", "function_call", "stop"})


def _filtered(holder: Mapping[str, Any]) -> bool:
    """A filter of the provider acted or raised a flag: Azure's results, OpenAI's moderation."""
    results = holder.get("content_filter_results")
    prompts = holder.get("prompt_filter_results") or ()
    found = [results, *(prompt.get("content_filter_results") for prompt in prompts), holder.get("moderation")]
    return any(_flagged(value) for value in found)


def _flagged(value: Any) -> bool:
    if isinstance(value, dict):
        return any(
            (name in ("filtered", "flagged") and member is not False) or _flagged(member)
            for name, member in value.items()
        )
    return isinstance(value, list) and any(_flagged(member) for member in value)


def _embeddings(body: Mapping[str, Any]) -> Storable:
    data = body["data"]
    whole = isinstance(data, list) and data and all(item["embedding"] for item in data)
    return Storable.EXACT if whole else Storable.NO


# --- Responses -----------------------------------------------------------------------------------


def _response(body: Mapping[str, Any]) -> Storable:
    if body["status"] != "completed" or body.get("incomplete_details") or _filtered(body):
        return Storable.NO
    if body.get("conversation") or body.get("background"):
        return Storable.NO  # the answer lives on at the provider: the next turn must find it there
    grades = [_item(item) for item in body["output"]]
    texts = any(item["type"] != "reasoning" for item in body["output"])
    return min(grades) if texts else Storable.NO


def _item(item: Mapping[str, Any]) -> Storable:
    if item.get("status") not in (None, "completed"):
        return Storable.NO
    match item["type"]:
        case "message":
            return min(_part(part) for part in item["content"]) if item["content"] else Storable.NO
        case "function_call":
            return Storable.EXACT
        case "reasoning":
            return Storable.SEMANTIC
    return Storable.NO  # a tool of the provider ran: its findings are of that moment


def _part(part: Mapping[str, Any]) -> Storable:
    if part["type"] != "output_text" or not isinstance(part["text"], str) or not part["text"].strip():
        return Storable.NO
    return Storable.EXACT if part.get("logprobs") else Storable.SEMANTIC


_RULES: Final[Mapping[Endpoint, Callable[[Mapping[str, Any]], Storable]]] = {
    Endpoint.CHAT: _chat,
    Endpoint.COMPLETIONS: _completion,
    Endpoint.EMBEDDINGS: _embeddings,
    Endpoint.RESPONSES: _response,
}
