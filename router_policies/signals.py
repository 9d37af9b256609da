"""Signals: what a request's body shows of the task it is for, each read when it is first asked for."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar, overload

from farthing.call import Endpoint
from farthing.tasksigns import AS_USUAL, Reading, Turns
from router_policies.languages import language_of
from router_policies.patterns import head

SIDE_CHARS: Final = 2_000
"""Of either side that a classifier reads."""
MOST_TURNS: Final = 64
"""Messages, the last ones, that are searched for an image."""
_SYSTEM: Final = frozenset({"system", "developer"})
_USER: Final = frozenset({"user"})
_IMAGES: Final = frozenset({"image_url", "input_image"})


T = TypeVar("T")


class once(Generic[T]):  # noqa: N801 - it is used as a decorator
    """A property that is read once. functools.cached_property takes a lock for that before Python 3.12, which costs as
    much as most of what is read here."""

    def __init__(self, read: "Callable[[Signals], T]") -> None:
        self._read, self._name = read, read.__name__
        self.__doc__ = read.__doc__

    @overload
    def __get__(self, seen: None, owner: type) -> "once[T]": ...

    @overload
    def __get__(self, seen: "Signals", owner: type) -> T: ...

    def __get__(self, seen: "Signals | None", owner: type) -> "T | once[T]":
        if seen is None:
            return self
        value = seen.__dict__[self._name] = self._read(seen)
        return value


class Signals:
    """Of one body, which may hold anything; what is not as it should be counts as not there. Texts of several parts
    or messages are joined by line feeds."""

    def __init__(self, endpoint: Endpoint, body: Mapping[str, Any], reading: Reading = AS_USUAL) -> None:
        self._endpoint, self._body, self._reading = endpoint, body, reading

    @once
    def system(self) -> str:
        """What system or developer say; of a Responses body `instructions`, where there are any."""
        if self._endpoint is Endpoint.RESPONSES and (instructions := _text(self._body.get("instructions"))):
            return instructions
        return self._said_by(_SYSTEM, self._reading.system)

    @once
    def user(self) -> str:
        """What the user says; of a body with one plain text, that text."""
        plain = self._plain
        return self._said_by(_USER, self._reading.user) if plain is None else plain

    @once
    def user_head(self) -> bytes:
        """The part of it that patterns search."""
        return head(self.user)

    @once
    def tool_names(self) -> frozenset[str]:
        """Of the tools that may be called; of a tool without a name its type."""
        tools = [*_rows(self._body.get("tools")), *_rows(self._body.get("functions"))]
        return frozenset(name for tool in tools if (name := _tool_name(tool)))

    @property
    def has_tools(self) -> bool:
        """Whether there are any."""
        return bool(_rows(self._body.get("tools")) or _rows(self._body.get("functions")))

    @once
    def schema(self) -> str | None:
        """The name of the JSON schema that the answer must fit, empty where it has none; None: no schema is asked."""
        responses = self._endpoint is Endpoint.RESPONSES
        wanted = self._body.get("text" if responses else "response_format")
        if type(wanted) is dict and responses:
            wanted = wanted.get("format")
        if type(wanted) is not dict or wanted.get("type") != "json_schema":
            return None
        return _text((wanted if responses else _table(wanted.get("json_schema"))).get("name"))

    @once
    def has_image(self) -> bool:
        """Whether one of the last messages holds an image."""
        for turn in self._turns[-MOST_TURNS:]:
            if type(turn) is dict:
                content = turn.get("content")
                if _is_image(turn) or (type(content) is list and any(map(_is_image, content))):
                    return True
        return False

    @once
    def language(self) -> str:
        """Of the user's text, empty where it cannot be told."""
        return language_of(self.user)

    @property
    def text(self) -> str:
        """What the classifier reads: the beginnings of both, so that a long prompt does not hide what the user says."""
        system, user = self.system[:SIDE_CHARS], self.user[:SIDE_CHARS]
        return f"{system}\n{user}" if system else user

    @once
    def _turns(self) -> list[Any]:
        return _rows(self._body.get("input" if self._endpoint is Endpoint.RESPONSES else "messages"))

    @property
    def _plain(self) -> str | None:
        """The text of a body that has but one."""
        if self._endpoint is Endpoint.CHAT:
            return None
        value = self._body.get("input" if self._endpoint is Endpoint.RESPONSES else "prompt")
        return value if type(value) is str else None

    def _said_by(self, roles: frozenset[str], turns: Turns) -> str:
        if turns is Turns.ALL:
            return "\n".join([_content(turn.get("content")) for turn in self._turns if _is_by(turn, roles)])
        for turn in reversed(self._turns) if turns is Turns.LAST else self._turns:
            if _is_by(turn, roles):
                return _content(turn.get("content"))
        return ""


def _is_by(turn: Any, roles: frozenset[str]) -> bool:
    return type(turn) is dict and type(role := turn.get("role")) is str and role in roles


def _is_image(part: Any) -> bool:
    return type(part) is dict and type(kind := part.get("type")) is str and kind in _IMAGES


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
