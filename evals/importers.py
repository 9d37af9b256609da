"""Importers: samples of OpenAI evals, inspect and promptfoo to a suite of ours, all of it or nothing."""

import json
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from evals.loader import PROMPTFOO_ONLY, load_suite
from evals.located import Findings, Located, fail, read_jsonl, read_yaml
from evals.prompts import ROLES
from evals.textchecks import to_number
from farthing.errors import ConfigError

HOWS: Final = ("begins", "equals", "icontains", "includes", "normalized", "number")
"""How an answer is held against the wanted one: the words of `--how`."""
UNSUPPORTED: Final = ("sandbox", "files", "setup")
"""Parts of an inspect sample without which it is another question."""
EXAMPLES: Final = {"example_user": "user", "example_assistant": "assistant"}
"""Names that OpenAI evals gives to system messages that are examples."""
MARKS: Final = ("{{", "{%", "{#")
LETTERS: Final = string.ascii_uppercase

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What no sample says: the suite's task, what is to be shown, and the tiers. `how` is one of HOWS, or empty for
    the format's own."""

    task: str
    reference: str
    candidates: tuple[str, ...]
    bar: float | None = None
    margin: float | None = None
    max_tokens: int = 256
    how: str = ""

    def keys(self) -> dict[str, Any]:
        """The suite without its prompts and tests."""
        marks = {name: value for name, value in (("bar", self.bar), ("margin", self.margin)) if value is not None}
        tiers = {"reference": self.reference, "candidates": list(self.candidates)}
        return {"task": self.task, **marks, **tiers, "max_tokens": self.max_tokens, "temperature": 0}


def import_suite(kind: str, source: Path, target: Path, head: Head) -> int:
    """Write the suite that the samples make, and give its number of items.

    Raises ConfigError with every finding and its line; then, and where `target` exists, nothing is written.
    """
    if kind not in FORMATS:
        raise ConfigError(f"There is no format '{kind}': known are {', '.join(FORMATS)}.")
    if head.how and head.how not in HOWS:
        raise ConfigError(f"There is no --how {head.how}: known are {', '.join(HOWS)}.")
    if target.suffix != ".yaml":
        raise ConfigError(f"{target} must end in .yaml.")
    text = FORMATS[kind](source, head)
    draft = target.with_name(f".{target.stem}.draft.yaml")
    try:
        draft.write_text(text, encoding="utf-8")
        suite = load_suite(draft, may_promote=False, allow_code=True)
        target.hardlink_to(draft)
    except FileExistsError:
        raise ConfigError(f"{target} exists: remove it, or name another file with -o.") from None
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror}.") from None
    except ConfigError as error:
        raise ConfigError(error.message.replace(str(draft), f"(what would be {target})")) from None
    finally:
        draft.unlink(missing_ok=True)
    return len(suite.items)


# --- samples -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sample:
    """One sample as a test: chat messages, and its assertion."""

    messages: tuple[tuple[str, str], ...]
    wanted: str | None
    assertion: Row
    id: str = ""


def _openai(source: Path, head: Head) -> str:
    return _written(source, head, lambda row, findings: _openai_sample(row, head.how or "begins", findings))


def _inspect(source: Path, head: Head) -> str:
    return _written(source, head, lambda row, findings: _inspect_sample(row, head.how or "normalized", findings))


def _openai_sample(row: Located, how: str, findings: Findings) -> _Sample | None:
    """{input: text or chat, ideal: text or texts}; more of it describes and is left out."""
    keys = _keys(row, ("input", "ideal"), findings)
    if keys is None:
        return None
    messages, texts = _messages(keys["input"], findings), _texts(keys["ideal"], findings)
    return _sample(row, messages, texts, how, findings)


def _inspect_sample(row: Located, how: str, findings: Findings) -> _Sample | None:
    """{input, target, choices, id}; where there are choices, the target is the letter of one."""
    keys = _keys(row, ("input", "target"), findings)
    if keys is None:
        return None
    for name in UNSUPPORTED:
        if name in keys:
            findings.add(keys[name], f"samples with `{name}` are not supported: the question would be another one")
    messages, texts = _messages(keys["input"], findings), _texts(keys["target"], findings)
    name = str(keys["id"].value) if "id" in keys else ""
    if "choices" in keys:
        return _choice(row, messages, texts, _texts(keys["choices"], findings), name, findings)
    return _sample(row, messages, texts, how, findings, name)


def _keys(row: Located, names: Sequence[str], findings: Findings) -> Mapping[str, Located] | None:
    if not isinstance(row.value, Mapping) or any(name not in row.value for name in names):
        findings.add(row, f"a sample has {' and '.join(f'`{name}`' for name in names)}")
        return None
    return row.value


def _messages(at: Located, findings: Findings) -> tuple[tuple[str, str], ...]:
    value = at.plain()
    messages = [{"role": "user", "content": value}] if isinstance(value, str) else value
    if not isinstance(messages, list) or not messages or not all(_is_message(message) for message in messages):
        findings.add(
            at, f"`input` is a text, or messages of {{role, content}} with a role of {', '.join(sorted(ROLES))}"
        )
        return ()
    return tuple((EXAMPLES.get(str(one.get("name")), one["role"]), one["content"]) for one in messages)


def _is_message(message: Any) -> bool:
    if not isinstance(message, Mapping) or message.keys() - {"role", "content", "name", "id", "source"}:
        return False
    return message.get("role") in ROLES and isinstance(message.get("content"), str)


def _texts(at: Located, findings: Findings) -> list[str]:
    values = at.plain() if isinstance(at.value, list) else [at.plain()]
    fine = values and all(isinstance(one, (str, int, float)) and not isinstance(one, bool) for one in values)
    texts = [str(one) for one in values] if fine else []
    if not texts or not all(text.strip() for text in texts):
        findings.add(at, "a text, or a list of texts that are not empty, is wanted here")
    return texts


def _sample(
    row: Located, messages: tuple[tuple[str, str], ...], texts: list[str], how: str, findings: Findings, name: str = ""
) -> _Sample | None:
    if not messages or not texts:
        return None
    if how == "number" and (len(texts) > 1 or to_number(texts[0]) is None):
        findings.add(row, "the wanted answer is no number: give another --how")
    if len(texts) == 1:
        return _Sample(messages, texts[0], {"type": _TYPES[how], "value": "{{wanted}}"}, name)
    if any(mark in text for text in texts for mark in MARKS):
        findings.add(row, "one of several wanted answers holds {{, {% or {#, which a suite would fill in")
    return _Sample(messages, None, _any_of(_TYPES[how], texts), name)


_TYPES: Final = {
    "begins": "starts-with",
    "equals": "equals",
    "icontains": "icontains",
    "includes": "contains",
    "normalized": "normalized",
    "number": "final-number",
}


def _any_of(kind: str, texts: list[str]) -> Row:
    """An assertion that holds where one of the texts is what is wanted."""
    if kind in {"contains", "icontains"}:
        return {"type": f"{kind}-any", "value": texts}
    if kind == "normalized":
        return {"type": kind, "value": texts}
    return {
        "type": "assert-set",
        "threshold": 1 / len(texts),
        "assert": [{"type": kind, "value": one} for one in texts],
    }


def _choice(
    row: Located,
    messages: tuple[tuple[str, str], ...],
    targets: list[str],
    choices: list[str],
    name: str,
    findings: Findings,
) -> _Sample | None:
    """A question with lettered choices, answered by a letter."""
    letters = LETTERS[: len(choices)]
    if len(choices) > len(LETTERS) or len(targets) != 1 or targets[0].strip() not in letters or not messages:
        findings.add(row, f"`target` is the letter of one choice: one of {', '.join(letters)}")
        return None
    *before, (role, question) = messages
    listed = "\n".join(f"{letter}) {choice}" for letter, choice in zip(letters, choices, strict=True))
    asked = f"{question}\n\n{listed}\n\nEnd with the letter of the right choice alone, written as ANSWER: LETTER"
    letter = targets[0].strip()
    return _Sample((*before, (role, asked)), None, {"type": "regex", "value": rf"(?i)ANSWER\W+{letter}\b\W*\Z"}, name)


# --- the suite -----------------------------------------------------------------------------------


def _written(source: Path, head: Head, read: Callable[[Located, Findings], _Sample | None]) -> str:
    findings = Findings()
    samples: dict[_Told, _Sample] = {}
    rows = read_jsonl(source)
    for row in rows:
        sample = read(row, findings)
        if sample is not None:
            _add(row, sample, samples, findings)
    if not rows:
        fail(Located(None, source, 1), "is empty: each line is a sample")
    findings.raise_if_any()
    return "\n".join(_lines(head, list(samples.values())))


_Told = tuple[tuple[tuple[str, str], ...], str]
"""By which samples are told from one another: their messages and what is wanted."""


def _add(row: Located, sample: _Sample, samples: dict[_Told, _Sample], findings: Findings) -> None:
    """Take the sample in; one that was there already is no further evidence, and left out."""
    first = next(iter(samples.values()), sample)
    roles, others = _roles(sample), _roles(first)
    if roles != others:
        findings.add(row, f"its messages are {roles}, those of the first sample {others}: import them apart")
    samples.setdefault((sample.messages, f"{sample.wanted} {json.dumps(sample.assertion)}"), sample)


def _roles(sample: _Sample) -> str:
    return ", ".join(role for role, _ in sample.messages)


def _lines(head: Head, samples: Sequence[_Sample]) -> Iterator[str]:
    """The suite as YAML, each value as JSON, which is YAML."""
    for name, value in head.keys().items():
        yield f"{name}: {_json(value)}"
    roles = [role for role, _ in samples[0].messages]
    prompt = [{"role": role, "content": f"{{{{message_{number}}}}}"} for number, role in enumerate(roles)]
    yield f"prompts: {_json([prompt])}"
    yield "tests:"
    for sample in samples:
        variables = {f"message_{number}": content for number, (_, content) in enumerate(sample.messages)}
        wanted = {} if sample.wanted is None else {"wanted": sample.wanted}
        named = {"id": sample.id} if sample.id else {}
        yield f"  - {_json({**named, 'vars': {**variables, **wanted}, 'assert': [sample.assertion]})}"
    yield ""


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)


def _promptfoo(source: Path, head: Head) -> str:
    """promptfoo's own configuration with a head of ours; what names its providers is left out."""
    read = read_yaml(source)
    if not isinstance(read.value, Mapping):
        fail(read, "a promptfoo configuration is a mapping with prompts and tests")
    kept = {name: at.plain() for name, at in read.value.items() if name not in PROMPTFOO_ONLY}
    return yaml.safe_dump({**head.keys(), **kept}, sort_keys=False, allow_unicode=True)


FORMATS: Final[Mapping[str, Callable[[Path, Head], str]]] = {
    "inspect": _inspect,
    "openai-evals": _openai,
    "promptfoo": _promptfoo,
}
