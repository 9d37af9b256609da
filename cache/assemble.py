"""Assemblers: the plain answer that a provider would have given, put together from the events of its stream.

An assembler counts everything and assembles only what it understands: one unknown field and there is no body,
since leaving out a field that mattered would store a wrong answer. Fields known to be noise are listed by place.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import orjson

from cache.choices import Message, NotUnderstood, TextChoice, output_size, pieces_of, text_size
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

    def texts(self) -> Sequence[str]:
        """The texts of the output so far, each whole; fewer characters than `output_chars` where there were too
        many to keep."""

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


_ENVELOPE: Final = frozenset({"id", "object", "created", "model", "choices", "usage", "system_fingerprint"})
# Late or rare members which the plain answer has too; the last value that is not null stays.
_ALSO_PLAIN: Final = frozenset(
    {"service_tier", "provider", "citations", "search_results", "moderation", "prompt_filter_results"}
)
# obfuscation: OpenAI's padding. x_groq: id and usage again. timings: llama.cpp. The rest: serving details.
_NOISE: Final = frozenset(
    {"obfuscation", "x_groq", "timings", "sla_metrics", "prompt_token_ids", "prompt_text", "nvext"}
)


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
        self._loose: dict[tuple[Any, str], list[str]] = {}
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
            elif choices:
                self._note(choices)
        except (NotUnderstood, TypeError, AttributeError, KeyError, ValueError):
            self._stop_assembling(event)

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
            size = output_size(delta) if delta else text_size(choice.get("text"))
            if size:
                self.output_deltas += 1
                self.output_chars += size
            if choice.get("finish_reason"):
                self.finish_reason = str(choice["finish_reason"])
                self._running.discard(choice.get("index"))
            elif self._expected > 1:  # one choice ends with its finish reason, whatever comes behind it
                self._running.add(choice.get("index"))
        if self.output_chars > MAX_CHARACTERS:
            self._understood = False
            self._choices.clear()
            self._loose.clear()

    def _stop_assembling(self, event: Mapping[str, Any]) -> None:
        """From here on texts are kept as they come; those of the event that was not understood may be kept already."""
        if not self._understood:
            return
        self._understood = False
        self._loose = {(at, name): [text] for at, choice in self._choices.items() for name, text in choice.said()}
        self._choices.clear()
        if sum(map(len, self.texts())) < self.output_chars:
            with suppress(TypeError, AttributeError, KeyError, ValueError):
                self._note(event["choices"])

    def _note(self, choices: Any) -> None:
        if self.output_chars > MAX_CHARACTERS:
            return
        for choice in choices:
            for name, text in pieces_of(choice):
                self._loose.setdefault((choice.get("index"), name), []).append(text)

    def texts(self) -> Sequence[str]:
        """See the protocol."""
        if self._understood:
            return [text for choice in self._choices.values() for _, text in choice.said()]
        return ["".join(pieces) for pieces in self._loose.values()]

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


# --- Responses -----------------------------------------------------------------------------------

_INCOMPLETE: Final = {"max_output_tokens": "length", "content_filter": "content_filter"}


class ResponsesAssembler:
    """Responses: the last event holds the whole response, so only its coming is awaited."""

    def __init__(self) -> None:
        self.output_deltas = 0
        self.output_chars = 0
        self.finish_reason = ""
        self._pieces: dict[tuple[Any, ...], list[str]] = {}
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
            delta = event.get("delta")
            size = text_size(delta)
            self.output_deltas += size > 0
            self.output_chars += size
            if type(delta) is str:
                self._keep(kind, event, delta)
        elif kind in ("response.completed", "response.incomplete", "response.failed", "error"):
            self._end(kind, event.get("response"))

    def _keep(self, kind: str, event: Mapping[str, Any], delta: str) -> None:
        if self.output_chars > MAX_CHARACTERS:
            self._pieces.clear()
            return
        places = [event.get(name) for name in ("output_index", "content_index", "summary_index")]
        place = tuple(at for at in (kind, *places) if isinstance(at, str | int | None))
        self._pieces.setdefault(place, []).append(delta)

    def texts(self) -> Sequence[str]:
        """See the protocol."""
        return ["".join(pieces) for pieces in self._pieces.values()]

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
