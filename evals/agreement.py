"""Agreement: whether two answers to one call say the same, where that can be told without a model."""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

LABEL_WORDS: Final = 12
"""Up to so many words an answer is one statement; longer ones say the same in other words."""
_TEXT_MAX: Final = 100_000
_MARKS: Final = ".,;:!?\"'`*_()[]"
"""What may stand around a word of a label without making it another."""
_SHAPES: Final = (TypeError, AttributeError, KeyError, ValueError, RecursionError)


class Said(NamedTuple):
    """What a plain answer says: its text, and its tool calls as (name, arguments) in their order."""

    text: str
    calls: tuple[tuple[str, Any], ...]


def agreement(reference: Mapping[str, Any], answer: Mapping[str, Any]) -> float | None:
    """1 where both plain answers (chat, completions or Responses, parsed) say the same, else 0; None where the answer
    of the reference is free text, which only a judge can compare, or says nothing at all.

    Tool calls are the same where names and arguments are, in any order; JSON where the values are, in any layout; texts
    of up to 12 words where the words are, in any case and with any punctuation.
    """
    try:
        return _agreement(reference, answer)
    except RecursionError:
        return None  # nested deeper than anybody means to


def _agreement(reference: Mapping[str, Any], answer: Mapping[str, Any]) -> float | None:
    meant = said(reference)
    if meant is None:
        return None
    found = said(answer)
    if meant.calls:
        return float(found is not None and _sorted(found.calls) == _sorted(meant.calls))
    value = _json(meant.text)
    if isinstance(value, dict | list):
        return float(found is not None and not found.calls and _ordered(_json(found.text)) == _ordered(value))
    words = _words(meant.text)
    if len(words) > LABEL_WORDS:
        return None
    return float(found is not None and not found.calls and _words(found.text) == words)


def said(answer: Mapping[str, Any]) -> Said | None:
    """What the first choice of an answer says; None where it is not of the shape of any endpoint, or says nothing."""
    try:
        found = _of_response(answer) if "output" in answer else _of_choice(answer["choices"][0])
    except (*_SHAPES, IndexError):
        return None
    return found if found.calls or found.text.strip() else None


def _of_choice(choice: Mapping[str, Any]) -> Said:
    message = choice.get("message")
    if message is None:
        return Said(str(choice["text"]), ())
    calls = [call["function"] for call in message.get("tool_calls") or () if "function" in call]
    if message.get("function_call"):
        calls.append(message["function_call"])
    return Said(_joined(message.get("content")), tuple(map(_call, calls)))


def _of_response(answer: Mapping[str, Any]) -> Said:
    items = answer["output"]
    texts = [_joined(item["content"]) for item in items if item["type"] == "message"]
    return Said("".join(texts), tuple(_call(item) for item in items if item["type"] == "function_call"))


def _joined(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text") or "" for part in content)


def _call(function: Mapping[str, Any]) -> tuple[str, Any]:
    arguments = function.get("arguments") or ""
    value = _json(arguments)
    return str(function["name"]), arguments if value is None else value


def _sorted(calls: tuple[tuple[str, Any], ...]) -> list[tuple[str, str]]:
    return sorted((name, repr(_ordered(arguments))) for name, arguments in calls)


def _ordered(value: Any) -> Any:
    """The same value such that two are equal where they are the same JSON: members in one order, and no true that is
    also 1."""
    if isinstance(value, dict):
        return ("object", sorted((name, _ordered(member)) for name, member in value.items()))
    if isinstance(value, list):
        return ("array", [_ordered(member) for member in value])
    return ("truth", value) if isinstance(value, bool) else value


def _json(text: str) -> Any:
    """The value that the text is, without the fence that some models put around it; None for null and for no JSON."""
    inside = text[:_TEXT_MAX].strip()
    if inside.startswith("```") and inside.endswith("```"):
        inside = inside[3:-3].removeprefix("json")
    try:
        return json.loads(inside)
    except (ValueError, RecursionError):
        return None


def _words(text: str) -> list[str]:
    words = (word.strip(_MARKS) for word in text[:_TEXT_MAX].casefold().split())
    return [word for word in words if word]
