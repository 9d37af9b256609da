"""Reading: the few facts that the books need from a provider's plain answer."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson


def parse_answer(raw: bytes) -> dict[str, Any] | None:
    """The JSON object of an answer, or None for anything else."""
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return parsed if type(parsed) is dict else None


def finish_reason_of(answer: Mapping[str, Any]) -> str:
    """Why the (first) choice ended; for a Responses answer its status."""
    choices = answer.get("choices")
    if type(choices) is list and choices and type(choices[0]) is dict:
        reason = choices[0].get("finish_reason")
        return reason if type(reason) is str else ""
    status = answer.get("status")
    return status if type(status) is str else ""


def output_texts(answer: Mapping[str, Any]) -> Iterator[str]:
    """Every text of every choice: chat messages, completion texts and Responses output, whichever there are."""
    pending: list[Any] = [answer.get("choices"), answer.get("output")]
    while pending:
        node = pending.pop()
        if type(node) is str:
            yield node
        elif type(node) is list:
            pending += node
        elif type(node) is dict:
            pending += [node.get(name) for name in _TEXT_FIELDS]


_TEXT_FIELDS: Final = (
    "message",
    "content",
    "text",
    "refusal",
    "reasoning_content",
    "reasoning",
    "thinking",
    "tool_calls",
    "function",
    "name",
    "arguments",
    "function_call",
    "summary",
)
