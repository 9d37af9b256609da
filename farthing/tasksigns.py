"""Task signs: what the platform team says by which a request is known to be of a task."""

from dataclasses import dataclass
from enum import StrEnum


class Turns(StrEnum):
    """Which of several messages of one side are read."""

    FIRST = "first"
    LAST = "last"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Which messages a task is told by; those of system and developer are one side, those of the user the other."""

    system: Turns = Turns.FIRST
    user: Turns = Turns.LAST


AS_USUAL = Reading()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRule:
    """Conditions that must all hold. None, empty text and empty tuples ask nothing; of a tuple one must fit.

    `system` and `user` are the texts of the messages that are read: a prefix is compared after leading white space,
    a pattern is RE2's. `min_chars` and `max_chars` bound the length of the user's text in characters. `languages` are
    those of `router_policies.languages`.
    """

    tools: bool | None = None
    tool_names: tuple[str, ...] = ()
    json_schema: bool | None = None
    schema_names: tuple[str, ...] = ()
    image: bool | None = None
    system_prefix: str = ""
    system_regex: str = ""
    user_prefix: str = ""
    user_regex: str = ""
    min_chars: int = 0
    max_chars: int | None = None
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSigns:
    """`system_prompts` are SHA-256 in hexadecimal (`router_policies.prompthash`); one of `rules` is enough; `examples`
    is the path of a file with labelled requests, empty for none."""

    system_prompts: frozenset[str] = frozenset()
    rules: tuple[TaskRule, ...] = ()
    examples: str = ""

    @property
    def is_empty(self) -> bool:
        """True where a request of the task is known only by what names it."""
        return not (self.system_prompts or self.rules or self.examples)


NO_SIGNS = TaskSigns()
