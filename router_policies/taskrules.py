"""Task rules: the rules of the configuration made ready to be asked, those on the system prompt apart from the rest."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from farthing.catalog import Task
from farthing.tasksigns import TaskRule
from router_policies.patterns import head, searcher
from router_policies.signals import Signals

Condition = Callable[[Signals], bool]
OnSystem = Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyRule:
    """`phrase` names the rule for people, such as `rule 2 of ticket-sorting: tools, min_chars`. What it asks of the
    system prompt is in `on_system`, so that the answer can be kept; `conditions` stand cheapest first."""

    task: str
    phrase: str
    on_system: tuple[OnSystem, ...]
    conditions: tuple[Condition, ...]

    def fits_system(self, text: str) -> bool:
        """Whether the system prompt is as the rule asks."""
        return all(holds(text) for holds in self.on_system)


def ready_rules(tasks: Iterable[Task]) -> tuple[ReadyRule, ...]:
    """The rules of these tasks in the order in which they are declared. Raises BadPattern."""
    return tuple(
        _ready(task.name, number, rule) for task in tasks for number, rule in enumerate(task.signs.rules, start=1)
    )


def _ready(task: str, number: int, rule: TaskRule) -> ReadyRule:
    on_system = dict(_on_system(rule))
    rest = dict(_on_rest(rule))
    return ReadyRule(
        task=task,
        phrase=f"rule {number} of {task}: {', '.join([*on_system, *rest])}",
        on_system=tuple(on_system.values()),
        conditions=tuple(rest.values()),
    )


def _on_system(rule: TaskRule) -> Iterator[tuple[str, OnSystem]]:
    if prefix := rule.system_prefix:
        yield "system_prefix", lambda text: text.lstrip().startswith(prefix)
    if rule.system_regex:
        search = searcher(rule.system_regex)
        yield "system_regex", lambda text: search(head(text))


def _on_rest(rule: TaskRule) -> Iterator[tuple[str, Condition]]:
    yield from _on_shape(rule)
    least, most = rule.min_chars, rule.max_chars
    if least:
        yield "min_chars", lambda seen: len(seen.user) >= least
    if most is not None:
        yield "max_chars", lambda seen: len(seen.user) <= most
    if prefix := rule.user_prefix:
        yield "user_prefix", lambda seen: seen.user.lstrip().startswith(prefix)
    if rule.user_regex:
        search = searcher(rule.user_regex)
        yield "user_regex", lambda seen: search(seen.user_head)
    if languages := frozenset(rule.languages):
        yield "languages", lambda seen: seen.language in languages


def _on_shape(rule: TaskRule) -> Iterator[tuple[str, Condition]]:
    tools, schema, image = rule.tools, rule.json_schema, rule.image
    if tools is not None:
        yield "tools", lambda seen: seen.has_tools is tools
    if names := frozenset(rule.tool_names):
        yield "tool_names", lambda seen: not names.isdisjoint(seen.tool_names)
    if schema is not None:
        yield "json_schema", lambda seen: (seen.schema is not None) is schema
    if schemas := frozenset(rule.schema_names):
        yield "schema_names", lambda seen: seen.schema in schemas
    if image is not None:
        yield "image", lambda seen: seen.has_image is image
