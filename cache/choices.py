"""Choices: one choice of a chat or text completion, put together from its pieces.

A field that is not known here raises NotUnderstood: leaving out one that mattered would store a wrong answer.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final


class NotUnderstood(Exception):
    """The stream holds something that cannot be put into a plain answer."""


_CHOICE: Final = frozenset({"index", "delta", "finish_reason", "logprobs"})
_TEXT_CHOICE: Final = frozenset({"index", "text", "finish_reason", "logprobs"})
_CHOICE_ALSO_PLAIN: Final = frozenset(
    {"native_finish_reason", "stop_reason", "seed", "content_filter_results", "matched_stop"}
)
# text: Together repeats the content there. token_ids: vLLM.
_CHOICE_NOISE: Final = frozenset({"text", "token_ids"})
_DELTA_TEXTS: Final = frozenset({"content", "refusal", "reasoning_content", "reasoning"})
# token_id: Together. channel: Groq's gpt-oss names the part of the model's own format.
_DELTA_NOISE: Final = frozenset({"token_id", "channel"})


class Message:
    """One choice of a chat: its deltas become a message."""

    __slots__ = ("_annotations", "_extra", "_function", "_logprobs", "_texts", "_tools", "finish_reason")

    def __init__(self) -> None:
        self.finish_reason = ""
        self._texts: dict[str, list[str] | None] = {}
        self._tools: dict[int, dict[str, Any]] = {}
        self._function: dict[str, Any] | None = None
        self._annotations: list[Any] = []
        self._logprobs: dict[str, list[Any]] | None = None
        self._extra: dict[str, Any] = {}

    def take(self, choice: Mapping[str, Any]) -> None:
        """Raises NotUnderstood, or TypeError, KeyError and the like for a wrong shape."""
        for name, value in choice.items():
            if name == "delta":
                if value:
                    self._delta(value)
            elif name == "finish_reason":
                self.finish_reason = value or self.finish_reason
            elif name == "logprobs":
                if value:
                    self._merge_logprobs(value)
            elif name in _CHOICE_ALSO_PLAIN:
                self._extra[name] = value or self._extra.get(name)
            elif name != "index" and name not in _CHOICE_NOISE:
                raise NotUnderstood(name)

    def _delta(self, delta: Mapping[str, Any]) -> None:
        texts = self._texts
        for name, value in delta.items():
            if name in _DELTA_TEXTS:
                if type(value) is str:
                    pieces = texts.get(name)
                    if pieces is None:
                        texts[name] = [value]
                    else:
                        pieces.append(value)
                elif value is None:
                    texts.setdefault(name, None)
                else:
                    raise NotUnderstood(name)
            elif value:
                self._rare(name, value)

    def _rare(self, name: str, value: Any) -> None:
        if name == "tool_calls":
            for call in value:
                self._tool_call(call)
        elif name == "function_call":
            self._function = self._function or {}
            _merge_function(self._function, value)
        elif name == "annotations":
            self._annotations.extend(value)
        elif name == "role":
            if value != "assistant":
                raise NotUnderstood(name)
        elif name not in _DELTA_NOISE:
            raise NotUnderstood(name)

    def _tool_call(self, call: Mapping[str, Any]) -> None:
        merged = self._tools.setdefault(call["index"], {})
        for name, value in call.items():
            if name in ("id", "type"):
                _set_once(merged, name, value)
            elif name == "function":
                _merge_function(merged.setdefault(name, {}), value)
            elif name != "index" and value is not None:
                raise NotUnderstood(name)

    def _merge_logprobs(self, logprobs: Mapping[str, Any]) -> None:
        if self._logprobs is None:
            self._logprobs = {}
        for name, tokens in logprobs.items():
            if name not in ("content", "refusal"):
                raise NotUnderstood(name)
            if tokens is None:
                self._logprobs.setdefault(name, [])
            else:
                self._logprobs.setdefault(name, []).extend(tokens)

    def plain(self, index: int) -> dict[str, Any]:
        """The choice as in a plain answer."""
        message: dict[str, Any] = {"role": "assistant", "content": self._text("content")}
        for name in ("refusal", "reasoning_content", "reasoning"):
            if name in self._texts:
                message[name] = self._text(name) or None
        if self._tools:
            message["tool_calls"] = [_whole_call(self._tools[at]) for at in sorted(self._tools)]
        if self._function is not None:
            message["function_call"] = self._function
        if (self._tools or self._function) and not message["content"]:
            message["content"] = None
        if self._annotations:
            message["annotations"] = self._annotations
        logprobs = None
        if self._logprobs is not None:
            logprobs = {name: tokens or None for name, tokens in self._logprobs.items()}
        choice = {"index": index, "message": message, "logprobs": logprobs, "finish_reason": self.finish_reason}
        return {**choice, **self._extra}

    def said(self) -> Iterator[tuple[str, str]]:
        """Each kind of text so far, by name."""
        for name, pieces in self._texts.items():
            if pieces:
                yield name, "".join(pieces)
        for at, call in self._tools.items():
            yield from _called(call.get("function"), f"tool {at} ")
        yield from _called(self._function, "")

    def _text(self, name: str) -> str | None:
        pieces = self._texts.get(name)
        return None if pieces is None else "".join(pieces)


def _set_once(merged: dict[str, Any], name: str, value: Any) -> None:
    """Some providers repeat it with every piece; two different values are two calls under one index."""
    if value and merged.setdefault(name, value) != value:
        raise NotUnderstood(name)


def _merge_function(merged: dict[str, Any], piece: Mapping[str, Any]) -> None:
    for name, value in piece.items():
        if name == "name":
            _set_once(merged, name, value)
        elif name == "arguments":
            merged[name] = merged.get(name, "") + (value or "")
        else:
            raise NotUnderstood(name)


def _called(function: Any, before: str) -> Iterator[tuple[str, str]]:
    for name in ("name", "arguments"):
        if function and function.get(name):
            yield before + name, function[name]


def _whole_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": call["function"]["name"], "arguments": call["function"].get("arguments", "")}
    return {"id": call["id"], "type": call.get("type", "function"), "function": function}


class TextChoice:
    """One choice of a text completion."""

    __slots__ = ("_extra", "_pieces", "finish_reason")

    def __init__(self) -> None:
        self.finish_reason = ""
        self._pieces: list[str] = []
        self._extra: dict[str, Any] = {}

    def take(self, choice: Mapping[str, Any]) -> None:
        """Raises NotUnderstood, or TypeError and the like for a wrong shape."""
        for name, value in choice.items():
            if name == "text":
                self._pieces.append(value)
            elif name == "finish_reason":
                self.finish_reason = value or self.finish_reason
            elif name in _CHOICE_ALSO_PLAIN:
                self._extra[name] = value or self._extra.get(name)
            elif name not in ("index", "token_ids") and value:
                # Log probabilities too: whether their text offsets restart in each event differs by provider.
                raise NotUnderstood(name)

    def said(self) -> Iterator[tuple[str, str]]:
        """The text so far, by name."""
        yield "text", "".join(self._pieces)

    def plain(self, index: int) -> dict[str, Any]:
        """The choice as in a plain answer."""
        text = "".join(self._pieces)
        return {
            "index": index,
            "text": text,
            "logprobs": None,
            "finish_reason": self.finish_reason,
            **self._extra,
        }


def pieces_of(choice: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The texts that `output_size` counts in one choice of an event, by name as `said` names them."""
    delta = choice.get("delta")
    if not delta:
        yield from _flat("text", choice.get("text"))
        return
    for name in ("content", "reasoning_content", "reasoning", "refusal"):
        yield from _flat(name, delta.get(name))
    for call in delta.get("tool_calls") or ():
        yield from _called(call.get("function"), f"tool {call.get('index')} ")
    yield from _called(delta.get("function_call"), "")


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """The texts of a text, or of a list of parts, under one name."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, list):
        for part in value:
            yield from _flat(name, part)
    elif isinstance(value, dict):
        yield from _flat(name, value.get("text"))
        yield from _flat(f"{name} thinking", value.get("thinking"))


def output_size(delta: Mapping[str, Any]) -> int:
    content = delta.get("content")
    size = len(content) if type(content) is str else text_size(content)
    if len(delta) > 1 or not size:
        for name in ("reasoning_content", "reasoning", "refusal"):
            size += text_size(delta.get(name))
        for call in delta.get("tool_calls") or ():
            function = call.get("function") or {}
            size += text_size(function.get("name")) + text_size(function.get("arguments"))
        size += text_size((delta.get("function_call") or {}).get("arguments"))
    return size


def text_size(value: Any) -> int:
    """Characters of a text, or of the texts in a list of parts (Mistral's thinking)."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(text_size(part) for part in value)
    if isinstance(value, dict):
        return text_size(value.get("text")) + text_size(value.get("thinking"))
    return 0
