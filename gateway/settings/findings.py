"""Findings: what is wrong in the operator's files, each with its file, line, column, field and remedy."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from farthing.errors import ConfigError

# A hostile file could hold ten thousand typos; nobody reads more than this, and each suggestion costs time.
MOST_FINDINGS: Final = 200

Path = tuple[str | int, ...]
"""Keys and list positions from the root of the tree to a value."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file; line and column count from 1, line 0 means the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that is wrong; `problem` says what, then what to do."""

    place: Place
    field: str
    problem: str

    def __str__(self) -> str:
        return f"{self.place}: {self.field}: {self.problem}" if self.field else f"{self.place}: {self.problem}"


class SettingsError(ConfigError):
    """The configuration cannot be used. `findings` are in the order of files and lines."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(sorted(set(findings)))
        count = len(self.findings)
        noun = "finding" if count == 1 else "findings"
        super().__init__("\n  ".join([f"The configuration has {count} {noun}:", *map(str, self.findings)]))


class Findings:
    """Collects findings; past MOST_FINDINGS it only remembers that there were more."""

    def __init__(self) -> None:
        self._found: list[Finding] = []
        self._more: Place | None = None

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def full(self) -> bool:
        """True once further findings would not be shown."""
        return len(self._found) >= MOST_FINDINGS

    def add(self, place: Place, path: Path, problem: str) -> None:
        """Note one finding."""
        if self.full:
            self._more = place
        else:
            self._found.append(Finding(place, dotted(path), problem))

    def raise_if_any(self) -> None:
        """Raise SettingsError with everything found so far."""
        if self._more:
            self._found.append(Finding(Place(self._more.file), "", "there is more; mend the findings above first"))
        if self._found:
            raise SettingsError(self._found)


def dotted(path: Path) -> str:
    """`tiers[0].deployments[1].provider`; a name with odd characters is quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if re.fullmatch(r"[\w./:@+-]{1,80}", part, re.ASCII) else quoted(part)
            text += f".{name}" if text else name
    return text


def quoted(text: str) -> str:
    """The text between quotes on one line, at most 60 characters of it."""
    shown = text if len(text) <= 60 else text[:57] + "..."
    return "'" + shown.encode("unicode_escape").decode("ascii") + "'"


def suggestion(word: str, options: Iterable[str]) -> str:
    """`did you mean 'x'?` where something is close, else the options where they are few, else empty."""
    names = sorted(set(options))
    close = difflib.get_close_matches(word[:80], names, n=1) or [
        name for name in names if name.casefold() == word.casefold()
    ]
    if close:
        return f"did you mean {quoted(close[0])}?"
    shown = (name if name.isprintable() else quoted(name) for name in names)
    return f"known here: {', '.join(shown)}" if 0 < len(names) <= 20 else ""
