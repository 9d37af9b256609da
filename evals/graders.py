"""Graders: what each type of assertion measures, and the pure ones from an answer to a score and a reason.

A reason is in words of the suite and quotes nothing of the answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from types import MappingProxyType
from typing import Final

from evals import jsonchecks, textchecks, toolchecks
from evals.answers import GradedAnswer
from evals.suite import Assertion, Item, Suite, digest
from evals.verdictforms import VERSION as FORMS
from farthing.money import ZERO, Nano, nano_from_usd

TEXT_MAX: Final = 100_000
"""Characters of an output that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """A score in [0, 1] and why, in words of the suite: never the model's.

    `score` is None where the item could not be graded: `error` says why, with the assertion's file and line. Such an
    item counts as unanswered, never as passed. `cost` is what grading cost, nano-dollars.
    """

    score: float | None
    reason: str = ""
    error: str = ""
    cost: Nano = ZERO


Check = Callable[[Assertion, GradedAnswer], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grader:
    """One type of assertion. `metric` is what its mean is called; `error` the share of its grades that are wrong by
    the grader's own doing (None: to be measured, as a judge's against gold). A change of what it does is a new
    `version`."""

    metric: str
    error: float | None = 0.0
    version: int = 1
    check: Check | None = None


def _exact(check: Check) -> Grader:
    return Grader(metric="accuracy", check=check)


def _within(check: Check) -> Grader:
    return Grader(metric="within limit", check=check)


def _cost(assertion: Assertion, answer: GradedAnswer) -> float:
    return float(answer.cost <= nano_from_usd(assertion.value))


def _latency(assertion: Assertion, answer: GradedAnswer) -> float:
    if answer.latency_s is None:
        raise Ungraded("nobody knows how long the answer took")
    return float(answer.latency_s * 1_000 <= float(assertion.value))


GRADERS: Final[Mapping[str, Grader]] = MappingProxyType(
    {
        "assert-set": Grader(metric="accuracy"),
        "code": Grader(metric="pass@1"),
        "contains": _exact(textchecks.contains),
        "contains-all": _exact(textchecks.contains_all),
        "contains-any": _exact(textchecks.contains_any),
        "contains-json": _exact(jsonchecks.contains_json),
        "cost": _within(_cost),
        "equals": _exact(jsonchecks.equals),
        "final-number": _exact(textchecks.is_final_number),
        "icontains": _exact(textchecks.icontains),
        "icontains-all": _exact(textchecks.icontains_all),
        "icontains-any": _exact(textchecks.icontains_any),
        "is-json": _exact(jsonchecks.is_json),
        "is-valid-openai-tools-call": Grader(metric="accuracy"),
        "label": _exact(textchecks.label),
        "latency": _within(_latency),
        "llm-rubric": Grader(metric="share that meets the rubric", error=None, version=FORMS),
        "normalized": _exact(textchecks.normalized),
        "regex": _exact(textchecks.regex),
        "select-best": Grader(metric="preference over the reference", error=None, version=FORMS),
        "similar": Grader(metric="similarity", error=None),
        "starts-with": _exact(textchecks.starts_with),
        "tool-call": _exact(toolchecks.tool_call),
    }
)
"""Assertion types by name; `not-` may stand before any but those of UNTURNED."""
ASKING: Final = frozenset({"code", "llm-rubric", "select-best", "similar"})
"""Those that ask a model or run a process, and so want evals.grading."""
JUDGED: Final = frozenset({"llm-rubric", "select-best"})
MEASURED: Final = frozenset({"cost", "latency"})
"""Those that grade the call: an answer from a cache cost nothing and took no time."""
UNTURNED: Final = frozenset({"assert-set", "select-best"})


class Ungraded(Exception):
    """No grade could be found; the message says why and quotes nothing of the answer."""


def grade(item: Item, output: str) -> Grade:
    """The grade of a text, where none of the item's assertions has to ask anybody."""
    answer = GradedAnswer(text=output[:TEXT_MAX])
    return combine(item, [(assertion, grade_assertion(assertion, answer, item)) for assertion in item.assertions])


def combine(item: Item, grades: Sequence[tuple[Assertion, Grade]]) -> Grade:
    """The weighted mean of the assertions' grades; with an item threshold 1 from there on, else 0. Without a score
    where one of them has none."""
    cost = Nano(sum(found.cost for _, found in grades))
    errors = [found.error for _, found in grades if found.score is None]
    if errors:
        return Grade(score=None, error="; ".join(errors), cost=cost)
    score = weighted(grades)
    if item.threshold is not None:
        score = float(score >= item.threshold)
    return Grade(score=score, reason="; ".join(found.reason for _, found in grades if found.reason), cost=cost)


def weighted(grades: Sequence[tuple[Assertion, Grade]]) -> float:
    """The weighted mean of the scores, all of which are known."""
    total = fsum(assertion.weight for assertion, _ in grades)
    return fsum(assertion.weight * (found.score or 0.0) for assertion, found in grades) / total


def grade_assertion(assertion: Assertion, answer: GradedAnswer, item: Item | None = None) -> Grade:
    """1 if the assertion holds, else 0 with its name. A raw score holds from the assertion's threshold on.

    A check that raises gives no score, and says where the assertion stands.
    """
    try:
        return settle(assertion, _raw(assertion, answer, item))
    except Ungraded as refusal:
        return failed(assertion, str(refusal))
    except Exception as error:  # noqa: BLE001 - a grader that breaks is an item without a grade, not a lost run
        return failed(assertion, f"the grader broke: {type(error).__name__}")


def settle(assertion: Assertion, raw: float) -> Grade:
    """The grade that a raw score means; a preference is its own score, since a tie is neither won nor lost."""
    if assertion.type == "select-best":
        return Grade(score=raw, reason="" if raw >= 1 else f"{assertion.name}: not better than the reference")
    if (raw >= assertion.threshold) is not assertion.negated:
        return Grade(score=1.0)
    return Grade(score=0.0, reason=f"{assertion.name} does not hold")


def failed(assertion: Assertion, why: str, cost: Nano = ZERO) -> Grade:
    """The grade of an assertion that could not be graded."""
    return Grade(score=None, error=f"{assertion.place}: {assertion.name}: {why}".removeprefix(": "), cost=cost)


def _raw(assertion: Assertion, answer: GradedAnswer, item: Item | None) -> float:
    if assertion.type == "assert-set":
        return _of_set(assertion, answer, item)
    if assertion.type == "is-valid-openai-tools-call":
        return toolchecks.valid_tools_call(item.extras.get("tools", ()) if item else (), answer)
    check = GRADERS[assertion.type].check
    if check is None:
        raise Ungraded("somebody has to be asked")
    return check(assertion, answer)


def _of_set(assertion: Assertion, answer: GradedAnswer, item: Item | None) -> float:
    grades = [(inner, grade_assertion(inner, answer, item)) for inner in assertion.inner]
    for _, found in grades:
        if found.score is None:
            raise Ungraded(found.error)
    return weighted(grades)


# --- what a suite is graded by -------------------------------------------------------------------


def graders_of(suite: Suite) -> tuple[str, ...]:
    """The types of assertion that the suite uses, those inside sets too, sorted."""
    return tuple(sorted({each.type for item in suite.items for one in item.assertions for each in one.each()}))


def metric_of(suite: Suite) -> str:
    """What the suite's score is called on a report."""
    return ", ".join(sorted({GRADERS[name].metric for name in graders_of(suite)}))


def grader_key(suite: Suite) -> str:
    """SHA-256 (hex) of the graders with their versions, the judge and the embedder: with another one, a verdict is
    another verdict."""
    used = graders_of(suite)
    asked = [suite.judge.model, suite.judge.rubric, suite.judge.max_chars] if suite.judge and JUDGED & {*used} else []
    embedder = suite.embedder if "similar" in used else ""
    return digest([[[name, GRADERS[name].version] for name in used], asked, embedder])
