"""The last user turn of a call: the text that the semantic cache matches, apart from what must be equal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from farthing.call import Endpoint

_TEXT_PARTS: Final = {Endpoint.CHAT: "text", Endpoint.RESPONSES: "input_text"}
_TURNS: Final = {Endpoint.CHAT: "messages", Endpoint.RESPONSES: "input"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The matched `text`, the `rest` of the body without it, and the turns `before` it in order."""

    text: str
    rest: Mapping[str, Any]
    before: Sequence[Mapping[str, Any]]


def last_turn(endpoint: Endpoint, body: Mapping[str, Any]) -> Turn | None:
    """The last turn, if it is a user's and is plain text; None otherwise."""
    field = _TURNS.get(endpoint)
    if field is None:
        return None
    turns = body.get(field)
    if isinstance(turns, str):
        return Turn(text=turns, rest={**body, field: [{"role": "user"}]}, before=())
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        return None
    last = turns[-1]
    text = text_of(last.get("content"), _TEXT_PARTS[endpoint])
    if last.get("role") != "user" or text is None:
        return None
    without = {name: value for name, value in last.items() if name != "content"}
    without.pop("type", None)  # Responses: a message is a message with or without saying so
    return Turn(text=text, rest={**body, field: [*turns[:-1], without]}, before=turns[:-1])


def text_of(content: Any, part_type: str) -> str | None:
    """The text of a message's content, given whole or in parts; None if any of it is not plain text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.keys() != {"type", "text"} or part["type"] != part_type:
            return None
        if not isinstance(part["text"], str):
            return None
        texts.append(part["text"])
    return "\n".join(texts) if texts else None
