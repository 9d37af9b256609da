"""Shelf: the suites of a directory as they are on disk now; a broken file leaves what was read of it before."""

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

_IS_A_SUITE: Final = re.compile(r"^(task|task_type):", re.MULTILINE)
"""Tests and prompts lie beside the suites; these are read through them."""
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
        for path in sorted(self.directory.glob("*.yaml")):
            try:
                if _IS_A_SUITE.search(path.read_text(encoding="utf-8-sig", errors="replace")):
                    suites[path.stem] = load_suite(path, allow_code=self._allow_code)
            except ConfigError as error:
                problems.append(error.message)
                if (former := self._looked.suites.get(path.stem)) is not None:
                    suites[path.stem] = former
            except OSError as error:
                problems.append(f"{path}: cannot be read: {error.strerror}")
        return Looked(suites=MappingProxyType(suites), problems=tuple(problems))
