"""Items: the tests of a suite with each of its prompts, read and told from one another."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from evals.assertions import NO_FILE, read_assertions
from evals.located import Findings, Located, fail, read_jsonl, read_yaml
from evals.prompts import FILE, Prompt, read_prompts, resolve_inside
from evals.scalars import read_count, read_mapping, read_number, read_share
from evals.suite import NO_CLUSTER, Item, digest
from evals.templates import TemplateError, render, render_value
from evals.toolchecks import tools_fault

MODE_KEYS: Final = frozenset({"tools", "tool_choice", "response_format"})
"""How a model is asked; a test's own go before the suite's."""
TEST_KEYS: Final = frozenset({"id", "vars", "assert", "description", "metadata", "threshold"}) | MODE_KEYS
RESPONSE_FORMATS: Final = ("text", "json_object", "json_schema")
DEFAULT_MAX_TOKENS: Final = 256
REPEAT_MAX: Final = 20


def read_items(head: Located, rows: list[Located] | None, findings: Findings) -> tuple[Item, ...]:
    """The suite's items: every prompt with every test, as often as `repeat` says. `rows` are the tests where they
    follow the head in the same file."""
    return _Items(head, rows, findings).read()


class _Items:
    """The tests of one suite being read."""

    def __init__(self, head: Located, rows: list[Located] | None, findings: Findings) -> None:
        keys = head.value
        self._head, self._findings = head, findings
        self._rows = rows if rows is not None else self._listed(keys.get("tests"))
        self._prompts = read_prompts(keys.get("prompts"), head, findings)
        self._base = read_mapping(keys["defaultTest"], TEST_KEYS, findings) if "defaultTest" in keys else {}
        self._mode = {**_mode(keys, findings), **_mode(self._base, findings)}
        self._max_tokens = read_count(keys["max_tokens"], findings) if "max_tokens" in keys else DEFAULT_MAX_TOKENS
        self._temperature = read_number(keys["temperature"], findings, most=2) if "temperature" in keys else 0.0
        self._repeats = read_count(keys["repeat"], findings, most=REPEAT_MAX) if "repeat" in keys else 1
        if rows is not None and "tests" in keys:
            findings.add(keys["tests"], "a .jsonl suite holds its tests in the lines after the first")

    def read(self) -> tuple[Item, ...]:
        """The items; repeated ones are found, because a repeat is not a further piece of evidence."""
        items: dict[str, Item] = {}
        ids: dict[str, Located] = {}
        for row in self._rows:
            test = read_mapping(row, TEST_KEYS, self._findings)
            self._check_id(test, ids)
            for prompt in self._prompts:
                item = self._item(prompt, row, test)
                if item is not None and items.setdefault(item.hash, item) is not item:
                    self._findings.add(row, "the test repeats an earlier one: remove it")
        if not items:
            self._findings.add(self._head, "the suite has no tests")
        return tuple(one for item in items.values() for one in _repeated(item, self._repeats))

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

    def _check_id(self, test: Mapping[str, Located], ids: dict[str, Located]) -> None:
        """A test's own id, or that of its metadata, names it in reports: two of a name could not be told apart."""
        at = test.get("id") or _metadata(test, self._findings).get("id")
        if at is None:
            return
        earlier = ids.setdefault(str(at.value), at)
        if earlier is not at:
            self._findings.add(at, f"the id {at.value!r} is that of line {earlier.line} too: give each test its own")

    def _item(self, prompt: Prompt, row: Located, test: Mapping[str, Located]) -> Item | None:
        variables = {**self._variables(self._base), **self._variables(test)}
        lists = [source["assert"] for source in (test, self._base) if "assert" in source]
        threshold = test.get("threshold") or self._base.get("threshold")
        try:
            item = Item(
                messages=tuple(
                    {"role": message["role"], "content": render(message["content"], variables)} for message in prompt
                ),
                assertions=read_assertions(lists, row, self._findings, lambda value: render_value(value, variables)),
                max_tokens=self._max_tokens,
                temperature=self._temperature,
                threshold=read_share(threshold, self._findings) if threshold else None,
                extras={**self._mode, **_mode(test, self._findings)},
                cluster=_cluster(test, self._findings),
            )
        except TemplateError as error:
            self._findings.add(row, str(error))
            return None
        self._check_tools(item, row)
        return item

    def _check_tools(self, item: Item, row: Located) -> None:
        if "tools" not in item.extras and any("tool" in each.type for one in item.assertions for each in one.each()):
            self._findings.add(row, "the test asserts a tool call, but offers no `tools`: give them here or above")

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
            elif str(child.value).startswith(FILE):
                self._findings.add(child, NO_FILE)
        return {name: child.plain() for name, child in at.value.items()}


def _repeated(item: Item, count: int) -> list[Item]:
    """The item and its repeats: one piece of evidence, however often it is asked."""
    if count == 1:
        return [item]
    return [replace(item, cluster=item.evidence, repeat=number) for number in range(count)]


def _metadata(test: Mapping[str, Located], findings: Findings) -> Mapping[str, Located]:
    at = test.get("metadata")
    if at is None:
        return {}
    if not isinstance(at.value, Mapping):
        findings.add(at, "`metadata` is a mapping")
        return {}
    return at.value


def _cluster(test: Mapping[str, Located], findings: Findings) -> str:
    """What the test says that it comes from. Hashed, so that no document's name travels further than the suite."""
    metadata = _metadata(test, findings)
    at = metadata.get("document") or metadata.get("cluster")
    return NO_CLUSTER if at is None else digest(at.plain())


def _mode(keys: Mapping[str, Located], findings: Findings) -> dict[str, Any]:
    for name, fault_of in (("tools", tools_fault), ("tool_choice", _choice_fault), ("response_format", _format_fault)):
        if name in keys and (fault := fault_of(keys[name].plain())):
            findings.add(keys[name], f"`{name}`: {fault}")
    return {name: keys[name].plain() for name in sorted(MODE_KEYS) if name in keys}


def _choice_fault(choice: Any) -> str:
    fine = choice in ("auto", "none", "required") if isinstance(choice, str) else isinstance(choice, Mapping)
    return "" if fine else "auto, none, required, or {type: function, function: {name}} is wanted here"


def _format_fault(wanted: Any) -> str:
    fine = isinstance(wanted, Mapping) and wanted.get("type") in RESPONSE_FORMATS
    return "" if fine else f"a mapping with a `type` is wanted here: {', '.join(RESPONSE_FORMATS)}"
