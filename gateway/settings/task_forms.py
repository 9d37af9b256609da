"""Forms of what tells the task of a request that names none: rules, and how requests are read."""

from typing import Annotated, Final

from pydantic import model_validator

from farthing.tasksigns import TaskRule, Turns
from gateway.settings import scalars
from gateway.settings.forms import Form, Wait, setting
from gateway.settings.scalars import ExamplesFile, Flag, Pattern, Text, fault
from router_policies.languages import LANGUAGES

MOST_RULES: Final = 32
MOST_CHARS: Final = 10**8
Chars = Annotated[int, scalars.whole(0, MOST_CHARS)]
Language = Annotated[str, scalars.choice(*LANGUAGES)]
COUNTING: Final = ("auto", "always", "never")


class RuleForm(Form):
    """Conditions of which all must hold."""

    tools: Flag | None = setting(None, "true: the request has tools. false: it has none.")
    tool_names: list[Text] = setting([], "It has a tool with one of these names.")
    json_schema: Flag | None = setting(None, "true: the answer must fit a JSON schema. false: it need not.")
    schema_names: list[Text] = setting([], "That schema has one of these names.")
    image: Flag | None = setting(None, "true: one of the last 64 messages holds an image. false: none does.")
    system_prefix: Text | None = setting(None, "The system prompt begins so, white space before it aside.")
    system_regex: Pattern | None = setting(None, "This pattern (RE2) is found in the first 8,192 characters of it.")
    user_prefix: Text | None = setting(None, "The user's text begins so, white space before it aside.")
    user_regex: Pattern | None = setting(None, "This pattern (RE2) is found in the first 8,192 characters of it.")
    min_chars: Chars = setting(0, "The user's text has at least so many characters.")
    max_chars: Chars | None = setting(None, "It has at most so many.")
    languages: list[Language] = setting([], "It is in one of these languages; see docs/routing.md.")

    @model_validator(mode="after")
    def _check(self) -> "RuleForm":
        if self.max_chars is not None and self.max_chars < self.min_chars:
            raise fault("{given} is below min_chars; no text fits", "max_chars")
        if self.rule == TaskRule():
            raise fault("the rule asks nothing and would take every request; give it a condition, or delete it")
        return self

    @property
    def rule(self) -> TaskRule:
        """The value."""
        return TaskRule(
            tools=self.tools,
            tool_names=tuple(self.tool_names),
            json_schema=self.json_schema,
            schema_names=tuple(self.schema_names),
            image=self.image,
            system_prefix=self.system_prefix or "",
            system_regex=self.system_regex or "",
            user_prefix=self.user_prefix or "",
            user_regex=self.user_regex or "",
            min_chars=self.min_chars,
            max_chars=self.max_chars,
            languages=tuple(self.languages),
        )


class TaskResolutionForm(Form):
    """How the task is told of requests that name none."""

    unknown: Annotated[str, scalars.choice("refuse", "default")] = setting(
        "refuse", "Calls whose header names a task that is not declared: refuse them, or let them have no task."
    )
    system_messages: Annotated[str, scalars.choice(*Turns)] = setting(
        "first", "Which of several messages of system or developer are read: first, last, all."
    )
    user_messages: Annotated[str, scalars.choice(*Turns)] = setting(
        "last", "Which of several messages of the user are read: first, last, all."
    )
    count_prompts: Annotated[str, scalars.choice(*COUNTING)] = setting(
        "auto",
        "Whether system prompts that no task claims are counted by hash, for `farthing tasks list`. auto: where some "
        "task has system_prompts.",
    )
    classifier: Text | None = setting(
        None, "File of the classifier that `farthing tasks train` makes; else task-classifier.json in data_dir."
    )
    examples: ExamplesFile | None = setting(
        None, "Labelled requests that are of no task, file://NAME.jsonl; the classifier learns to leave them alone."
    )
    deadline: Wait = setting(
        "50ms", "How long a call waits for the classifier at most, such as 20ms; then it has no task."
    )
