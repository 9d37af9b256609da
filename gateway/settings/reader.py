"""Reader: YAML text to nodes that know their line and column, without anchors, tags or guesses of YAML 1.1."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import yaml

from gateway.settings.findings import Findings, Path, Place, quoted

MAX_FILE_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 24
MAX_NODES: Final = 50_000
# A longer number is no setting, and turning thousands of digits into an integer takes quadratic time.
MAX_NUMBER_CHARACTERS: Final = 40

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DIRECTIVE: Final = re.compile(r"^%", re.MULTILINE)
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_FALSE: Final = frozenset({"false", "False", "FALSE"})
# Spelled so by YAML 1.1 (yaml.org/type/bool.html): some readers take them for true and false, others for text.
_SOMETIMES_BOOLEAN: Final = frozenset({"yes", "no", "on", "off", "y", "n"})
_WHOLE: Final = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_FRACTION: Final = re.compile(r"[-+]?(?:[0-9][0-9_]*)?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]{1,2})?|[-+]?[0-9][0-9_]*\.")
_BASE_60: Final = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_OTHER_BASE: Final = re.compile(r"[-+]?0[0-9_]+|[-+]?0[xob][0-9a-fA-F_]+")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF|nan|NaN|NAN)")


class Unknown:
    """Stands for a value about which a finding has been made already, so that nobody complains twice."""


UNKNOWN: Final = Unknown()


@dataclass(frozen=True, slots=True)
class Scalar:
    """A leaf; `text` is what the file says, `value` what it means (str, int, Decimal, bool, None or UNKNOWN)."""

    place: Place
    text: str
    value: Any


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    place: Place
    items: list["Node"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping; keys are text as written, with their own places."""

    place: Place
    entries: dict[str, "Node"] = field(default_factory=dict)
    keys: dict[str, Place] = field(default_factory=dict)


Node = Scalar | Sequence | Mapping


class Unreadable(Exception):
    """The rest of the file cannot be used; the finding has been made."""


def compose(file: str, data: bytes, findings: Findings) -> Mapping:
    """The mapping a file holds (empty for an empty file). Raises Unreadable after making a finding."""
    text = _decode(file, data, findings)
    return _Composer(file, text, findings).document()


def _decode(file: str, data: bytes, findings: Findings) -> str:
    def refuse(index: int, text: str, problem: str) -> Unreadable:
        line = text.count("\n", 0, index) + 1
        findings.add(Place(file, line, index - text.rfind("\n", 0, index)), (), problem)
        return Unreadable()

    if len(data) > MAX_FILE_BYTES:
        findings.add(Place(file), (), "the file is larger than 1 MiB; a configuration file may not be")
        raise Unreadable
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        raise refuse(len(before), before, "the file is not UTF-8 text; save it as UTF-8") from None
    if odd := _UNPRINTABLE.search(text):
        raise refuse(odd.start(), text, "a control character is not allowed here; delete it")
    if directive := _DIRECTIVE.search(text):
        raise refuse(directive.start(), text, "YAML directives (%) are not allowed; delete this line")
    return text


class _Composer:
    """Turns the parser's events into nodes; recursion ends at MAX_DEPTH."""

    def __init__(self, file: str, text: str, findings: Findings) -> None:
        self._file, self._findings = file, findings
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=_LOADER))
        self._nodes = 0

    def document(self) -> Mapping:
        """The one document of the file."""
        try:
            self._next()  # the start of the stream
            if isinstance(self._next(), yaml.StreamEndEvent):
                return Mapping(Place(self._file, 1, 1))
            node = self._node(self._next(), ())
            self._next()  # the end of the document
            following = self._next()
        except yaml.YAMLError as error:
            raise self._syntax(error) from None
        if not isinstance(following, yaml.StreamEndEvent):
            raise self._refuse(self._place(following), (), "a file holds one document; remove the line ---")
        if isinstance(node, Scalar) and node.value is None:
            return Mapping(node.place)
        if not isinstance(node, Mapping):
            raise self._refuse(node.place, (), "a file holds named sections, such as `server:`")
        return node

    def _next(self) -> Any:
        return next(self._events)

    def _place(self, event: Any) -> Place:
        return Place(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _refuse(self, place: Place, path: Path, problem: str) -> Unreadable:
        self._findings.add(place, path, problem)
        return Unreadable()

    def _syntax(self, error: yaml.YAMLError) -> Unreadable:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        place = Place(self._file, mark.line + 1, mark.column + 1) if mark else Place(self._file)
        said = [str(part) for name in ("context", "problem") if (part := getattr(error, name, None))]
        return self._refuse(
            place, (), f"not valid YAML: {', '.join(said) or 'unreadable'}; look at this line and the one above"
        )

    def _node(self, event: Any, path: Path) -> Node:
        place = self._place(event)
        self._nodes += 1
        if self._nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise self._refuse(place, path[:3], "too deep or too many values for a configuration file")
        if isinstance(event, yaml.AliasEvent):
            self._findings.add(place, path, "YAML aliases (*name) are not allowed; write the value out")
            return Scalar(place, "", UNKNOWN)
        self._check_properties(event, place, path)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(place, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(place, path)
        return self._scalar(event, place, path)

    def _check_properties(self, event: Any, place: Place, path: Path) -> None:
        if event.anchor is not None:
            self._findings.add(place, path, "YAML anchors (&name) are not allowed; write the value out")
        if event.tag is not None:
            self._findings.add(place, path, "YAML tags (!name) are not allowed; write the plain value")

    def _sequence(self, place: Place, path: Path) -> Sequence:
        found = Sequence(place)
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            found.items.append(self._node(event, (*path, len(found.items))))
        return found

    def _mapping(self, place: Place, path: Path) -> Mapping:
        found = Mapping(place)
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key_place = self._place(event)
            key = self._key(event, path)
            node = self._node(self._next(), (*path, "?" if key is None else key))
            if key is None:
                continue
            if key in found.entries:
                first = found.keys[key].line
                self._findings.add(key_place, (*path, key), f"is given twice, first on line {first}; keep one")
                continue
            found.entries[key], found.keys[key] = node, key_place
        return found

    def _key(self, event: Any, path: Path) -> str | None:
        """The text of a key, None (with a finding) where it cannot be one."""
        node = self._node(event, (*path, getattr(event, "value", "?")))
        if not isinstance(node, Scalar):
            self._findings.add(node.place, path, "a name must be plain text, not a list or mapping")
            return None
        if node.value is None or node.text == "<<":
            self._findings.add(node.place, path, "a name is missing here; write `name: value`")
            return None
        return None if node.value is UNKNOWN else node.text

    def _scalar(self, event: Any, place: Place, path: Path) -> Scalar:
        if event.style or event.tag is not None:
            return Scalar(place, event.value, event.value)
        if trap := _trap(event.value):
            self._findings.add(place, path, trap)
            return Scalar(place, event.value, UNKNOWN)
        return Scalar(place, event.value, _meaning(event.value))


def _trap(text: str) -> str:
    """What is ambiguous about a plain scalar, empty if nothing."""
    said = quoted(text)
    if text.lower() in _SOMETIMES_BOOLEAN:
        return f"{said} means true or false to some YAML readers; write true or false, or put it in quotes"
    if _BASE_60.fullmatch(text):
        return f"{said} is a number to base 60 for some YAML readers; put it in quotes, or write e.g. 90s"
    if _OTHER_BASE.fullmatch(text):
        return f"{said} is octal or hexadecimal for some YAML readers; write a decimal number, or put it in quotes"
    if _NOT_FINITE.fullmatch(text):
        return f"{said} is not a number that can be used; write a finite one"
    if len(text) > MAX_NUMBER_CHARACTERS and (_WHOLE.fullmatch(text) or _FRACTION.fullmatch(text)):
        return f"the number has more than {MAX_NUMBER_CHARACTERS} characters; write a shorter one"
    return ""


def _meaning(text: str) -> Any:
    """The value of a plain scalar that is no trap. Numbers with a point are Decimal: no float touches money."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _WHOLE.fullmatch(text):
        return int(text.replace("_", ""))
    if _FRACTION.fullmatch(text):
        return Decimal(text.replace("_", ""))
    return text
