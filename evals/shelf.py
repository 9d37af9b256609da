"""Shelf: the suites of a directory as they are on disk now; a broken file leaves what was read of it before."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from evals.graders import grader_key
from evals.loader import load_suite
from evals.suite import Suite
from farthing.errors import ConfigError
from farthing.routing import SuiteVersion

SUFFIXES: Final = (".yaml", ".yml", ".json", ".jsonl")
_YAML: Final = re.compile(r"^(task|task_type):", re.MULTILINE)
"""Tests and prompts lie beside the suites, and are read through them."""
State = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """The suites by name, and what is wrong with files that cannot be read now."""

    suites: Mapping[str, Suite] = field(default_factory=lambda: MappingProxyType({}))
    problems: tuple[str, ...] = ()

    def versions(self) -> dict[str, SuiteVersion]:
        """What a pass has to have been made with, for each suite by name."""
        return {name: version_of(suite) for name, suite in self.suites.items()}

    def of_task(self, task: str) -> tuple[Suite, ...]:
        """The suites of a task."""
        return tuple(suite for suite in self.suites.values() if suite.task == task)


def version_of(suite: Suite) -> SuiteVersion:
    """The suite's hash and that of its graders."""
    return SuiteVersion(hash=suite.hash, grader=grader_key(suite))


def suite_files(directory: Path) -> dict[str, Path]:
    """The files of a directory that may be suites, by name; of one name the first of YAML, JSON and JSON Lines."""
    found: dict[str, Path] = {}
    for suffix in SUFFIXES:
        for path in sorted(directory.glob(f"*{suffix}")):
            found.setdefault(path.stem, path)
    return found


def _is_suite(path: Path) -> bool:
    text = path.read_text(encoding="utf-8-sig", errors="replace").strip()
    if path.suffix in {".yaml", ".yml"}:
        return _YAML.search(text) is not None
    head = text.split("\n", 1)[0] if path.suffix == ".jsonl" else text
    try:
        keys = json.loads(head)
    except (ValueError, RecursionError):
        return '"candidates"' in head  # a broken one, which is to be told of
    return isinstance(keys, dict) and not {"task", "task_type"}.isdisjoint(keys)


class Shelf:
    """One directory, read again only where any file below it has changed. Blocks."""

    def __init__(self, directory: Path, *, allow_code: bool = False) -> None:
        self.directory, self._allow_code = directory, allow_code
        self._state: State | None = None
        self._looked = Looked()

    def is_of(self, directory: Path, *, allow_code: bool) -> bool:
        """True where it is the shelf of that directory, read in that way."""
        return (self.directory, self._allow_code) == (directory, allow_code)

    def look(self) -> Looked:
        """What is there now. Raises nothing: a suite that is broken stays as it was, and is told of."""
        state = self._states()
        if state != self._state:
            self._state, self._looked = state, self._read()
        return self._looked

    def _states(self) -> State:
        """Each file with the time of its change and its size: tests and prompts are files of their own."""
        found = []
        for path in sorted(self.directory.rglob("*")) if self.directory.is_dir() else ():
            try:
                stat = path.stat()
            except OSError:
                continue
            found.append((str(path), stat.st_mtime_ns, stat.st_size))
        return tuple(found)

    def _read(self) -> Looked:
        suites, problems = {}, []
        for name, path in suite_files(self.directory).items():
            former = self._looked.suites.get(name)
            try:
                # What was a suite is one also while it is being saved, and has nothing in it yet.
                if former is not None or _is_suite(path):
                    suites[name] = load_suite(path, allow_code=self._allow_code)
            except (ConfigError, OSError) as error:
                problems.append(error.message if isinstance(error, ConfigError) else f"{path}: {error.strerror}")
                if former is not None:
                    suites[name] = former
        return Looked(suites=MappingProxyType(suites), problems=tuple(problems))
