"""Located values: YAML and JSON Lines read with the line of everything in them."""

import difflib
import json
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from farthing.errors import ConfigError

FILE_MAX_BYTES: Final = 64 * 2**20
VALUES_MAX: Final = 200_000
"""Aliases multiply: a few lines of YAML can stand for billions of values."""


@dataclass(frozen=True, slots=True)
class Located:
    """A plain value (mapping of Located, list of Located, or scalar) and where it stands."""

    value: Any
    file: Path
    line: int
    field: str = ""

    def plain(self) -> Any:
        """The value without its places."""
        if isinstance(self.value, Mapping):
            return {name: child.plain() for name, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    @property
    def place(self) -> str:
        """`file:line: field`, for a message."""
        field = self.field if self.field.isprintable() else ascii(self.field)
        return f"{self.file}:{self.line}: {field}" if field else f"{self.file}:{self.line}"


@dataclass(slots=True)
class Findings:
    """Everything wrong with a suite, collected so that one run of the loader tells it all."""

    found: list[str] = field(default_factory=list)

    def add(self, at: Located, message: str) -> None:
        """Note one finding, once."""
        self.add_at(at.place, message)

    def add_at(self, place: str, message: str) -> None:
        """Note one finding at a place that is text already, once."""
        finding = f"{place}: {message}"
        if finding not in self.found:
            self.found.append(finding)

    def unknown(self, at: Located, name: str, choices: Iterable[str], what: str) -> None:
        """Note an unknown name, with the nearest known one."""
        near = difflib.get_close_matches(name, list(choices), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(choices))}"
        self.add(at, f"unknown {what} {name!r}; {hint}")

    def raise_if_any(self) -> None:
        """Raises ConfigError with one line for each finding."""
        if self.found:
            raise ConfigError("The eval suite cannot be used:\n" + "\n".join(self.found))


def fail(at: Located, message: str) -> NoReturn:
    """Raises ConfigError for a finding after which there is nothing left to read."""
    raise ConfigError(f"The eval suite cannot be used:\n{at.place}: {message}")


def read_text(path: Path) -> str:
    """The file's UTF-8 text. Raises ConfigError."""
    here = Located(None, path, 1)
    try:
        if path.stat().st_size > FILE_MAX_BYTES:
            fail(here, f"the file is larger than {FILE_MAX_BYTES} bytes")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        fail(here, f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        fail(here, f"is not UTF-8 (byte {error.start}): save it as UTF-8")


def read_yaml(path: Path) -> Located:
    """The one document of a YAML (or JSON) file. Raises ConfigError."""
    text = read_text(path)
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                fail(Located(None, path, 1), "is empty")
            return _Builder(loader, path).build(node, "")
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        fail(Located(None, path, mark.line + 1 if mark else 1), f"is not valid YAML: {error.problem}")
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        fail(Located(None, path, 1), f"is not valid YAML: {type(error).__name__}")


def read_jsonl(path: Path) -> list[Located]:
    """One value for each line that is not blank. Raises ConfigError for the first line that is not JSON."""
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            rows.append(located_json(line, path, number))
    return rows


def located_json(text: str, path: Path, line: int) -> Located:
    """JSON text that stands on that line, everything in it located there. Raises ConfigError."""
    here = Located(None, path, line)
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        fail(here, f"is not valid JSON: {error}")
    return _spread(value, here)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a key appears twice in one object")
    return dict(pairs)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _spread(value: Any, at: Located) -> Located:
    """The value with every part located where the whole stands."""
    if isinstance(value, str):
        value = _unicode(value, at)
    if isinstance(value, Mapping):
        value = {name: _spread(child, _inside(at, str(name))) for name, child in value.items()}
    elif isinstance(value, list):
        value = [_spread(child, _inside(at, str(index))) for index, child in enumerate(value)]
    return Located(value, at.file, at.line, at.field)


def _inside(at: Located, name: str) -> Located:
    return Located(None, at.file, at.line, f"{at.field}.{name}".lstrip("."))


def _unicode(text: str, at: Located) -> str:
    """The text with the pairs of surrogates joined by which JSON escapes what lies beyond 16 bits. Raises ConfigError
    for half a pair: no file and no request can hold it."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16") if _SURROGATE.search(text) else text
    except UnicodeDecodeError:
        fail(at, "holds half of a surrogate pair, which is no character: write the character itself")


_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


class _Builder:
    """Turns composed YAML nodes into located values, refusing duplicate keys and runaway aliases."""

    def __init__(self, loader: yaml.SafeLoader, path: Path) -> None:
        self._loader = loader
        self._path = path
        self._count = 0

    def build(self, node: Node, name: str) -> Located:
        at = Located(None, self._path, node.start_mark.line + 1, name)
        self._count += 1
        if self._count > VALUES_MAX:
            fail(at, f"holds more than {VALUES_MAX} values once its aliases are followed")
        return Located(self._value(node, at), at.file, at.line, at.field)

    def _value(self, node: Node, at: Located) -> Any:
        if isinstance(node, MappingNode):
            self._loader.flatten_mapping(node)
            return self._mapping(node.value, at)
        if isinstance(node, SequenceNode):
            return [self.build(child, f"{at.field}[{index}]") for index, child in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        value = self._loader.construct_object(node)
        return _unicode(value, at) if isinstance(value, str) else value

    def _mapping(self, pairs: Sequence[tuple[Node, Node]], at: Located) -> dict[str, Located]:
        found: dict[str, Located] = {}
        for key, child in pairs:
            name = self._name(key, at)
            if name in found:
                fail(Located(None, at.file, key.start_mark.line + 1, at.field), f"key {name!r} appears twice")
            found[name] = self.build(child, f"{at.field}.{name}".lstrip("."))
        return found

    def _name(self, key: Node, at: Located) -> str:
        name: Hashable = self._loader.construct_object(key)
        if not isinstance(name, str):
            fail(
                Located(None, at.file, key.start_mark.line + 1, at.field),
                f"key {name!r} must be text: quote it",
            )
        return name
