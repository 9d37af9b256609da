"""Answer texts: what a stored answer says, for those who compare answers."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from farthing.answer import StoredAnswer
from farthing.call import Endpoint

_SAID: Final = "output_text"


def answer_text(endpoint: Endpoint, answer: StoredAnswer) -> str | None:
    """The text of a plain answer; None where it is anything else."""
    try:
        body = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None
    if type(body) is not dict:
        return None
    text = _of_chat(body) if endpoint is Endpoint.CHAT else _of_response(body)
    return text if type(text) is str and text.strip() else None


def _of_chat(body: Mapping[str, Any]) -> Any:
    choices = body.get("choices")
    if type(choices) is not list or len(choices) != 1 or type(choices[0]) is not dict:
        return None
    message = choices[0].get("message")
    return message.get("content") if type(message) is dict else None


def _of_response(body: Mapping[str, Any]) -> str:
    items = body.get("output")
    texts = [
        part["text"]
        for item in (items if type(items) is list else ())
        if type(item) is dict and item.get("type") == "message" and type(item.get("content")) is list
        for part in item["content"]
        if type(part) is dict and part.get("type") == _SAID and type(part.get("text")) is str
    ]
    return "\n".join(texts)
