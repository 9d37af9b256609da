"""Splits: which part of a divided traffic a call belongs to, the same for all calls of one conversation."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import orjson

from farthing.call import Call

_WHOLE: Final = 2**64


def place_of(call: Call, task: str) -> float:
    """Where the call stands between 0 and 1: by its tenant, its task and its conversation, for whoever adds to a
    conversation sees no other model in the midst of it. As a share grows, those who are in it stay in it."""
    text = "\0".join((call.tags.tenant, task, conversation_of(call)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) / _WHOLE


def conversation_of(call: Call) -> str:
    """The run that the call names, else what its first user said, else the call itself."""
    if call.tags.run:
        return f"run {call.tags.run}"
    said = _first_said(call.body)
    return f"said {said}" if said else f"call {call.id}"


def _first_said(body: Mapping[str, Any]) -> str:
    for name in ("messages", "input", "prompt"):
        turns = body.get(name)
        if isinstance(turns, str):
            return turns
        if isinstance(turns, list) and turns:
            user = next((turn for turn in turns if isinstance(turn, dict) and turn.get("role") == "user"), None)
            content = turns[0] if user is None else user.get("content")
            return content if isinstance(content, str) else orjson.dumps(content).decode()
    return ""
