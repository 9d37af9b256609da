"""Assemblers: the plain answer that a provider would have given, put together from the events of its stream.

An assembler counts everything and assembles only what it understands: one unknown field and there is no body,
since leaving out a field that mattered would store a wrong answer. Fields known to be noise are listed by place.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

import orjson

from farthing.call import Endpoint

MAX_CHARACTERS: Final = 4_000_000
"""A longer answer is counted but not assembled: bounds the memory of one stream."""

MAX_CHOICES: Final = 128
"""OpenAI's limit of n."""


class Assembler(Protocol):
    """Takes the parsed events of one stream in order."""

    output_deltas: int
    """Events so far that carried a piece of output: text, reasoning, refusal or arguments of a tool call."""
    output_chars: int
    """Characters so far in those pieces."""
    finish_reason: str
    """In the words of chat completions; empty until the provider gave one."""

    @property
    def finished(self) -> bool:
        """Every choice that began has got its finish reason."""

    def feed(self, event: Mapping[str, Any]) -> None:
        """Take one event; never raises, whatever it holds."""

    def body(self) -> bytes | None:
        """The JSON of the plain answer; None unless the stream came to its proper end and was all understood."""


def assembler(endpoint: Endpoint, *, choices: int = 1) -> Assembler:
    """A fresh assembler. `choices`: how many were asked for; fewer are no whole answer.

    Raises ValueError for embeddings, which do not stream.
    """
    if endpoint is Endpoint.CHAT:
        return ChoicesAssembler("chat.completion", Message, choices)
    if endpoint is Endpoint.COMPLETIONS:
        return ChoicesAssembler("text_completion", TextChoice, choices)
    if endpoint is Endpoint.RESPONSES:
        return ResponsesAssembler()
    raise ValueError(f"{endpoint} has no streams")


class NotUnderstood(Exception):
    """The stream holds something that cannot be put into a plain answer."""


# --- chat and text completions -------------------------------------------------------------------

_ENVELOPE: Final = frozenset({"id", "object", "created", "model", "choices", "usage", "system_fingerprint"})
# Late or rare members which the plain answer has too; the last value that is not null stays.
_ALSO_PLAIN: Final = frozenset(
    {"service_tier", "provider", "citations", "search_results", "moderation", "prompt_filter_results"}
)
# obfuscation: OpenAI's padding. x_groq: id and usage again. timings: llama.cpp. The rest: serving details.
_NOISE: Final = frozenset(
    {"obfuscation", "x_groq", "timings", "sla_metrics", "prompt_token_ids", "prompt_text", "nvext"}
)
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


class ChoicesAssembler:
    """Chat and text completions: chunks of choices under one envelope."""

    def __init__(self, kind: str, new_choice: type[Message] | type[TextChoice], expected: int) -> None:
        self.output_deltas = 0
        self.output_chars = 0
        self.finish_reason = ""
        self._kind = kind
        self._new_choice = new_choice
        self._expected = expected
        self._understood = True
        self._head: dict[str, Any] = {}
        self._late: dict[str, Any] = {}
        self._usage: Any = None
        self._choices: dict[int, Message | TextChoice] = {}
        self._running: set[Any] = set()

    @property
    def finished(self) -> bool:
        """See the protocol."""
        return bool(self.finish_reason) and not self._running

    def feed(self, event: Mapping[str, Any]) -> None:
        """Take one chunk."""
        try:
            choices = event.get("choices")
            if choices:
                self._count(choices)
            if self._understood:
                self._take(event, choices or ())
        except (NotUnderstood, TypeError, AttributeError, KeyError, ValueError):
            self._give_up()

    def _take(self, event: Mapping[str, Any], choices: Any) -> None:
        if not _ENVELOPE.issuperset(event):
            self._take_rare(event)
        if not self._head and event.get("id"):  # Azure's first chunk has neither id nor model
            self._head = {name: event.get(name) for name in ("id", "created", "model", "system_fingerprint")}
        usage = event.get("usage")
        if usage:
            self._usage = usage
        for choice in choices:
            index = choice["index"]
            merged = self._choices.get(index)
            if merged is None:
                if len(self._choices) >= MAX_CHOICES:
                    raise NotUnderstood("index")
                merged = self._choices[index] = self._new_choice()
            merged.take(choice)

    def _take_rare(self, event: Mapping[str, Any]) -> None:
        for name in event.keys() - _ENVELOPE - _NOISE:
            if name not in _ALSO_PLAIN:
                raise NotUnderstood(name)
            if event[name] is not None:
                self._late[name] = event[name]
        groq = event.get("x_groq")
        if isinstance(groq, dict):
            if groq.get("error"):
                raise NotUnderstood("error")
            self._usage = groq.get("usage") or self._usage

    def _count(self, choices: Any) -> None:
        for choice in choices:
            delta = choice.get("delta")
            size = _output_size(delta) if delta else _size(choice.get("text"))
            if size:
                self.output_deltas += 1
                self.output_chars += size
            if choice.get("finish_reason"):
                self.finish_reason = str(choice["finish_reason"])
                self._running.discard(choice.get("index"))
            elif self._expected > 1:  # one choice ends with its finish reason, whatever comes behind it
                self._running.add(choice.get("index"))
        if self.output_chars > MAX_CHARACTERS:
            self._give_up()

    def _give_up(self) -> None:
        self._understood = False
        self._choices.clear()

    def body(self) -> bytes | None:
        """The plain answer, or None."""
        ended = all(choice.finish_reason for choice in self._choices.values())
        whole = sorted(self._choices) == list(range(max(1, self._expected)))
        if not (self._understood and self._head and ended and whole):
            return None
        try:
            return orjson.dumps(self._plain())
        except (KeyError, TypeError):  # a tool call without id or name; half a surrogate pair
            return None

    def _plain(self) -> dict[str, Any]:
        head = self._head
        answer = {
            "id": head["id"],
            "object": self._kind,
            "created": head["created"],
            "model": head["model"],
            "choices": [self._choices[index].plain(index) for index in sorted(self._choices)],
        }
        if self._usage is not None:
            answer["usage"] = self._usage
        if head["system_fingerprint"] is not None:
            answer["system_fingerprint"] = head["system_fingerprint"]
        return {**answer, **self._late}


def _output_size(delta: Mapping[str, Any]) -> int:
    content = delta.get("content")
    size = len(content) if type(content) is str else _size(content)
    if len(delta) > 1 or not size:
        for name in ("reasoning_content", "reasoning", "refusal"):
            size += _size(delta.get(name))
        for call in delta.get("tool_calls") or ():
            function = call.get("function") or {}
            size += _size(function.get("name")) + _size(function.get("arguments"))
        size += _size((delta.get("function_call") or {}).get("arguments"))
    return size


def _size(value: Any) -> int:
    """Characters of a text, or of the texts in a list of parts (Mistral's thinking)."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(_size(part) for part in value)
    if isinstance(value, dict):
        return _size(value.get("text")) + _size(value.get("thinking"))
    return 0


# --- Responses -----------------------------------------------------------------------------------

_INCOMPLETE: Final = {"max_output_tokens": "length", "content_filter": "content_filter"}


class ResponsesAssembler:
    """Responses: the last event holds the whole response, so only its coming is awaited."""

    def __init__(self) -> None:
        self.output_deltas = 0
        self.output_chars = 0
        self.finish_reason = ""
        self._response: Mapping[str, Any] | None = None

    @property
    def finished(self) -> bool:
        """See the protocol."""
        return bool(self.finish_reason)

    def feed(self, event: Mapping[str, Any]) -> None:
        """Take one event."""
        kind = event.get("type") if isinstance(event, dict) else None
        if not isinstance(kind, str):
            return
        if kind.endswith(".delta"):
            size = _size(event.get("delta"))
            self.output_deltas += size > 0
            self.output_chars += size
        elif kind in ("response.completed", "response.incomplete", "response.failed", "error"):
            self._end(kind, event.get("response"))

    def _end(self, kind: str, response: Any) -> None:
        details = response if isinstance(response, dict) else {}
        if kind == "response.completed" and details:
            self.finish_reason, self._response = "stop", details
            return
        self._response = None
        why = details.get("incomplete_details")
        reason = why.get("reason") if isinstance(why, dict) else None
        incomplete = kind == "response.incomplete"
        self.finish_reason = _INCOMPLETE.get(str(reason), "length") if incomplete else "error"

    def body(self) -> bytes | None:
        """The response of `response.completed`, or None."""
        try:
            return None if self._response is None else orjson.dumps(self._response)
        except TypeError:  # half a surrogate pair
            return None
