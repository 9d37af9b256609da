"""Assertions: the checks of a test, read and proven usable before anything is asked of a model."""

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from evals.graders import GRADERS, UNTURNED
from evals.jsonchecks import schema_fault
from evals.located import Findings, Located
from evals.prompts import FILE
from evals.sandbox import fault_of_tests
from evals.scalars import read_decimal, read_mapping, read_number, read_share
from evals.suite import Assertion
from evals.textchecks import REGEX_MAX, to_number
from evals.toolchecks import wanted_fault

KEYS: Final = frozenset(
    {"type", "value", "weight", "threshold", "metric", "labels", "tolerance", "relative_tolerance", "assert"}
)
OWNERS: Final = {
    "labels": "label",
    "tolerance": "final-number",
    "relative_tolerance": "final-number",
    "assert": "assert-set",
}
"""Keys that one type alone has."""
LIMITS: Final = {"cost": "USD", "latency": "milliseconds"}
"""Types whose threshold is a limit in that unit, as in promptfoo, and no score."""
NOT_HERE: Final = {
    "python": "an answer's code is run by `code`, and code of the suite's own by nobody: write out what is wanted",
    "javascript": "write out what is wanted, with `equals`, `is-json` or `code`",
    "webhook": "write out what is wanted, with `equals`, `is-json` or `code`",
    "model-graded-closedqa": "write a rubric with `llm-rubric`",
    "model-graded-factuality": "write a rubric with `llm-rubric`",
    "factuality": "write a rubric with `llm-rubric`",
    "answer-relevance": "write a rubric with `llm-rubric`",
    "g-eval": "write a rubric with `llm-rubric`",
}
"""promptfoo's types that are not graded here; silence about them would be a silent pass."""
WEIGHT_MAX: Final = 1000
SIMILAR: Final = 0.75
"""The cosine from which texts are similar where a suite does not say; promptfoo's."""

NO_FILE: Final = "is not read from a file here, and would be taken as it stands: write the value itself"
"""promptfoo would read it."""

Fill = Callable[[Any], Any]
"""Renders the templates inside a value."""


def read_assertions(lists: Sequence[Located], test: Located, findings: Findings, fill: Fill) -> tuple[Assertion, ...]:
    """The assertions of a test: its own and those of defaultTest. Raises TemplateError."""
    entries: list[Located] = []
    for at in lists:
        if isinstance(at.value, list):
            entries += at.value
        else:
            findings.add(at, "`assert` is a list of {type, value}")
    found = [assertion for at in entries if (assertion := _assertion(at, findings, fill)) is not None]
    if not entries:
        findings.add(test, "the test asserts nothing: give `assert` here or in defaultTest")
    elif found and sum(assertion.weight for assertion in found) <= 0:
        findings.add(test, "the assertions weigh nothing: give one a weight above 0")
    return tuple(found)


def _assertion(at: Located, findings: Findings, fill: Fill) -> Assertion | None:
    keys = read_mapping(at, KEYS, findings)
    name = keys["type"].value if "type" in keys else None
    if not isinstance(name, str):
        findings.add(at, f"an assertion has a `type`: one of {', '.join(GRADERS)}")
        return None
    kind = name.removeprefix("not-")
    if kind in NOT_HERE:
        findings.add(keys["type"], f"assertions of type {name!r} are not supported: {NOT_HERE[kind]}")
        return None
    if kind not in GRADERS:
        findings.unknown(keys["type"], name, [*GRADERS, *(f"not-{known}" for known in GRADERS)], "assertion type")
        return None
    if name != kind and kind in UNTURNED:
        findings.add(keys["type"], f"{kind} cannot be turned round")
        return None
    return _checked(at, keys, findings, fill, kind=kind, negated=name != kind)


def _checked(
    at: Located, keys: Mapping[str, Located], findings: Findings, fill: Fill, *, kind: str, negated: bool
) -> Assertion:
    labels = fill(keys["labels"].plain()) if "labels" in keys else []
    assertion = Assertion(
        type=kind,
        value=_value(at, keys, findings, fill, kind),
        negated=negated,
        weight=read_number(keys["weight"], findings, most=WEIGHT_MAX) if "weight" in keys else 1.0,
        threshold=_threshold(keys, findings, kind),
        labels=tuple(labels) if _are_texts(labels) else (),
        tolerance=read_decimal(keys["tolerance"], findings) if "tolerance" in keys else Decimal(0),
        relative=read_decimal(keys["relative_tolerance"], findings) if "relative_tolerance" in keys else Decimal(0),
        inner=read_assertions([keys["assert"]], at, findings, fill) if "assert" in keys else (),
        place=f"{at.file}:{at.line}",
    )
    for name, owner in OWNERS.items():
        if name in keys and kind != owner:
            findings.add(keys[name], f"`{name}` belongs to {owner} only")
    fault = _FAULTS[kind](assertion)
    if fault:
        findings.add(keys.get("value", at), f"{kind}: {fault}")
    return assertion


def _value(at: Located, keys: Mapping[str, Located], findings: Findings, fill: Fill, kind: str) -> Any:
    if kind not in LIMITS:
        if "value" in keys and str(keys["value"].value).startswith(FILE):
            findings.add(keys["value"], NO_FILE)
        return fill(keys["value"].plain()) if "value" in keys else None
    if "threshold" in keys and "value" not in keys:
        return read_decimal(keys["threshold"], findings)
    findings.add(at, f"{kind}: give the most it may be, in {LIMITS[kind]}, as `threshold`, and no `value`")
    return Decimal(0)


def _threshold(keys: Mapping[str, Located], findings: Findings, kind: str) -> float:
    if kind == "select-best" and "threshold" in keys:
        findings.add(keys["threshold"], "select-best has no threshold: it scores 1, or 0.5 for a tie, or 0")
    if kind in LIMITS or "threshold" not in keys:
        return SIMILAR if kind == "similar" else 1.0
    return read_share(keys["threshold"], findings, above_zero=True)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) and text for text in value)


def _no_fault(assertion: Assertion) -> str:
    del assertion
    return ""


def _text_fault(assertion: Assertion) -> str:
    if isinstance(assertion.value, (int, float)) and not isinstance(assertion.value, bool):
        return ""
    return "" if isinstance(assertion.value, str) and assertion.value else "`value` is a text that is not empty"


def _text_or_json_fault(assertion: Assertion) -> str:
    if isinstance(assertion.value, (Mapping, list)):
        return ""
    return _text_fault(assertion) and "`value` is a text that is not empty, or a mapping or list to be equal as JSON"


def _text_or_texts_fault(assertion: Assertion) -> str:
    return _list_fault(assertion) if isinstance(assertion.value, list) else _text_fault(assertion)


def _list_fault(assertion: Assertion) -> str:
    fine = _are_texts(assertion.value) and assertion.value
    return "" if fine else "`value` is a list of texts that are not empty"


def _regex_fault(assertion: Assertion) -> str:
    if not isinstance(assertion.value, str) or not assertion.value:
        return "`value` is a pattern"
    if len(assertion.value) > REGEX_MAX:
        return f"a pattern has at most {REGEX_MAX} characters"
    try:
        re.compile(assertion.value)
    except (re.error, RecursionError, OverflowError) as error:
        return f"is not a valid pattern: {error}"
    return ""


def _json_fault(assertion: Assertion) -> str:
    return "" if assertion.value is None else schema_fault(assertion.value)


def _label_fault(assertion: Assertion) -> str:
    if len(assertion.labels) < 2:
        return "`labels` is a list of at least two texts"
    if str(assertion.value).casefold() not in {label.casefold() for label in assertion.labels}:
        return f"`value` is one of the labels {', '.join(assertion.labels)}"
    return ""


def _number_fault(assertion: Assertion) -> str:
    return "" if to_number(str(assertion.value)) is not None else "`value` is a number"


def _code_fault(assertion: Assertion) -> str:
    return fault_of_tests(assertion.value)


def _rubric_fault(assertion: Assertion) -> str:
    fine = assertion.value is None or (isinstance(assertion.value, str) and assertion.value.strip())
    return "" if fine else "`value` is the rubric, a text; without it the judge's own is used"


def _set_fault(assertion: Assertion) -> str:
    return "" if assertion.inner else "`assert` is a list of the assertions in the set"


def _calls_fault(assertion: Assertion) -> str:
    return wanted_fault(assertion.value)


_FAULTS: Final[Mapping[str, Callable[[Assertion], str]]] = {
    "assert-set": _set_fault,
    "code": _code_fault,
    "contains": _text_fault,
    "contains-all": _list_fault,
    "contains-any": _list_fault,
    "contains-json": _json_fault,
    "cost": _no_fault,
    "equals": _text_or_json_fault,
    "final-number": _number_fault,
    "icontains": _text_fault,
    "icontains-all": _list_fault,
    "icontains-any": _list_fault,
    "is-json": _json_fault,
    "is-valid-openai-tools-call": _no_fault,
    "label": _label_fault,
    "latency": _no_fault,
    "llm-rubric": _rubric_fault,
    "normalized": _text_or_texts_fault,
    "regex": _regex_fault,
    "select-best": _rubric_fault,
    "similar": _text_or_texts_fault,
    "starts-with": _text_fault,
    "tool-call": _calls_fault,
}
