"""Signals: what a request's body shows of the task it is for, each read when it is first asked for."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final

from farthing.call import Endpoint
from farthing.tasksigns import AS_USUAL, Reading, Turns
from router_policies.languages import language_of
from router_policies.patterns import head

MOST_TURNS: Final = 64
"""Messages, the last ones, that are searched for an image."""
_SYSTEM: Final = frozenset({"system", "developer"})
_USER: Final = frozenset({"user"})
_IMAGES: Final = frozenset({"image_url", "input_image"})


class Signals:
    """Of one body, which may hold anything; what is not as it should be counts as not there. Texts of several parts
    or messages are joined by line feeds."""

    def __init__(self, endpoint: Endpoint, body: Mapping[str, Any], reading: Reading = AS_USUAL) -> None:
        self._endpoint, self._body, self._reading = endpoint, body, reading

    @cached_property
    def system(self) -> str:
        """What system or developer say; of a Responses body `instructions`, where there are any."""
        if self._endpoint is Endpoint.RESPONSES and (instructions := _text(self._body.get("instructions"))):
            return instructions
        return self._said_by(_SYSTEM, self._reading.system)

    @cached_property
    def user(self) -> str:
        """What the user says; of a body with one plain text, that text."""
        plain = self._plain
        return self._said_by(_USER, self._reading.user) if plain is None else plain

    @cached_property
    def user_head(self) -> bytes:
        """The part of it that patterns search."""
        return head(self.user)

    @cached_property
    def tool_names(self) -> frozenset[str]:
        """Of the tools that may be called; of a tool without a name its type."""
        tools = [*_rows(self._body.get("tools")), *_rows(self._body.get("functions"))]
        return frozenset(name for tool in tools if (name := _tool_name(tool)))

    @property
    def has_tools(self) -> bool:
        """Whether there are any."""
        return bool(_rows(self._body.get("tools")) or _rows(self._body.get("functions")))

    @cached_property
    def schema(self) -> str | None:
        """The name of the JSON schema that the answer must fit, empty where it has none; None: no schema is asked."""
        if self._endpoint is Endpoint.RESPONSES:
            wanted = inner = _table(_table(self._body.get("text")).get("format"))
        else:
            wanted = _table(self._body.get("response_format"))
            inner = _table(wanted.get("json_schema"))
        return _text(inner.get("name")) if wanted.get("type") == "json_schema" else None

    @cached_property
    def has_image(self) -> bool:
        """Whether one of the last messages holds an image."""
        return any(
            _table(part).get("type") in _IMAGES
            for turn in self._turns[-MOST_TURNS:]
            for part in (turn, *_rows(_table(turn).get("content")))
            if type(_table(part).get("type")) is str
        )

    @cached_property
    def language(self) -> str:
        """Of the user's text, empty where it cannot be told."""
        return language_of(self.user)

    @property
    def text(self) -> str:
        """All that is said, as the classifier reads it."""
        return f"{self.system}\n{self.user}" if self.system else self.user

    @cached_property
    def _turns(self) -> list[Any]:
        return _rows(self._body.get("input" if self._endpoint is Endpoint.RESPONSES else "messages"))

    @property
    def _plain(self) -> str | None:
        name = {Endpoint.RESPONSES: "input", Endpoint.COMPLETIONS: "prompt"}.get(self._endpoint)
        value = self._body.get(name) if name else None
        return value if type(value) is str else None

    def _said_by(self, roles: frozenset[str], turns: Turns) -> str:
        if turns is Turns.ALL:
            return "\n".join(self._texts(self._turns, roles))
        order = reversed(self._turns) if turns is Turns.LAST else iter(self._turns)
        return next(self._texts(order, roles), "")

    def _texts(self, turns: Any, roles: frozenset[str]) -> Iterator[str]:
        for turn in turns:
            if type(turn) is dict and type(role := turn.get("role")) is str and role in roles:
                yield _content(turn.get("content"))


def _content(content: Any) -> str:
    if type(content) is str:
        return content
    return "\n".join(text for part in _rows(content) if (text := _text(_table(part).get("text"))))


def _tool_name(tool: Any) -> str:
    row = _table(tool)
    kind = _text(row.get("type"))
    named = _text(row.get("name")) or _text(_table(row.get(kind or "function")).get("name"))
    return named or kind


def _text(value: Any) -> str:
    return value if type(value) is str else ""


def _table(value: Any) -> Mapping[str, Any]:
    return value if type(value) is dict else {}


def _rows(value: Any) -> list[Any]:
    return value if type(value) is list else []
