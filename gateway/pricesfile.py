"""Prices file: entries under `prices:` of a YAML file, changed and added in its text, with comments and order kept."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import yaml

from farthing.errors import ConfigError

IDENTITY: Final = ("provider", "model", "service_tier", "above_input_tokens")
"""What makes two entries prices of the same thing; `valid_from` tells them apart in time."""
FROM: Final = "valid_from"
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/+-]*")
_NO_DATE: Final = "0000-00-00"

Entry = Mapping[str, str]
"""One price as the text of its members, `valid_from` as YYYY-MM-DD."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Characters [start, end) of the text and what comes in their place."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """The new text, and what became of each wanted entry, in their order: added, changed or unchanged."""

    text: str
    did: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Item:
    """An entry that is in the file."""

    node: yaml.MappingNode
    values: Mapping[str, yaml.ScalarNode]

    def text(self, name: str) -> str:
        node = self.values.get(name)
        return "" if node is None else str(node.value)

    @property
    def identity(self) -> tuple[str, ...]:
        return _identity({name: self.text(name) for name in IDENTITY})

    def has(self, entry: Entry) -> bool:
        """True where it says all that the entry says, its date apart."""
        return all(_same(self.text(name), value) for name, value in entry.items() if name != FROM)


def update(text: str, wanted: Sequence[Entry]) -> Edited:
    """The text with each entry in force from its `valid_from` on.

    One of the same day is corrected in place, member by member; members that are not wanted stay. One that says the
    same and is in force already is left. Anything else is added behind the entries of the same model, so that what
    was in force before still is for its time. Raises ConfigError for a text whose entries cannot be edited.
    """
    did = []
    for entry in wanted:
        edits, deed = _plan(text, entry)
        text = _apply(text, edits)
        did.append(deed)
    return Edited(text=text, did=tuple(did))


def _plan(text: str, entry: Entry) -> tuple[list[Edit], str]:
    """Planned one by one, each on the text of the one before: two may concern the same place."""
    root, key, found = _find(text)
    items = list(_items(found)) if isinstance(found, yaml.SequenceNode) else []
    alike = [item for item in items if item.identity == _identity(entry)]
    same_day = next((item for item in alike if _date(item.text(FROM)) == _date(entry[FROM])), None)
    if same_day is not None:
        edits = _corrections(text, same_day, entry)
        return edits, "changed" if edits else "unchanged"
    earlier = [item for item in alike if _date(item.text(FROM)) <= _date(entry[FROM])]
    if earlier and max(earlier, key=lambda item: _date(item.text(FROM))).has(entry):
        return [], "unchanged"
    if not isinstance(found, yaml.SequenceNode) or not items:
        return [_first(text, root, key, found, entry)], "added"
    return [_behind(text, found, (alike or items)[-1], entry)], "added"


def _find(text: str) -> tuple[yaml.MappingNode | None, yaml.Node | None, yaml.Node | None]:
    """The root of the text, the key `prices`, and its value; None where they are not there."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"The prices file is not YAML: {error}. Nothing was changed.") from None
    if root is None:
        return None, None, None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError("The prices file is not a mapping with `prices:`. Nothing was changed.")
    for key, value in root.value:
        if key.value == "prices":
            return root, key, value
    return root, None, None


def _items(found: yaml.SequenceNode) -> Iterator[_Item]:
    for node in found.value:
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"Line {node.start_mark.line + 1} is no price. Nothing was changed.")
        yield _Item(node, {key.value: value for key, value in node.value if isinstance(value, yaml.ScalarNode)})


def _identity(values: Mapping[str, str]) -> tuple[str, ...]:
    texts = {name: values.get(name, "") for name in IDENTITY}
    return tuple("" if name == "above_input_tokens" and text == "0" else text for name, text in texts.items())


def _date(text: str) -> str:
    return text or _NO_DATE


def _same(there: str, value: str) -> bool:
    """Equal as texts, or as numbers however they are written."""
    if there == value:
        return True
    try:
        return yaml.safe_load(there) == yaml.safe_load(value) and there != ""
    except yaml.YAMLError:
        return False


# --- edits ---------------------------------------------------------------------------------------


def _corrections(text: str, item: _Item, entry: Entry) -> list[Edit]:
    edits = []
    missing: dict[str, str] = {}
    for name, value in entry.items():
        node = item.values.get(name)
        if node is None:
            missing[name] = value
        elif not _same(str(node.value), value):
            edits.append(Edit(node.start_mark.index, _end(text, node), _scalar(value)))
    if missing:
        edits.append(_members(text, item.node, missing))
    return edits


def _members(text: str, node: yaml.MappingNode, members: Mapping[str, str]) -> Edit:
    """Further members at the end of an entry."""
    end = _end(text, node.value[-1][1])
    if node.flow_style:
        return Edit(end, end, "".join(f", {name}: {_scalar(value)}" for name, value in members.items()))
    end = _line_end(text, end)
    indent = " " * node.start_mark.column
    return Edit(end, end, "".join(f"\n{indent}{name}: {_scalar(value)}" for name, value in members.items()))


def _behind(text: str, found: yaml.SequenceNode, item: _Item, entry: Entry) -> Edit:
    end = _end(text, item.node)
    if found.flow_style:
        members = ", ".join(f"{name}: {_scalar(value)}" for name, value in entry.items())
        return Edit(end, end, f", {{{members}}}")
    end = _line_end(text, end)
    return Edit(end, end, "\n" + _block(entry, found.start_mark.column))


def _first(
    text: str, root: yaml.MappingNode | None, key: yaml.Node | None, found: yaml.Node | None, entry: Entry
) -> Edit:
    """The first entry: in place of an empty list, or with the key itself at the end of the text."""
    if key is not None and found is not None:
        return Edit(key.end_mark.index, max(_end(text, found), key.end_mark.index), ":\n" + _block(entry, 2))
    if root is not None and root.flow_style:
        raise ConfigError("The prices file is one line of braces: write it in lines first. Nothing was changed.")
    gap = "" if not text or text.endswith("\n") else "\n"
    return Edit(len(text), len(text), f"{gap}prices:\n{_block(entry, 2)}\n")


def _block(entry: Entry, column: int) -> str:
    lines = [f"{name}: {_scalar(value)}" for name, value in entry.items()]
    return "\n".join(" " * column + ("- " if index == 0 else "  ") + line for index, line in enumerate(lines))


def _end(text: str, node: yaml.Node) -> int:
    """Where the node's own text ends: block nodes are marked as reaching to whatever comes next."""
    end = int(node.end_mark.index)
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    while end > node.start_mark.index and text[end - 1] in " \n\r":
        end -= 1
    return end


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _scalar(value: str) -> str:
    """The text plain where YAML reads it as it is meant, else in quotes."""
    if _PLAIN.fullmatch(value) and not value.endswith(" ") and yaml.safe_load(value) is not None:
        return value
    return json.dumps(value, ensure_ascii=False)


def _apply(text: str, edits: Sequence[Edit]) -> str:
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text
