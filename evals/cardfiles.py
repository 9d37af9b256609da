"""Card files: scorecards as files under version control, one for each task and tier, in a text that is always the same.

Several machines route by the same cards where they have the same files.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import yaml

from evals.located import Located, read_yaml
from evals.suite import digest
from farthing.errors import ConfigError
from farthing.money import Nano, format_usd, nano_from_usd
from farthing.routing import Scorecard, Verdict
from farthing.tags import is_tag

HEAD: Final = "# Written by `farthing eval run`. A change by hand is refused: its digest would not fit.\n"
_TEXTS: Final = frozenset(
    {"task", "tier", "suite", "suite_hash", "run_id", "reference", "prompt_hash", "grader", "rule", "reason"}
)
_SHARES: Final = frozenset({"score", "bar", "low", "high", "e_value", "e_needed"})
_MAYBE_NUMBERS: Final = frozenset({"margin", "difference"})
_LISTS: Final = frozenset({"models", "fingerprints"})
NEWLINE: Final = "\n"
State = tuple[tuple[str, int, int], ...]


class CardFiles:
    """The cards of a directory. A file that cannot be used leaves what was read of it before, and is told of."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.problems: tuple[str, ...] = ()
        self._state: State | None = None
        self._cards: dict[str, Scorecard] = {}

    def version(self) -> State:
        """Something that is equal as long as no file changes."""
        found = []
        for path in sorted(self.directory.glob("*.yaml")):
            try:
                stat = path.stat()
            except OSError:
                continue
            found.append((path.name, stat.st_mtime_ns, stat.st_size))
        return tuple(found)

    def latest(self, task: str | None = None) -> tuple[Scorecard, ...]:
        """The card of each file, of one task or of all."""
        state = self.version()
        if state != self._state:
            self._state = state
            self._read([name for name, _, _ in state])
        return tuple(card for card in self._cards.values() if task is None or card.task == task)

    def write(self, card: Scorecard) -> Path:
        """Put a card in place of the one of its task and tier; an undecided one never takes the place of a decided
        one. The file that holds it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f"{quote(card.task, safe='')}--{quote(card.tier, safe='')}.yaml"
        if card.verdict is Verdict.UNDECIDED and path.exists():
            return path
        draft = path.with_suffix(".draft")
        draft.write_text(to_text(card), encoding="utf-8")
        draft.replace(path)
        return path

    def _read(self, names: list[str]) -> None:
        former, self._cards, problems = self._cards, {}, []
        for name in names:
            try:
                self._cards[name] = read_card(self.directory / name)
            except ConfigError as error:
                problems.append(error.message)
                if name in former:
                    self._cards[name] = former[name]
        self.problems = tuple(problems)


def to_text(card: Scorecard) -> str:
    """The card as its file has it."""
    content = _content(card)
    return HEAD + yaml.safe_dump(content | {"digest": digest(content)}, sort_keys=False, allow_unicode=True, width=120)


def read_card(path: Path) -> Scorecard:
    """The card in a file. Raises ConfigError with file, line and field."""
    head = _head(path)
    if not isinstance(head.value, Mapping):
        raise _fault(head, "a scorecard is a mapping")
    names = {field.name for field in fields(Scorecard)} | {"digest"}
    for name, at in head.value.items():
        if name not in names:
            raise _fault(at, "is no field of a scorecard")
    missing = sorted(names - set(head.value))
    if missing:
        raise _fault(head, f"lacks {', '.join(missing)}")
    values = {name: _value(name, at) for name, at in head.value.items() if name != "digest"}
    card = Scorecard(**values)
    if head.value["digest"].value != digest(_content(card)):
        raise _fault(head.value["digest"], "does not fit: the card was changed by hand; take it back, or run the eval")
    return card


def _head(path: Path) -> Located:
    try:
        return read_yaml(path)
    except ConfigError as error:
        raise ConfigError(f"The scorecard cannot be used: {error.message.split(NEWLINE, 1)[-1]}") from None


def _content(card: Scorecard) -> dict[str, Any]:
    values = {field.name: getattr(card, field.name) for field in fields(card)}
    lists = {name: list(values[name]) for name in _LISTS}
    numbers = {name: float(values[name]) for name in _SHARES | _MAYBE_NUMBERS if values[name] is not None}
    return values | lists | numbers | {"verdict": card.verdict.value, "cost": format_usd(card.cost)}


def _value(name: str, at: Located) -> Any:
    value = at.plain()
    if name in ("task", "tier") and not (isinstance(value, str) and is_tag(value)):
        raise _fault(at, "is no name")
    if name == "verdict":
        return _verdict(value, at)
    if name == "cost":
        return _cost(value, at)
    if name in _LISTS:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise _fault(at, "is a list of texts")
        return tuple(value)
    kind, wanted = _kind(name)
    if isinstance(value, bool) or not isinstance(value, kind):
        raise _fault(at, f"is {wanted}")
    return float(value) if isinstance(value, int) and name in _SHARES | _MAYBE_NUMBERS else value


def _kind(name: str) -> tuple[Any, str]:
    if name in _TEXTS:
        return str, "a text"
    if name in _SHARES:
        return int | float, "a number"
    if name in _MAYBE_NUMBERS:
        return int | float | None, "a number, or null"
    return (int | None, "a time in ns, or null") if name == "valid_until_ns" else (int, "a whole number")


def _verdict(value: Any, at: Located) -> Verdict:
    try:
        return Verdict(value)
    except ValueError:
        raise _fault(at, "is pass, fail or undecided") from None


def _cost(value: Any, at: Located) -> Nano:
    try:
        return nano_from_usd(value if isinstance(value, str) else "")
    except (ValueError, ArithmeticError):
        raise _fault(at, "is an amount in USD, in quotes") from None


def _fault(at: Located, message: str) -> ConfigError:
    return ConfigError(f"The scorecard cannot be used: {at.place}: {message}")
