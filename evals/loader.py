"""Loader: promptfoo-style YAML, JSON or JSON Lines to a Suite; whatever is unknown is an error with its place."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from evals.assertions import read_assertions
from evals.located import Findings, Located, fail, read_jsonl, read_yaml
from evals.prompts import Prompt, read_prompts, resolve_inside
from evals.scalars import (
    read_count,
    read_decimal,
    read_mapping,
    read_name,
    read_number,
    read_seconds,
    read_share,
)
from evals.suite import Item, Limits, Suite
from evals.templates import TemplateError, render, render_value
from farthing.errors import ConfigError

SUITE_KEYS: Final = frozenset(
    {
        "$schema",
        "description",
        "task",
        "task_type",
        "bar",
        "reference",
        "candidates",
        "prompts",
        "tests",
        "defaultTest",
        "limits",
        "max_tokens",
        "temperature",
    }
)
TEST_KEYS: Final = frozenset({"vars", "assert", "description", "metadata", "threshold"})
BAR_KEYS: Final = frozenset({"min_score", "margin_vs_reference", "alpha"})
"""Of these only `min_score` decides today; the others are read by the sequential gate."""
LIMIT_KEYS: Final = frozenset({"max_samples", "budget_usd", "max_age"})
PROMPTFOO_ONLY: Final = {
    "providers": "tiers are evaluated here: name them under `reference` and `candidates`",
    "targets": "tiers are evaluated here: name them under `reference` and `candidates`",
    "scenarios": "write the combinations out under `tests`",
    "evaluateOptions": "write `max_samples` and `budget_usd` under `limits`",
}
DEFAULT_MAX_TOKENS: Final = 256
SUITES: Final = Path(__file__).parent / "suites"
"""The suites that ship with the package."""


def find_suite(name: str) -> Path:
    """The suite's file: `name` is a path, or the name of a packaged suite. Raises ConfigError."""
    path = Path(name)
    if path.is_file():
        return path
    packaged = {file.stem: file for file in sorted(SUITES.iterdir()) if file.suffix in {".yaml", ".jsonl"}}
    if name in packaged:
        return packaged[name]
    raise ConfigError(f"There is no eval suite '{name}': give a file, or one of {', '.join(packaged)}.")


def load_suite(path: Path) -> Suite:
    """The suite in that file (.yaml, .yml, .json, or .jsonl whose first line is the suite without its tests).

    Raises ConfigError with every finding: file, line, field, what to do.
    """
    findings = Findings()
    head, rows = _read(path)
    if not isinstance(head.value, Mapping):
        fail(head, "a suite is a mapping with task, bar, reference, candidates, prompts and tests")
    suite = _suite(head, rows, findings, path.stem)
    findings.raise_if_any()
    return suite


def _read(path: Path) -> tuple[Located, list[Located] | None]:
    """The suite's head, and its tests where they follow it in the same file."""
    if path.suffix == ".jsonl":
        lines = read_jsonl(path)
        if not lines:
            fail(Located(None, path, 1), "is empty: the first line is the suite, each further line a test")
        return lines[0], lines[1:]
    if path.suffix not in {".yaml", ".yml", ".json"}:
        fail(Located(None, path, 1), "a suite is a .yaml, .json or .jsonl file")
    return read_yaml(path), None


def _suite(head: Located, rows: list[Located] | None, findings: Findings, name: str) -> Suite:
    """The suite; where something was found, with stand-ins that nobody gets to see."""
    keys: Mapping[str, Located] = head.value
    _check_keys(keys, findings)
    reference, candidates = _tiers(head, findings)
    suite = Suite(
        name=name,
        task=_task(head, findings),
        bar=_bar(head, findings),
        reference=reference,
        candidates=candidates,
        items=_Items(head, rows, findings).read(),
        description=str(keys["description"].plain()) if "description" in keys else "",
        limits=_limits(keys["limits"], findings) if "limits" in keys else Limits(),
    )
    if not findings.found:
        _check_against_a_constant_answer(keys["bar"], suite, findings)
    return suite


# --- the head ------------------------------------------------------------------------------------


def _check_keys(keys: Mapping[str, Located], findings: Findings) -> None:
    for name, at in keys.items():
        if name in PROMPTFOO_ONLY:
            findings.add(at, f"`{name}` is not used here; {PROMPTFOO_ONLY[name]}")
        elif name not in SUITE_KEYS:
            findings.unknown(at, name, SUITE_KEYS, "key")


def _task(head: Located, findings: Findings) -> str:
    keys = head.value
    if "task" in keys and "task_type" in keys:
        findings.add(keys["task_type"], "give `task` or `task_type`, not both")
    at = keys.get("task") or keys.get("task_type")
    if at is None:
        findings.add(head, "`task` is missing: name the task of config/routing.yaml")
        return ""
    return read_name(at, "a task", findings)


def _bar(head: Located, findings: Findings) -> float:
    at = head.value.get("bar")
    if at is not None and isinstance(at.value, Mapping):
        at = read_mapping(at, BAR_KEYS, findings).get("min_score")
    if at is None:
        findings.add(head.value.get("bar", head), "`bar` is missing: a share such as 0.85, or {min_score: 0.85}")
        return 1.0
    return read_share(at, findings, above_zero=True)


def _tiers(head: Located, findings: Findings) -> tuple[str, tuple[str, ...]]:
    keys = head.value
    candidates = keys.get("candidates", head)
    if not isinstance(candidates.value, list) or not candidates.value:
        findings.add(candidates, "`candidates` is a list of at least one tier, cheapest first")
        return "", ()
    if "reference" not in keys:
        findings.add(head, "`reference` is missing: name the tier that is trusted")
        return "", ()
    reference = read_name(keys["reference"], "a tier", findings)
    names = tuple(read_name(at, "a tier", findings) for at in candidates.value)
    if len({reference, *names}) <= len(names):
        findings.add(candidates, "a tier is named twice among `reference` and `candidates`")
    return reference, names


def _limits(at: Located, findings: Findings) -> Limits:
    given = read_mapping(at, LIMIT_KEYS, findings)
    return Limits(
        max_samples=read_count(given["max_samples"], findings) if "max_samples" in given else None,
        budget_usd=read_decimal(given["budget_usd"], findings) if "budget_usd" in given else None,
        max_age_s=read_seconds(given["max_age"], findings) if "max_age" in given else None,
    )


# --- the items -----------------------------------------------------------------------------------


class _Items:
    """The tests of one suite being read: every prompt with every test is an item."""

    def __init__(self, head: Located, rows: list[Located] | None, findings: Findings) -> None:
        keys = head.value
        self._head, self._findings = head, findings
        self._rows = rows if rows is not None else self._listed(keys.get("tests"))
        self._prompts = read_prompts(keys.get("prompts"), head, findings)
        self._base = read_mapping(keys["defaultTest"], TEST_KEYS, findings) if "defaultTest" in keys else {}
        self._max_tokens = read_count(keys["max_tokens"], findings) if "max_tokens" in keys else DEFAULT_MAX_TOKENS
        self._temperature = read_number(keys["temperature"], findings, most=2) if "temperature" in keys else 0.0
        if rows is not None and "tests" in keys:
            findings.add(keys["tests"], "a .jsonl suite holds its tests in the lines after the first")

    def read(self) -> tuple[Item, ...]:
        """The items; repeated ones are found, because a repeat is not a further piece of evidence."""
        items: dict[str, Item] = {}
        for row in self._rows:
            test = read_mapping(row, TEST_KEYS, self._findings)
            for prompt in self._prompts:
                item = self._item(prompt, row, test)
                if item is not None and items.setdefault(item.hash, item) is not item:
                    self._findings.add(row, "the test repeats an earlier one: remove it")
        if not items:
            self._findings.add(self._head, "the suite has no tests")
        return tuple(items.values())

    def _listed(self, at: Located | None) -> Sequence[Located]:
        if at is not None and isinstance(at.value, str):
            return self._from_file(at)
        if at is None or not isinstance(at.value, list):
            self._findings.add(at or self._head, "`tests` is a list, or file://tests.jsonl")
            return []
        return at.value

    def _from_file(self, at: Located) -> Sequence[Located]:
        path = resolve_inside(at)
        if path.suffix == ".jsonl":
            return read_jsonl(path)
        if path.suffix not in {".yaml", ".yml", ".json"}:
            fail(at, "tests come from .jsonl, .yaml or .json files")
        rows = read_yaml(path)
        if not isinstance(rows.value, list):
            fail(rows, "a file of tests holds a list")
        return rows.value

    def _item(self, prompt: Prompt, row: Located, test: Mapping[str, Located]) -> Item | None:
        variables = {**self._variables(self._base), **self._variables(test)}
        lists = [source["assert"] for source in (test, self._base) if "assert" in source]
        threshold = test.get("threshold") or self._base.get("threshold")
        try:
            return Item(
                messages=tuple(
                    {"role": message["role"], "content": render(message["content"], variables)} for message in prompt
                ),
                assertions=read_assertions(lists, row, self._findings, lambda value: render_value(value, variables)),
                max_tokens=self._max_tokens,
                temperature=self._temperature,
                threshold=read_share(threshold, self._findings) if threshold else None,
            )
        except TemplateError as error:
            self._findings.add(row, str(error))
            return None

    def _variables(self, test: Mapping[str, Located]) -> dict[str, Any]:
        at = test.get("vars")
        if at is None:
            return {}
        if not isinstance(at.value, Mapping):
            self._findings.add(at, "`vars` is a mapping of names to values")
            return {}
        for child in at.value.values():
            if isinstance(child.value, list):
                # promptfoo makes several tests of it; taking it as one text would change the suite's meaning.
                self._findings.add(child, "a list would stand for several tests: write one test for each value")
        return {name: child.plain() for name, child in at.value.items()}


# --- the null model ------------------------------------------------------------------------------


def constant_answer(items: Sequence[Item]) -> tuple[str, float]:
    """The one answer that is right most often where items expect a label or an exact text, and its share of all."""
    wanted: Counter[str] = Counter()
    for item in items:
        texts = {str(check.value).casefold() for check in item.assertions}
        if len(texts) == 1 and all(
            check.type in {"label", "equals"} and not check.negated for check in item.assertions
        ):
            wanted.update(texts)
    if not wanted:
        return "", 0.0
    answer, count = wanted.most_common(1)[0]
    return answer, count / len(items)


def _check_against_a_constant_answer(at: Located, suite: Suite, findings: Findings) -> None:
    """A suite that a model passes by saying one thing to everybody certifies nothing."""
    answer, share = constant_answer(suite.items)
    if len(suite.items) > 1 and share >= suite.bar:
        findings.add(
            at,
            f"the constant answer {answer!r} would score {share:.2f}: raise the bar above it, or balance the tests",
        )
