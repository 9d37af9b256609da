"""Task desk: the task of calls that name none, and what comes of those whose system prompt nobody claims."""

import asyncio
import logging
import sqlite3
from pathlib import Path
from typing import Any, Final

from farthing.call import Call, Endpoint
from farthing.catalog import Catalog
from gateway.periods import moment_of
from gateway.promptbook import CountedPrompt, PromptBook, read_prompts
from gateway.settings.values import PromptCounting, Settings, TaskSettings
from router_policies.prompthash import PREFIX
from router_policies.signals import Signals
from router_policies.tasks import UNRESOLVED, Classifier, Resolver

_LOG: Final = logging.getLogger("farthing.tasks")
FLUSH_TICKS: Final = 5
_NO_TASK: Final = UNRESOLVED.task, UNRESOLVED.source


def resolver_of(catalog: Catalog, settings: TaskSettings, classifier: Classifier | None = None) -> Resolver | None:
    """What tells the task of calls that name none; None where nothing is declared by which to tell it."""
    tasks = catalog.tasks.values()
    if all(task.signs.is_empty for task in tasks) and settings.counting is not PromptCounting.ALWAYS:
        return None
    return Resolver(tasks, reading=settings.reading, classifier=classifier)


def counts_prompts(catalog: Catalog, settings: TaskSettings) -> bool:
    """Whether system prompts that no task claims are counted."""
    if settings.counting is PromptCounting.AUTO:
        return any(task.signs.system_prompts for task in catalog.tasks.values())
    return settings.counting is PromptCounting.ALWAYS


def claimed_prompts(catalog: Catalog) -> frozenset[str]:
    """The hashes of all tasks."""
    return frozenset(digest for task in catalog.tasks.values() for digest in task.signs.system_prompts)


def prompt_members(prompt: CountedPrompt) -> dict[str, Any]:
    """A counted prompt for JSON."""
    return {
        "hash": PREFIX + prompt.hash,
        "feature": prompt.feature,
        "requests": prompt.requests,
        "first_seen": moment_of(prompt.first_ns).isoformat(),
        "last_seen": moment_of(prompt.last_ns).isoformat(),
        "suggested_task": prompt.task,
    }


class TaskDesk:
    """`resolve` and `tick` belong to the event loop. All that it knows is this worker's, but for the file at `path`, in
    which prompts are counted; without one they are not."""

    def __init__(self, path: Path | None = None) -> None:
        self.prompts = None if path is None else PromptBook(path)
        self._ticks = 0
        self._told = False
        self._resolver: Resolver | None = None
        self._settings: Settings | None = None

    def resolver(self, settings: Settings) -> Resolver | None:
        """What tells the tasks of these settings, made once for them: it keeps what it knows of system prompts."""
        if settings is not self._settings:
            self._settings, self._resolver = settings, resolver_of(settings.catalog, settings.tasks)
        return self._resolver

    async def resolve(self, call: Call, resolver: Resolver, *, counts: bool) -> tuple[str, str]:
        """(task, source) of a call that names none; ("", "default") where nothing tells it."""
        if call.endpoint is Endpoint.EMBEDDINGS:
            return _NO_TASK
        signals = resolver.signals(call.endpoint, call.body)
        found = resolver.by_signs(signals)
        if found is None:
            if counts:
                self._count(call, resolver, signals)
            return _NO_TASK
        return found.task, found.source

    def _count(self, call: Call, resolver: Resolver, signals: Signals) -> None:
        digest = resolver.prompt(signals).hash
        if digest and self.prompts is not None:
            self.prompts.note(digest, call.tags.feature, call.received_ns)

    def unclaimed(self) -> list[CountedPrompt]:
        """The prompts on file that no task claims by now, the most frequent first; none where the file cannot be read.
        Blocks."""
        if self.prompts is None or self._settings is None:
            return []
        try:
            return read_prompts(self.prompts.path, claimed_prompts(self._settings.catalog))
        except (OSError, sqlite3.Error):
            return []

    async def tick(self) -> None:
        """Once a second: every few of them write down what was counted."""
        self._ticks += 1
        if self._ticks % FLUSH_TICKS == 0:
            await self.flush()

    async def flush(self) -> None:
        """Write down what was counted. What cannot be written is lost, and said once."""
        if self.prompts is None or not self.prompts.has_news:
            return
        try:
            await asyncio.to_thread(self.prompts.take())
            self._told = False
        except (OSError, sqlite3.Error) as error:
            if not self._told:
                _LOG.warning("system prompts are not counted (%s)", type(error).__name__)
            self._told = True
