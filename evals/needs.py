"""Needs: what the graders of a suite cannot do without, found before it costs anything."""

from collections.abc import Iterator

from evals.judges import gold_fault
from evals.suite import Assertion, Suite


def grader_faults(suite: Suite, *, may_promote: bool, allow_code: bool) -> Iterator[tuple[str, str]]:
    """The first place of each thing that is missing, and what to do."""
    firsts = _firsts(suite)
    for kind in ("llm-rubric", "select-best"):
        if kind in firsts and suite.judge is None:
            yield firsts[kind].place, f"{kind} needs a `judge: {{model, rubric, gold}}` in the suite"
    if "similar" in firsts and not suite.embedder:
        yield firsts["similar"].place, "similar needs an `embedder` in the suite: a model that /v1/embeddings serves"
    if "code" in firsts and not allow_code:
        yield firsts["code"].place, "code of answers is run only where `evals.allow_code: true` says so"
    if suite.judge is not None:
        yield from _judge_faults(suite, firsts, may_promote=may_promote)


def _judge_faults(suite: Suite, firsts: dict[str, Assertion], *, may_promote: bool) -> Iterator[tuple[str, str]]:
    judged = [firsts[kind] for kind in ("llm-rubric", "select-best") if kind in firsts]
    assert suite.judge is not None
    if judged and not all(one.value or suite.judge.rubric for one in judged):
        yield judged[0].place, "the assertion has no rubric, and the judge has none either"
    if "select-best" in firsts and suite.bar >= 0.5:
        yield (
            firsts["select-best"].place,
            f"a bar of {suite.bar:g} cannot be asked for: against itself the reference scores 0.5, so give a `margin`",
        )
    if judged and may_promote and (fault := gold_fault(suite)):
        yield judged[0].place, fault


def _firsts(suite: Suite) -> dict[str, Assertion]:
    """The first assertion of each type."""
    found: dict[str, Assertion] = {}
    for item in suite.items:
        for one in item.assertions:
            for each in one.each():
                found.setdefault(each.type, each)
    return found
