"""Task desk: the task of calls that name none, and what is learned from those on the way."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from farthing.call import Call, Endpoint
from farthing.catalog import Catalog, Feature
from farthing.errors import ConfigError
from gateway.classifying import RESULTS, Classifying
from gateway.exposition import Family, Kind, Unit, value_lines
from gateway.periods import moment_of
from gateway.promptbook import CountedPrompt, PromptBook, read_prompts
from gateway.settings.values import PromptCounting, Settings, TaskSettings
from gateway.taskexamples import knows_tasks, read_classifier
from router_policies.centroid import CentroidClassifier
from router_policies.lowmargin import LowMargins
from router_policies.prompthash import PREFIX
from router_policies.signals import Signals
from router_policies.tasks import UNRESOLVED, Classifier, Resolver

if TYPE_CHECKING:
    from gateway.runtime import Generation

_LOG: Final = logging.getLogger("farthing.tasks")
FLUSH_TICKS: Final = 5
SAMPLES: Final = 8
"""Requests that name their task, of each second at most, that are compared with its examples."""
AUTO: Final = "auto"
_NO_TASK: Final = UNRESOLVED.task, UNRESOLVED.source

GUESSES: Final = Family(
    name="farthing_task_guesses",
    kind=Kind.GAUGE,
    help="Calls of this worker whose task was looked for by examples, by what came of it.",
    labels=("result",),
)
WAITS: Final = Family(
    name="farthing_task_guess_seconds",
    kind=Kind.GAUGE,
    help="How long the last thousand of these calls waited for it.",
    labels=("quantile",),
    unit=Unit.SECONDS,
)
COMPARED: Final = Family(
    name="farthing_task_compared",
    kind=Kind.GAUGE,
    help="Calls of this worker that name their task and were compared with its examples: like them or not.",
    labels=("task", "margin"),
)
LOW_MARGIN: Final = Family(
    name="farthing_task_low_margin_alarm",
    kind=Kind.GAUGE,
    help="1 while more calls of the task are unlike its examples than is usual, as this worker sees it.",
    labels=("task",),
)
TASK_FAMILIES: Final = (GUESSES, WAITS, COMPARED, LOW_MARGIN)


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
    """`resolve`, `resolver` and `tick` belong to the event loop. All that it knows is this worker's, but for the files:
    prompts are counted in that at `prompts`, and the classifier is in that at `classifier`; without one there is none.
    """

    def __init__(self, prompts: Path | None = None, classifier: Path | None = None) -> None:
        self.prompts = None if prompts is None else PromptBook(prompts)
        self.problem = ""
        """Why tasks with examples are not told by them, empty where they are or there are none."""
        self._path = classifier
        self._classifying = Classifying()
        self._classifier: CentroidClassifier | None = None
        self._resolver: Resolver | None = None
        self._settings: Settings | None = None
        self._stamp: object = None
        self._margins: dict[str, LowMargins] = {}
        self._samples: list[tuple[str, str]] = []
        self._ticks, self._said = 0, False

    # --- one configuration -----------------------------------------------------------------------

    def resolver(self, settings: Settings) -> Resolver | None:
        """What tells the tasks of these settings: made once for them and the classifier's file, for it keeps what it
        knows of system prompts."""
        stamp = self._stamp_of(settings)
        if settings is not self._settings or stamp != self._stamp:
            self._settings, self._stamp = settings, stamp
            self._take_up(self._read(settings))
            self._resolver = resolver_of(settings.catalog, settings.tasks, self._classifier)
        return self._resolver

    def is_stale(self, settings: Settings) -> bool:
        """Whether the classifier's file has changed since."""
        return self._stamp_of(settings) != self._stamp

    def _file(self, settings: Settings) -> Path | None:
        return settings.tasks.classifier or self._path

    def _stamp_of(self, settings: Settings) -> object:
        path = self._file(settings)
        if path is None or not any(task.signs.examples for task in settings.catalog.tasks.values()):
            return None
        try:
            state = path.stat()
        except OSError:
            return "missing"
        return state.st_mtime_ns, state.st_size, state.st_ino

    def _read(self, settings: Settings) -> CentroidClassifier | None:
        path, self.problem = self._file(settings), ""
        try:
            return None if path is None else read_classifier(path, settings.catalog)
        except ConfigError as error:
            self.problem = error.message
            _LOG.warning("%s", error.message)
            return self._still_good(settings) if path is not None and path.exists() else None

    def _still_good(self, settings: Settings) -> CentroidClassifier | None:
        """The classifier in use, in place of a file that cannot be used, where it knows what it should."""
        classifier = self._classifier
        return classifier if classifier is not None and knows_tasks(classifier, settings.catalog) else None

    def _take_up(self, classifier: CentroidClassifier | None) -> None:
        if classifier is not None and self._classifier is not None and classifier.source == self._classifier.source:
            return  # a reload of something else: what was learned of the traffic stays
        self._classifier, self._samples, self._margins = classifier, [], {}
        if classifier is not None:
            self._margins = {task: LowMargins(classifier.usual_low(task)) for task in classifier.tasks}

    # --- the path of a call ----------------------------------------------------------------------

    async def resolve(
        self, said: tuple[str, str], call: Call, feature: Feature, generation: "Generation"
    ) -> tuple[str, str]:
        """(task, source) of a call: as `said` where it names one, else by what it shows; ("", "default") where nothing
        tells it."""
        resolver = generation.resolver
        if resolver is None or call.endpoint is Endpoint.EMBEDDINGS:
            return said
        if said[0]:
            self._watch(said[0], call, resolver)
            return said
        signals = resolver.signals(call.endpoint, call.body)
        found = resolver.by_signs(signals)
        if found is not None:
            self._watch(found.task, call, resolver)
            return found.task, found.source
        if generation.counts_prompts:
            self._count(call, resolver, signals)
        if resolver.classifier is None or not _is_routed(call, feature, generation.catalog):
            return _NO_TASK
        return await self._by_examples(signals, resolver, resolver.classifier)

    async def _by_examples(self, signals: Signals, resolver: Resolver, classifier: Classifier) -> tuple[str, str]:
        deadline_s = self._settings.tasks.deadline_s if self._settings else 0.0
        guess = await self._classifying.guess(classifier, signals.text, deadline_s)
        found = None if guess is None else resolver.settle(guess)
        return _NO_TASK if found is None else (found.task, found.source)

    def _count(self, call: Call, resolver: Resolver, signals: Signals) -> None:
        digest = resolver.prompt(signals).hash
        if digest and self.prompts is not None:
            sample = signals.text if resolver.classifier is not None else ""
            self.prompts.note(digest, call.tags.feature, call.received_ns, sample)

    def _watch(self, task: str, call: Call, resolver: Resolver) -> None:
        if task in self._margins and len(self._samples) < SAMPLES:
            self._samples.append((task, resolver.signals(call.endpoint, call.body).text))

    # --- off the path ----------------------------------------------------------------------------

    async def tick(self) -> None:
        """Once a second: compare the samples, and every few seconds write down what was counted."""
        self._ticks += 1
        if self._samples and self._classifier is not None:
            await self._compare(self._classifier)
        if self._ticks % FLUSH_TICKS == 0:
            await self.flush()

    async def _compare(self, classifier: CentroidClassifier) -> None:
        samples, self._samples = self._samples, []
        guesses = await self._classifying.guesses(classifier, [text for _, text in samples])
        for (task, _), guess in zip(samples, guesses, strict=True):
            margins = self._margins.get(task)
            if margins is None:
                continue
            before = margins.alarms
            margins.add(low=guess.task != task or not classifier.is_sure(guess))
            if margins.alarms and not before:
                _LOG.warning(
                    "task '%s': its requests grow unlike its examples (low margin: %d of %d compared, usual is up to "
                    "%.0f %%); look at what is sent, add examples, and run `farthing tasks train`",
                    *(task, margins.low, margins.seen, 100 * margins.usual),
                )

    async def flush(self) -> None:
        """Write down what was counted. What cannot be written is lost, and said once."""
        if self.prompts is None or not self.prompts.has_news:
            return
        try:
            await asyncio.to_thread(self.prompts.take(self._suggest()))
            self._said = False
        except (OSError, sqlite3.Error) as error:
            if not self._said:
                _LOG.warning("system prompts are not counted (%s)", type(error).__name__)
            self._said = True

    def _suggest(self) -> Callable[[str], str] | None:
        classifier = self._classifier
        if classifier is None:
            return None

        def suggest(text: str) -> str:
            guess = classifier.guess(text)
            return guess.task if classifier.is_sure(guess) else ""

        return suggest

    async def close(self) -> None:
        """Write down what was counted, and end the thread."""
        await self.flush()
        self._classifying.close()

    # --- what others may see ---------------------------------------------------------------------

    def unclaimed(self) -> list[CountedPrompt]:
        """The prompts on file that no task claims by now, the most frequent first; none where the file cannot be read.
        Blocks."""
        if self.prompts is None or self._settings is None:
            return []
        try:
            return read_prompts(self.prompts.path, claimed_prompts(self._settings.catalog))
        except (OSError, sqlite3.Error):
            return []

    def lines(self) -> list[str]:
        """The gauges, for `Metrics.add_source`; none where no classifier is in use."""
        if self._classifier is None:
            return []
        counts, margins = self._classifying.counts, sorted(self._margins.items())
        waits = [((str(share),), self._classifying.quantile(share)) for share in (0.5, 0.99)]
        compared = [
            ((task, margin), number)
            for task, one in margins
            for margin, number in (("high", one.seen - one.low), ("low", one.low))
        ]
        return [
            *value_lines(GUESSES, [((result,), counts[result]) for result in RESULTS]),
            *value_lines(WAITS, [(labels, wait) for labels, wait in waits if wait is not None]),
            *value_lines(COMPARED, compared),
            *value_lines(LOW_MARGIN, [((task,), int(one.alarms)) for task, one in margins]),
        ]


def _is_routed(call: Call, feature: Feature, catalog: Catalog) -> bool:
    """Whether a policy chooses the tier of the call; only then is a guess worth the wait."""
    return feature.override_model or catalog.aliases.get(call.model, call.model) == AUTO
