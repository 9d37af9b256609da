"""Grading: an item's answer to its grade, asking whoever has to be asked, within a time for each assertion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from evals.answers import GradedAnswer
from evals.graders import TEXT_MAX, Grade, combine, failed, grade_assertion
from evals.patience import OutOfPatience, patience
from evals.suite import Assertion, Item
from farthing.money import ZERO, Nano

PURE_S: Final = 2.0
"""Processor seconds that an assertion which asks nobody may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a model said to a grader, and what that cost, nano-dollars."""

    text: str
    cost: Nano = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """One vector for each text, and what they cost, nano-dollars."""

    vectors: Sequence[Sequence[float]]
    cost: Nano = ZERO


class Asker(Protocol):
    """Whoever puts a grader's questions, so that they are tagged, capped and booked as those of the run."""

    async def ask(self, model: str, messages: Sequence[Mapping[str, str]], *, max_tokens: int) -> Asked:
        """What the model says, at temperature 0. Raises AskFailed or RunStopped."""

    async def embed(self, model: str, texts: Sequence[str]) -> Embedded:
        """The vectors of the texts. Raises AskFailed or RunStopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderTools:
    """What graders may use: an `asker` where any of them asks, and `pure_s` processor seconds an assertion."""

    asker: Asker | None = None
    pure_s: float = PURE_S


async def grade_answer(item: Item, answer: GradedAnswer, tools: GraderTools) -> Grade:
    """The grade of an answer. One that could not be found (a grader that broke, hung, or got no usable answer) has no
    score, says why with the assertion's file and line, and never passes. Raises RunStopped."""
    seen = replace(answer, text=answer.text[:TEXT_MAX])
    return combine(item, [(one, await _grade(one, seen, item, tools)) for one in item.assertions])


async def _grade(assertion: Assertion, answer: GradedAnswer, item: Item, tools: GraderTools) -> Grade:
    try:
        with patience(tools.pure_s):
            return grade_assertion(assertion, answer, item)
    except OutOfPatience:
        return failed(assertion, f"took more than {tools.pure_s:g} s")
