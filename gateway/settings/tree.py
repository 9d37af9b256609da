"""Tree: all files joined into one tree of plain values, with the place and the written text of each."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from gateway.settings import reader
from gateway.settings.environment import BadReference, interpolate, is_secret_reference
from gateway.settings.findings import Findings, Path, Place, quoted
from gateway.settings.reader import UNKNOWN, Node, Scalar, Unreadable
from gateway.settings.sources import Source

_SECRET_HEADER_WORDS: Final = ("auth", "key", "token", "secret", "cookie", "password")


@dataclass(slots=True)
class Tree:
    """`data` holds dict, list, str, int, Decimal, bool, None and UNKNOWN; the other members are by path."""

    data: dict[str, Any] = field(default_factory=dict)
    places: dict[Path, Place] = field(default_factory=dict)
    key_places: dict[Path, Place] = field(default_factory=dict)
    texts: dict[Path, str] = field(default_factory=dict)
    faulty: set[Path] = field(default_factory=set)
    whole: bool = True
    """False if a file was left out because it could not be read."""

    def place(self, path: Path) -> Place:
        """Where the value is, or its nearest parent."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path]

    def key_place(self, path: Path) -> Place:
        """Where the name of the value is, or its nearest parent."""
        return self.key_places.get(path) or self.place(path)

    def given(self, path: Path) -> str:
        """The value as written, for a message; a secret is never shown, nor what a variable holds."""
        if path not in self.texts:
            return "the value"
        if is_secret(path):
            return "the text (not shown)"
        return quoted(self.texts[path])

    def fingerprint(self, sections: Iterable[str]) -> str:
        """SHA-256 of what these sections mean; secrets count by their reference, comments not at all."""
        named = {name: self._disclosed((name,), self.data.get(name)) for name in sections}
        return hashlib.sha256(json.dumps(named, sort_keys=True, default=str).encode()).hexdigest()

    def _disclosed(self, path: Path, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._disclosed((*path, key), item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._disclosed((*path, index), item) for index, item in enumerate(value)]
        return self.texts.get(path, "") if is_secret(path) else value


def is_secret(path: Path) -> bool:
    """True for provider keys, provider headers, hashes of virtual keys, and addresses that may hold a secret."""
    match path:
        case ("providers", _, "api_key") | ("providers", _, "headers", _) | ("keys", _, "hash") | ("upstream", "proxy"):
            return True
        case ("alerts", "webhook_url") | ("ledger", "url") | ("cache", "url") | ("cache", "semantic", "url"):
            return True
    return False


def join(sources: Sequence[Source], env: Mapping[str, str], findings: Findings) -> Tree:
    """One tree of all files, references replaced. What is wrong goes to `findings`."""
    tree = Tree(places={(): Place(str(sources[0].path), 1, 1)})
    walk = _Walk(tree, env, findings)
    for source in sources:
        try:
            root = reader.compose(str(source.path), source.data, findings)
        except Unreadable:
            tree.whole = False
            continue
        for section, node in root.entries.items():
            walk.section(section, node, root.keys[section])
    return tree


@dataclass(slots=True)
class _Walk:
    tree: Tree
    env: Mapping[str, str]
    findings: Findings

    def section(self, name: str, node: Node, place: Place) -> None:
        first = self.tree.key_places.get((name,))
        if first:
            problem = f"this section is in {first.file} already (line {first.line}); keep it in one file"
            self.findings.add(place, (name,), problem)
            return
        self.tree.key_places[(name,)] = place
        value = self.visit(node, (name,))
        if value is not None:  # a section whose every line is a comment
            self.tree.data[name] = value

    def visit(self, node: Node, path: Path) -> Any:
        self.tree.places[path] = node.place
        if isinstance(node, Scalar):
            return self.scalar(node, path)
        if isinstance(node, reader.Sequence):
            return [self.visit(item, (*path, index)) for index, item in enumerate(node.items)]
        for key, place in node.keys.items():
            self.tree.key_places[(*path, key)] = place
            if "${" in key:
                self.findings.add(place, (*path, key), "references are replaced in values only; write the name out")
        return {key: self.visit(item, (*path, key)) for key, item in node.entries.items()}

    def scalar(self, node: Scalar, path: Path) -> Any:
        self.tree.texts[path] = node.text
        value = node.value
        if isinstance(value, str):
            value = self.text(node, path)
        if value is UNKNOWN:
            self.tree.faulty.add(path)
        return value

    def text(self, node: Scalar, path: Path) -> Any:
        problem = secret_problem(path, node.text)
        if not problem and "${" in node.text:
            try:
                return interpolate(node.text, self.env)
            except BadReference as error:
                # A secret may have no default.
                problem = str(error).partition(", or write")[0] if is_secret(path) else str(error)
        if problem:
            self.findings.add(node.place, path, problem)
            return UNKNOWN
        return node.value


_SERVERS: Final[dict[Path, tuple[str, str]]] = {
    ("ledger", "url"): ("database", "postgresql://NAME:${PASSWORD}@HOST:PORT/DATABASE"),
    ("cache", "semantic", "url"): ("database", "postgresql://NAME:${PASSWORD}@HOST:PORT/DATABASE"),
    ("cache", "url"): ("server", "redis://NAME:${PASSWORD}@HOST:PORT/0"),
}


def secret_problem(path: Path, text: str) -> str:
    """Why a secret may not be given like this, empty if it may or is none. Never quotes the text."""
    match path:
        case ("providers", str(name), "api_key") if not is_secret_reference(text):
            variable = "".join(letter if letter.isalnum() else "_" for letter in name.upper())
            return (
                "a secret may not stand in a file; put it in an environment variable and write "
                f"${{{variable}_API_KEY}}, or none"
            )
        case ("alerts", "webhook_url") if not is_secret_reference(text):
            return "an address with a secret may not stand in a file; write ${ALERTS_WEBHOOK_URL}, or none"
        case ("providers", _, "headers", str(name)) if "${" not in text and any(
            word in name.lower() for word in _SECRET_HEADER_WORDS
        ):
            return "this header looks like a secret, which may not stand in a file; write ${NAME}"
        case ("upstream", "proxy") if "@" in text and not is_secret_reference(_password(text)):
            return (
                "a proxy's password may not stand in a file; write http://NAME:${PASSWORD}@HOST:PORT, "
                "or ${NAME} for the whole address"
            )
        case ("ledger", "url") | ("cache", "url") | ("cache", "semantic", "url") if not _hides_password(text):
            what, example = _SERVERS[path]
            return f"a {what}'s password may not stand in a file; write {example}, or ${{NAME}} for the whole address"
    return ""


def _hides_password(address: str) -> bool:
    """True where the password of a database is a reference, or there is none."""
    if "password=" in unquote(address).lower():
        return False
    found = re.match(r"\w+://[^:/@]*:(.*)@", address)
    return found is None or is_secret_reference(found[1])


def _password(address: str) -> str:
    """What stands before the `@` of an address, but for scheme and user name."""
    return address.rpartition("@")[0].rpartition(":")[2].lstrip("/")
