"""Prefixes: the beginnings of a prompt that a provider may keep, and the marks that tell it to.

Two may come again: the head (tools, system prompt and what else stands before the first turn), in every call of a
feature; and all turns so far, in the next call of the same conversation.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from farthing.call import Call, Endpoint

DIGEST_BYTES: Final = 16
_MARK: Final[Mapping[str, str]] = {"type": "ephemeral"}
"""Anthropic's for five minutes, which each read begins anew; the others took it over."""
_LOOK_BACK: Final = 20
"""A provider looks for what it keeps so many blocks before a mark."""
_BYTES_PER_TOKEN: Final = 4
"""The usual length of an English token; only decides whether a prefix is long enough to be kept."""
_BEGINNING: Final = 4096
"""Characters of a first turn by which a conversation is known."""
_LEADING: Final = ("system", "developer")
_IN_HEAD: Final = (
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "thinking",
    "reasoning_effort",
)
"""What a change of makes a provider forget the rest (Anthropic's documentation), or is rendered before it."""
_OWN_WORDS: Final = ("cache_control", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention")
_OWN_MARKS: Final = ("cache_control", "prompt_cache_breakpoint")


@dataclass(frozen=True, slots=True)
class Prefix:
    """The beginning of a prompt: a keyed hash of it, and about how many tokens it has. `earlier` are the hashes of
    shorter ones from which a provider would go on."""

    digest: bytes
    tokens: int
    earlier: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What of a call may come again."""

    head: Prefix
    turns: Prefix


def is_arranged(call: Call) -> bool:
    """True where the client itself says something about prompt caches; then nothing is added."""
    if any(call.body.get(name) is not None for name in _OWN_WORDS):
        return True
    tools = call.body.get("tools")
    return any(map(_has_mark, [*(_turns_of(call) or ()), *(tools if type(tools) is list else ())]))


def _has_mark(node: Any) -> bool:
    """True where a turn or a tool, or one of its parts, has a mark."""
    if type(node) is not dict:
        return False
    parts = [node.get("function"), *(content if type(content := node.get("content")) is list else ())]
    return any(mark in one for one in (node, *parts) if type(one) is dict for mark in _OWN_MARKS)


def prefixes_of(secret: bytes, call: Call, place: str) -> Prefixes | None:
    """The prefixes of a chat or Responses call at `place` (what keeps them: a model of a provider); None for others.

    Tenant, feature and place are hashed first, so no two share a prefix.
    """
    turns = _turns_of(call)
    if turns is None:
        return None
    leading = _leading(turns)
    body = call.body
    before = [body.get("instructions"), *(body[name] for name in _IN_HEAD if body.get(name) is not None)]
    running = hashlib.blake2b(key=hashlib.blake2b(secret).digest(), digest_size=DIGEST_BYTES)
    for field in (call.tags.tenant, call.tags.feature, place):
        running.update(len(field).to_bytes(8, "big") + field.encode("utf-8", "surrogatepass"))
    size = _take(running, [before, *turns[:leading]])
    head = Prefix(running.digest(), size // _BYTES_PER_TOKEN)
    digests = []
    for turn in turns[leading:]:
        size += _take(running, [turn])
        digests.append(running.digest())
    if not digests:
        return Prefixes(head, head)
    return Prefixes(head, Prefix(digests[-1], size // _BYTES_PER_TOKEN, tuple(digests[-_LOOK_BACK - 1 : -1])))


def affinity_of(call: Call, least_tokens: int) -> int | None:
    """A 64-bit hash that calls of a tenant and feature share whose prompts begin alike: with the same head where that
    has `least_tokens` or more, else with the same first turn after it, by which a conversation is known. None for calls
    without turns. It says nothing of who may see what: no answer hangs on it."""
    turns = _turns_of(call)
    if turns is None:
        return None
    leading = _leading(turns)
    body = call.body
    before = [body.get("instructions"), *(body[name] for name in _IN_HEAD if body.get(name) is not None)]
    running = hashlib.blake2b(f"{call.tags.tenant}\0{call.tags.feature}\0".encode(), digest_size=8)
    size = _take(running, [before, *turns[:leading]])
    if size // _BYTES_PER_TOKEN < least_tokens and leading < len(turns):
        running.update(_beginning(turns[leading]).encode())
    return int.from_bytes(running.digest())


def _beginning(turn: Any) -> str:
    """The first words of a turn: enough to tell it from others, and no more than can be hashed at once."""
    content = turn.get("content") if type(turn) is dict else turn
    if type(content) is list:
        texts = [part["text"] for part in content if type(part) is dict and type(part.get("text")) is str]
        content = texts[0] if texts else ""
    return content[:_BEGINNING] if type(content) is str else ""


def _take(running: "hashlib.blake2b", values: Sequence[Any]) -> int:
    size = 0
    for value in values:
        text = orjson.dumps(value)
        running.update(len(text).to_bytes(8, "big") + text)
        size += len(text)
    return size


def _turns_of(call: Call) -> Sequence[Any] | None:
    if call.endpoint is Endpoint.CHAT:
        given = call.body.get("messages")
    elif call.endpoint is Endpoint.RESPONSES:
        given = call.body.get("input")
    else:
        return None
    return given if type(given) is list else [given]


def _leading(turns: Sequence[Any]) -> int:
    """How many turns stand before the first of user or model."""
    for number, turn in enumerate(turns):
        if type(turn) is not dict or turn.get("role") not in _LEADING:
            return number
    return len(turns)


# --- marks ---------------------------------------------------------------------------------------


def marked(call: Call, *, head: bool, turns: bool, whole_messages: bool) -> dict[str, Any]:
    """The members of a chat body with marks at the end of the head and of the turns, where these can carry one; order
    and text stay. `whole_messages`: the wire takes marks on answers of tools as a whole."""
    messages = list(call.body["messages"])
    changes: dict[str, Any] = {}
    leading = _leading(messages)
    if head and leading:
        head = not _mark(messages, leading - 1, whole_messages=False)
    tools = call.body.get("tools")
    if head and type(tools) is list and tools and type(tools[-1]) is dict:
        changes["tools"] = [*tools[:-1], {**tools[-1], "cache_control": _MARK}]
    if turns and leading < len(messages):
        _mark(messages, len(messages) - 1, whole_messages=whole_messages)
    if messages != call.body["messages"]:
        changes["messages"] = messages
    return changes


def _mark(messages: list[Any], at: int, *, whole_messages: bool) -> bool:
    """Mark the end of one message; False where its end is nothing that can carry a mark."""
    message = messages[at]
    content = message.get("content")
    if message.get("role") == "tool":
        if whole_messages:
            messages[at] = {**message, "cache_control": _MARK}
        return whole_messages
    if type(content) is str:
        content = [{"type": "text", "text": content}]
    if message.get("role") == "assistant" or type(content) is not list or not content or not _can_carry(content[-1]):
        return False
    messages[at] = {**message, "content": [*content[:-1], {**content[-1], "cache_control": _MARK}]}
    return True


def _can_carry(part: Any) -> bool:
    """Empty texts are refused with a mark."""
    if type(part) is not dict or part.get("type") != "text":
        return False
    text = part.get("text")
    return type(text) is str and bool(text.strip())
