"""Prompt book: how often each system prompt came that no task claims, by hash alone, so that people can label it."""

import sqlite3
from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOST_KEPT: Final = 1_000
"""Prompts of a feature each, in memory and in the file; those that came least often make room, the oldest first."""
MOST_SUGGESTED: Final = 50
"""Prompts of one flush for which a task is suggested: some 20 ms of another thread."""
_BUSY_S: Final = 2.0
_HERE: Final = Path(__file__).parent
_CREATE: Final = (_HERE / "promptbook.sql").read_text(encoding="utf-8")
_ADD: Final = (
    "INSERT INTO prompts VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (hash, feature) DO UPDATE SET"
    " requests = requests + excluded.requests, last_ns = max(last_ns, excluded.last_ns),"
    " task = CASE excluded.task WHEN '' THEN task ELSE excluded.task END"
)
_KEEP: Final = (
    "DELETE FROM prompts WHERE rowid NOT IN (SELECT rowid FROM prompts ORDER BY requests DESC, last_ns DESC LIMIT ?)"
)
_READ: Final = (
    "SELECT hash, feature, requests, first_ns, last_ns, task FROM prompts ORDER BY requests DESC, last_ns DESC"
)

Suggest = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedPrompt:
    """`hash` in hexadecimal, times in wall ns; `task` is the one that its requests' examples suggest, empty: none."""

    hash: str
    feature: str
    requests: int
    first_ns: int
    last_ns: int
    task: str = ""


class _Seen:
    """One prompt since the last flush."""

    __slots__ = ("first_ns", "last_ns", "requests", "sample")

    def __init__(self, at_ns: int, sample: str) -> None:
        self.requests, self.first_ns, self.last_ns, self.sample = 1, at_ns, at_ns, sample


class PromptBook:
    """Counts in memory and, every few seconds, in the file at `path`, which workers of one machine share. `note`
    belongs to the event loop's thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: dict[tuple[str, str], _Seen] = {}
        self.left_out = 0
        """Requests that were not counted, there being too many prompts between two flushes."""

    @property
    def has_news(self) -> bool:
        """Whether something is to be written."""
        return bool(self._seen)

    def note(self, digest: str, feature: str, at_ns: int, sample: str = "") -> None:
        """A request came with this prompt; `sample`, a few thousand characters of it, is held until the next flush."""
        place = (digest, feature)
        seen = self._seen.get(place)
        if seen is not None:
            seen.requests += 1
            seen.last_ns = at_ns
        elif len(self._seen) < MOST_KEPT:
            self._seen[place] = _Seen(at_ns, sample)
        else:
            self.left_out += 1

    def take(self, suggest: Suggest | None = None) -> Callable[[], None]:
        """What writes the news, in another thread; may raise OSError or sqlite3.Error."""
        seen, self._seen = self._seen, {}
        return lambda: self._write(seen, suggest)

    def _write(self, seen: dict[tuple[str, str], _Seen], suggest: Suggest | None) -> None:
        rows = []
        for number, ((digest, feature), one) in enumerate(seen.items()):
            task = suggest(one.sample) if suggest and one.sample and number < MOST_SUGGESTED else ""
            rows.append((digest, feature, one.requests, one.first_ns, one.last_ns, task))
        with closing(_open(self.path)) as database, database:
            database.executemany(_ADD, rows)
            database.execute(_KEEP, (MOST_KEPT,))


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    database = sqlite3.connect(path, timeout=_BUSY_S)
    try:
        database.executescript(_CREATE)
    except BaseException:
        database.close()
        raise
    return database


def read_prompts(path: Path, claimed: Collection[str] = frozenset()) -> list[CountedPrompt]:
    """What the file holds but for the hashes that a task claims by now, the most frequent first; nothing where there
    is no file. Blocks. Raises sqlite3.Error where it cannot be read."""
    if not path.is_file():
        return []
    with closing(_open(path)) as database:
        rows: Iterable[tuple[str, str, int, int, int, str]] = database.execute(_READ).fetchall()
    found = (
        CountedPrompt(hash=digest, feature=feature, requests=count, first_ns=first, last_ns=last, task=task)
        for digest, feature, count, first, last, task in rows
    )
    return [one for one in found if one.hash not in claimed]
