"""Cells: the keys under which answers and grades are kept, so that whatever did not change is not paid for twice."""

from collections.abc import Sequence
from dataclasses import dataclass

from evals.suite import Item, Suite, digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An item as it is put to one tier: `request_key` is of what is asked and of whom, `grade_key` of how the answer is
    graded."""

    item: Item
    request_key: str
    grade_key: str


def question(item: Item, models: Sequence[str], grader: str) -> Question:
    """The item for the deployments of a tier, graded by graders of these versions (see `grader_key`)."""
    return Question(item=item, request_key=request_key(item, models), grade_key=grade_key(item, grader))


def request_key(item: Item, models: Sequence[str]) -> str:
    """SHA-256 (hex) of the whole request and of the deployments that may answer it."""
    return digest(["request", sorted(models), item.body()])


def generation_key(request: str, model: str, fingerprint: str) -> str:
    """SHA-256 (hex) of an answer's origin: the request, the model that answered, and its provider's revision of it."""
    return digest(["generation", request, model, fingerprint])


def grade_key(item: Item, grader: str) -> str:
    """SHA-256 (hex) of all that grades an answer: the graders' versions, the assertions, the item's threshold."""
    return digest(["grade", grader, [assertion.content() for assertion in item.assertions], item.threshold])


def check_key(suite: Suite, models: Sequence[str], reference: Sequence[str], grader: str) -> str:
    """SHA-256 (hex) of what a test's wealth belongs to: another test begins only where one of these changes."""
    return digest(["test", suite.task, suite.hash, sorted(models), sorted(reference), grader])


def prompt_hash(suite: Suite) -> str:
    """SHA-256 (hex) of the prompts with their variables filled in, in any order."""
    return digest(sorted(digest(item.body()) for item in suite.items))
