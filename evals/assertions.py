"""Assertions: the checks of a test, read and proven usable before anything is asked of a model."""

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from evals.graders import CHECKS, REGEX_MAX, schema_fault, to_number
from evals.located import Findings, Located
from evals.scalars import read_decimal, read_mapping, read_number, read_share
from evals.suite import Assertion

KEYS: Final = frozenset({"type", "value", "weight", "threshold", "metric", "labels", "tolerance"})
NOT_YET: Final = frozenset(
    {
        "similar",
        "llm-rubric",
        "factuality",
        "cost",
        "latency",
        "python",
        "javascript",
        "assert-set",
        "model-graded",
    }
)
"""promptfoo's types that are not graded here; silence about them would be a silent pass."""
WEIGHT_MAX: Final = 1000

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
        findings.add(at, f"an assertion has a `type`: one of {', '.join(CHECKS)}")
        return None
    kind = name.removeprefix("not-")
    if kind in NOT_YET:
        findings.add(keys["type"], f"assertions of type {name!r} are not supported yet: remove it")
        return None
    if kind not in CHECKS:
        findings.unknown(keys["type"], name, [*CHECKS, *(f"not-{known}" for known in CHECKS)], "assertion type")
        return None
    return _checked(at, keys, findings, fill, kind=kind, negated=name != kind)


def _checked(
    at: Located, keys: Mapping[str, Located], findings: Findings, fill: Fill, *, kind: str, negated: bool
) -> Assertion:
    labels = fill(keys["labels"].plain()) if "labels" in keys else []
    assertion = Assertion(
        type=kind,
        value=fill(keys["value"].plain()) if "value" in keys else None,
        negated=negated,
        weight=read_number(keys["weight"], findings, most=WEIGHT_MAX) if "weight" in keys else 1.0,
        threshold=read_share(keys["threshold"], findings, above_zero=True) if "threshold" in keys else 1.0,
        labels=tuple(labels) if _are_texts(labels) else (),
        tolerance=read_decimal(keys["tolerance"], findings) if "tolerance" in keys else Decimal(0),
    )
    for name, owner in (("labels", "label"), ("tolerance", "final-number")):
        if name in keys and kind != owner:
            findings.add(keys[name], f"`{name}` belongs to {owner} only")
    fault = _FAULTS[kind](assertion)
    if fault:
        findings.add(keys.get("value", at), f"{kind}: {fault}")
    return assertion


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) and text for text in value)


def _text_fault(assertion: Assertion) -> str:
    if isinstance(assertion.value, (int, float)) and not isinstance(assertion.value, bool):
        return ""
    return "" if isinstance(assertion.value, str) and assertion.value else "`value` is a text that is not empty"


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


_FAULTS: Final[Mapping[str, Callable[[Assertion], str]]] = {
    "contains": _text_fault,
    "contains-all": _list_fault,
    "contains-any": _list_fault,
    "contains-json": _json_fault,
    "equals": _text_fault,
    "final-number": _number_fault,
    "icontains": _text_fault,
    "is-json": _json_fault,
    "label": _label_fault,
    "regex": _regex_fault,
    "starts-with": _text_fault,
}
