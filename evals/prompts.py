"""Prompts: the templates of a suite, as chat messages."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from evals.located import Findings, Located, fail, read_text

FILE: Final = "file://"
ROLES: Final = frozenset({"system", "developer", "user", "assistant"})

Message = Mapping[str, str]
Prompt = tuple[Message, ...]
"""Chat messages whose contents are templates."""


def read_prompts(at: Located | None, head: Located, findings: Findings) -> list[Prompt]:
    """The suite's prompts: texts, file:// texts (in .txt split at lines of ---), chat JSON or lists of messages."""
    if at is None:
        findings.add(head, "`prompts` is missing: a list of texts with {{variables}}, or of file://prompt.txt")
        return []
    entries = at.value if isinstance(at.value, list) else [at]
    return [prompt for entry in entries for prompt in _prompts(entry, findings)]


def resolve_inside(at: Located) -> Path:
    """The file that `file://name` means, next to the suite. Raises ConfigError if it lies outside that folder."""
    folder = at.file.parent.resolve()
    if not str(at.value).startswith(FILE) or "\0" in str(at.value):
        fail(at, "a file is named as file://name, relative to the suite's folder")
    path = (folder / str(at.value).removeprefix(FILE)).resolve()
    if not path.is_relative_to(folder):
        fail(at, "the file lies outside the suite's folder: move it there")
    return path


def _prompts(entry: Located, findings: Findings) -> list[Prompt]:
    if isinstance(entry.value, list):
        return [_chat(entry, entry.plain(), findings)]
    if not isinstance(entry.value, str):
        findings.add(entry, "a prompt is a text, file://name, or a list of messages")
        return []
    if not entry.value.startswith(FILE):
        return [_from_text(entry, entry.value, findings)]
    path = resolve_inside(entry)
    text = read_text(path)
    texts = text.split("\n---\n") if path.suffix == ".txt" else [text]
    return [_from_text(entry, part.strip("\n"), findings) for part in texts]


def _from_text(at: Located, text: str, findings: Findings) -> Prompt:
    """One user message, or the messages where the text is a chat in JSON."""
    if text.lstrip().startswith("[{") or text.lstrip().startswith("[\n"):
        try:
            return _chat(at, json.loads(text), findings)
        except ValueError as error:
            findings.add(at, f"looks like a chat in JSON, but is not: {error}")
    if not text.strip():
        findings.add(at, "the prompt is empty")
    return ({"role": "user", "content": text},)


def _chat(at: Located, messages: object, findings: Findings) -> Prompt:
    if not isinstance(messages, list) or not messages or not all(_is_message(message) for message in messages):
        findings.add(at, f"messages are {{role, content}}; content is text, role one of {', '.join(sorted(ROLES))}")
        return ()
    return tuple({"role": message["role"], "content": message["content"]} for message in messages)


def _is_message(message: object) -> bool:
    return (
        isinstance(message, Mapping)
        and set(message) == {"role", "content"}
        and isinstance(message["role"], str)
        and message["role"] in ROLES
        and isinstance(message["content"], str)
    )
