"""Grading: an item's answer to its grade, asking whoever has to be asked, within a time for each assertion."""

import asyncio
from dataclasses import dataclass, replace
from typing import Final

from evals.answers import GradedAnswer
from evals.asked import Asker, Metered, llm_rubric, select_best, similar
from evals.gateway import RunStopped
from evals.graders import ASKING, TEXT_MAX, Grade, Ungraded, combine, failed, grade_assertion, settle, weighted
from evals.patience import OutOfPatience, patience
from evals.sandbox import PROGRAM_MAX, Sandbox, SandboxUnavailable, code_in
from evals.suite import Assertion, Item, Judge, Suite

PURE_S: Final = 2.0
"""Processor seconds that an assertion which asks nobody may take."""
ASKING_S: Final = 120.0
"""Seconds that one which asks somebody may take, with its second try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderTools:
    """What graders may use: whom to ask, which judge and embedder to ask for, where to run code, and for how long."""

    asker: Asker | None = None
    judge: Judge | None = None
    embedder: str = ""
    sandbox: Sandbox | None = None
    pure_s: float = PURE_S
    asking_s: float = ASKING_S


def tools_for(suite: Suite, asker: Asker) -> GraderTools:
    """The tools of that suite's graders."""
    return GraderTools(asker=asker, judge=suite.judge, embedder=suite.embedder, sandbox=Sandbox())


async def grade_answer(item: Item, answer: GradedAnswer, tools: GraderTools) -> Grade:
    """The grade of an answer. One that could not be found (a grader that broke, hung, or got no usable answer) has no
    score, says why with the assertion's file and line, and never passes. Raises RunStopped."""
    seen = replace(answer, text=answer.text[:TEXT_MAX])
    return combine(item, [(one, await _grade(one, seen, item, tools)) for one in item.assertions])


async def _grade(assertion: Assertion, answer: GradedAnswer, item: Item, tools: GraderTools) -> Grade:
    if assertion.type == "assert-set":
        return await _grade_set(assertion, answer, item, tools)
    if assertion.type in ASKING:
        return await _grade_by_asking(assertion, answer, item, tools)
    try:
        with patience(tools.pure_s):
            return grade_assertion(assertion, answer, item)
    except OutOfPatience:
        return failed(assertion, f"took more than {tools.pure_s:g} s")


async def _grade_set(assertion: Assertion, answer: GradedAnswer, item: Item, tools: GraderTools) -> Grade:
    grades = [(inner, await _grade(inner, answer, item, tools)) for inner in assertion.inner]
    together = combine(replace(item, threshold=None), grades)
    if together.score is None:
        return together
    return replace(settle(assertion, weighted(grades)), cost=together.cost)


async def _grade_by_asking(assertion: Assertion, answer: GradedAnswer, item: Item, tools: GraderTools) -> Grade:
    metered = Metered(tools.asker) if tools.asker is not None else None
    try:
        async with asyncio.timeout(tools.asking_s):
            grade = settle(assertion, await _raw(assertion, answer, item, tools, metered))
    except RunStopped:
        raise
    except TimeoutError:
        grade = failed(assertion, f"took more than {tools.asking_s:g} s")
    except (Ungraded, SandboxUnavailable) as refusal:
        grade = failed(assertion, str(refusal))
    except Exception as error:  # noqa: BLE001 - a grader that breaks is an item without a grade, not a lost run
        grade = failed(assertion, f"the grader broke: {type(error).__name__}")
    return replace(grade, cost=metered.cost) if metered is not None else grade


async def _raw(
    assertion: Assertion, answer: GradedAnswer, item: Item, tools: GraderTools, asker: Metered | None
) -> float:
    if assertion.type == "code":
        return await _passes_tests(assertion, answer, tools)
    if asker is None:
        raise Ungraded("there is nobody to ask")
    if assertion.type == "similar":
        return await similar(assertion, answer, tools.embedder, asker)
    if tools.judge is None:
        raise Ungraded("there is no judge")
    ask = {"llm-rubric": llm_rubric, "select-best": select_best}[assertion.type]
    return await ask(assertion, answer, item, tools.judge, asker)


async def _passes_tests(assertion: Assertion, answer: GradedAnswer, tools: GraderTools) -> float:
    if tools.sandbox is None:
        raise Ungraded("there is no sandbox to run it in")
    code = code_in(answer.text)
    if not code.strip() or len(code) > PROGRAM_MAX:
        return 0.0
    return float(await tools.sandbox.passes(code, assertion.value))
