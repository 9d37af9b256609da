"""Checks: what can be seen of an answer without a model: it was cut, refused, is empty, or not in the form asked."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from farthing.catalog import AnswerCheck
from router_policies.patterns import head, searcher
from router_policies.schemas import fits

FAULTS: Final = ("shape", "length", "filter", "refusal", "empty", "json", "schema", "regex", "short", "long")
"""Every name that `fault_of` gives; so few that they may be labels."""
JSON_MAX: Final = 1_000_000
"""Characters of a text that is parsed; a longer one is taken for JSON."""
_OPENING: Final = 200
"""Characters from the beginning in which a refusal stands: further on the words may be part of an answer."""
_REFUSAL: Final = re.compile(
    r"\b(?:i(?:'m| am)? (?:(?:really |very |so )?sorry|apologi[sz]e)\b.{0,40}\b(?:can't|cannot|can not|unable|won't)"
    r"|i(?:'m| am) (?:not able|unable) to (?:help|assist|answer|provide|comply|fulfil|do)"
    r"|i (?:can't|cannot|can not|won't|will not) (?:help|assist|answer|provide|comply|fulfil|do)\b"
    r"|as an ai(?: language)? model,? i (?:can't|cannot|am unable|am not able))",
    re.IGNORECASE | re.DOTALL,
)
_FINISHES: Final = {"length": "length", "max_output_tokens": "length", "content_filter": "filter"}
_Text = tuple[str, bool]
"""A text of the answer, and whether it is that of a tool call, which only has to be JSON."""


class _Faulty(Exception):
    """A fault by its name."""


def fault_of(check: AnswerCheck, body: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    """The first fault of a plain answer (chat, completions or Responses, parsed) to the request `body`, one of FAULTS;
    empty where there is none. Every choice has to be free of faults."""
    schema = asked_schema(body)
    try:
        texts = list(_texts(answer))
        if not texts:
            return "empty"
        return next((fault for text in texts if (fault := _text_fault(check, schema, *text))), "")
    except _Faulty as found:
        return str(found)
    except (TypeError, AttributeError, KeyError, RecursionError):
        return "shape"


def asked_schema(body: Mapping[str, Any]) -> Any:
    """What the request says of the form: a JSON schema, True for any JSON, None where it says nothing."""
    asked = body.get("response_format") or _member(body.get("text"), "format")
    kind = _member(asked, "type")
    if kind == "json_object":
        return True
    if kind != "json_schema":
        return None
    schema = _member(_member(asked, "json_schema") or asked, "schema")
    return True if schema is None else schema


def _member(value: Any, name: str) -> Any:
    """That of a JSON object, None of anything else."""
    return value.get(name) if isinstance(value, Mapping) else None


def _texts(answer: Mapping[str, Any]) -> Iterator[_Text]:
    """Every text that the caller gets. Raises _Faulty for an answer that ended otherwise than it should."""
    if answer.get("error"):
        raise _Faulty("shape")
    if (output := answer.get("output")) is not None:
        yield from _response_texts(answer, output)
        return
    for choice in answer["choices"]:
        if fault := _FINISHES.get(choice.get("finish_reason") or ""):
            raise _Faulty(fault)
        yield from _choice_texts(choice)


def _choice_texts(choice: Mapping[str, Any]) -> Iterator[_Text]:
    message = choice.get("message")
    if message is None:
        yield choice["text"], False
        return
    if message.get("refusal"):
        raise _Faulty("refusal")
    calls = message.get("tool_calls") or ()
    yield from ((call["function"]["arguments"], True) for call in calls if "function" in call)
    if message.get("function_call"):
        yield message["function_call"]["arguments"], True
    elif not calls:
        yield _joined(message.get("content")), False


def _response_texts(answer: Mapping[str, Any], output: list[Mapping[str, Any]]) -> Iterator[_Text]:
    if answer.get("status") != "completed":
        reason = (answer.get("incomplete_details") or {}).get("reason") or ""
        raise _Faulty(_FINISHES.get(reason, "shape"))
    for item in output:
        if item["type"] == "function_call":
            yield item["arguments"], True
        elif item["type"] == "message":
            if any(part["type"] == "refusal" for part in item["content"]):
                raise _Faulty("refusal")
            yield _joined(item["content"]), False


def _joined(content: Any) -> str:
    """The text of a message, which comes as one or in parts."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text") or "" for part in content)


def _text_fault(check: AnswerCheck, schema: Any, text: str, is_call: bool) -> str:
    text = text.strip()
    if is_call:
        return "" if not text or len(text) > JSON_MAX or _is_json(text) else "json"
    if not text:
        return "empty"
    if check.refusal and refuses(text):
        return "refusal"
    if (check.json or schema is not None) and (fault := _json_fault(text, schema)):
        return fault
    return _form_fault(check, text)


def _form_fault(check: AnswerCheck, text: str) -> str:
    if check.regex and not _searcher(check.regex)(head(text)):
        return "regex"
    if len(text) < check.min_chars:
        return "short"
    return "long" if check.max_chars is not None and len(text) > check.max_chars else ""


def refuses(text: str) -> bool:
    """True where a text opens as refusals in English do."""
    return _REFUSAL.search(text[:_OPENING].replace("\u2019", "'")) is not None


@lru_cache(maxsize=256)
def _searcher(regex: str) -> Callable[[bytes], bool]:
    return searcher(regex)


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _json_fault(text: str, schema: Any) -> str:
    if len(text) > JSON_MAX:
        return ""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return "json"
    return "schema" if isinstance(schema, Mapping) and not fits(schema, value) else ""
