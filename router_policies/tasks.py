"""Tasks: what kind of task a call is, and which rule said so."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

from farthing.call import Endpoint
from farthing.catalog import Task
from farthing.tasksigns import AS_USUAL, Reading
from router_policies.prompthash import PREFIX, prompt_hash
from router_policies.signals import Signals
from router_policies.taskrules import ReadyRule, ready_rules

KEPT_PROMPTS: Final = 256
LONGEST_KEPT: Final = 32_768
"""Characters of a system prompt that is kept with what is known of it, so that all of them are some 30 MB at most."""
LONGEST_HASHED: Final = 1_000_000
"""Characters of a system prompt beyond which it has no hash: making it would hold up other calls for milliseconds."""
_SHOWN_DIGITS: Final = 12


class Resolution(NamedTuple):
    """The task (empty: none), the `task_source` of the ledger, and in words what it was decided by."""

    task: str
    source: str
    rule: str = ""


UNRESOLVED: Final = Resolution("", "default", "nothing says which task it is")


class Prompt(NamedTuple):
    """What is known of a system prompt: its hash (empty: there is none), the task that claims it, and the rules that
    ask nothing else of it."""

    hash: str
    task: str
    rules: tuple[ReadyRule, ...]


class Guess(NamedTuple):
    """The task whose examples a text is most like (empty: those of no task), how much nearer it is than to the next
    one's, and its cosine."""

    task: str
    margin: float
    cosine: float


class Classifier(Protocol):
    """Knows tasks by labelled examples. Takes a good part of a millisecond: not in an event loop."""

    def guess(self, text: str) -> Guess:
        """The nearest task, sure or not."""

    def is_sure(self, guess: Guess) -> bool:
        """Whether such guesses are right as often as is asked; else they count for nothing."""


def resolve_task(*, header: str, metadata: str, key_default: str, feature_default: str) -> tuple[str, str]:
    """(task, source): the first that is given, in the order header, metadata, key, feature; else ("", "default").

    Every argument is "" where it was not given. Whether the catalogue knows it is another question.
    """
    offers = (
        ("header", header),
        ("metadata", metadata),
        ("key", key_default),
        ("feature", feature_default),
    )
    for source, task in offers:
        if task:
            return task, source
    return "", "default"


class Resolver:
    """Tells the task of requests that name none, by the signs of one catalogue: hash of the system prompt, rules in
    the order of their declaration, examples."""

    def __init__(
        self, tasks: Iterable[Task], *, reading: Reading = AS_USUAL, classifier: Classifier | None = None
    ) -> None:
        declared = tuple(tasks)
        self.reading, self.classifier = reading, classifier
        self._by_hash = {digest: task.name for task in declared for digest in task.signs.system_prompts}
        self._rules = ready_rules(declared)
        self._kept = lru_cache(maxsize=KEPT_PROMPTS)(self._read)

    def signals(self, endpoint: Endpoint, body: Mapping[str, Any]) -> Signals:
        """What a parsed body shows, read as the catalogue wants it."""
        return Signals(endpoint, body, self.reading)

    def resolve(self, signals: Signals) -> Resolution:
        """The whole of it, at once. The same signals always give the same answer."""
        found = self.by_signs(signals)
        if found is None and self.classifier is not None:
            found = self.settle(self.classifier.guess(signals.text))
        return found or UNRESOLVED

    def by_signs(self, signals: Signals) -> Resolution | None:
        """By hash or rule: some microseconds."""
        prompt = self.prompt(signals)
        if prompt.task:
            shown = f"{PREFIX}{prompt.hash[:_SHOWN_DIGITS]}"
            return Resolution(prompt.task, "system_prompt", f"system prompt {shown} of {prompt.task}")
        for rule in prompt.rules:
            for holds in rule.conditions:
                if not holds(signals):
                    break
            else:
                return Resolution(rule.task, "rule", rule.phrase)
        return None

    def settle(self, guess: Guess) -> Resolution | None:
        """What a guess decides: nothing, unless the classifier is sure of it and it is one of a task."""
        if self.classifier is None or not guess.task or not self.classifier.is_sure(guess):
            return None
        return Resolution(guess.task, "centroid", f"examples of {guess.task}: margin {guess.margin:.3f}")

    def prompt(self, signals: Signals) -> Prompt:
        """What is known of the system prompt."""
        text = signals.system
        return self._kept(text) if len(text) <= LONGEST_KEPT else self._read(text)

    def _read(self, text: str) -> Prompt:
        digest = prompt_hash(text) if len(text) <= LONGEST_HASHED else ""
        rules = tuple(rule for rule in self._rules if rule.fits_system(text))
        return Prompt(digest, self._by_hash.get(digest, "") if digest else "", rules)
