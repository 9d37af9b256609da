"""Asked: the graders that put questions to somebody else, a judge or an embedder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, isfinite, sqrt
from typing import Any, Final, Protocol

from evals.answers import GradedAnswer
from evals.graders import Ungraded
from evals.suite import Assertion, Item, Judge
from evals.verdictforms import ANSWER_TOKENS, Better, Messages, pair_form, read_better, read_pass, rubric_form
from farthing.money import ZERO, Nano

TRIES: Final = 2
"""A judge that answers nonsense is asked once more."""
TIE: Final = 0.5


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

    async def ask(self, model: str, messages: Sequence[Mapping[str, str]], *, max_tokens: int, attempt: int) -> Asked:
        """What the model says, at temperature 0; no `attempt` is answered by a cache with what one before it got.
        Raises AskFailed or RunStopped."""

    async def embed(self, model: str, texts: Sequence[str]) -> Embedded:
        """The vectors of the texts. Raises AskFailed or RunStopped."""


class Metered:
    """An asker that adds up what its questions cost, nano-dollars."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self.cost = ZERO

    async def ask(self, model: str, messages: Sequence[Mapping[str, str]], *, max_tokens: int, attempt: int) -> Asked:
        """As the asker does."""
        asked = await self._asker.ask(model, messages, max_tokens=max_tokens, attempt=attempt)
        self.cost = Nano(self.cost + asked.cost)
        return asked

    async def embed(self, model: str, texts: Sequence[str]) -> Embedded:
        """As the asker does."""
        embedded = await self._asker.embed(model, texts)
        self.cost = Nano(self.cost + embedded.cost)
        return embedded


# --- the judge -----------------------------------------------------------------------------------


async def meets_rubric(judge: Judge, asker: Asker, *, question: str, output: str, rubric: str) -> bool:
    """Whether the judge says that the output meets the rubric. Raises Ungraded for a judge that says neither."""
    if not output.strip() or len(output) > judge.max_chars:
        return False
    form = rubric_form(question, output, rubric)
    for attempt in range(TRIES):
        if (verdict := read_pass(await _said(judge, asker, form, attempt))) is not None:
            return verdict
    raise Ungraded("the judge gave no verdict")


async def better_of(judge: Judge, asker: Asker, *, question: str, pair: tuple[str, str], criteria: str) -> Better:
    """Which output the judge prefers in both orders; NEITHER where the order decides, or both are the same."""
    one, other = pair
    too_long = len(one) > judge.max_chars, len(other) > judge.max_chars
    if one.strip() == other.strip() or all(too_long):
        return Better.NEITHER
    if any(too_long):
        return Better.SECOND if too_long[0] else Better.FIRST
    straight = await _preferred(judge, asker, pair_form(question, one, other, criteria))
    swapped = await _preferred(judge, asker, pair_form(question, other, one, criteria))
    return straight if (straight, swapped) in _AGREED else Better.NEITHER


_AGREED: Final = ((Better.FIRST, Better.SECOND), (Better.SECOND, Better.FIRST))


async def _preferred(judge: Judge, asker: Asker, form: Messages) -> Better:
    for attempt in range(TRIES):
        if (verdict := read_better(await _said(judge, asker, form, attempt))) is not None:
            return verdict
    raise Ungraded("the judge gave no verdict")


async def _said(judge: Judge, asker: Asker, form: Messages, attempt: int) -> str:
    return (await asker.ask(judge.model, form, max_tokens=ANSWER_TOKENS, attempt=attempt)).text


def question_of(item: Item) -> str:
    """The item as a judge reads it: the text of its one message, or each message with its role."""
    if len(item.messages) == 1:
        return item.messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in item.messages)


async def llm_rubric(assertion: Assertion, answer: GradedAnswer, item: Item, judge: Judge, asker: Asker) -> float:
    """1 where the judge says that the answer meets the rubric."""
    rubric = str(assertion.value or judge.rubric)
    return float(await meets_rubric(judge, asker, question=question_of(item), output=answer.text, rubric=rubric))


async def select_best(assertion: Assertion, answer: GradedAnswer, item: Item, judge: Judge, asker: Asker) -> float:
    """1 where the answer is better than the reference's, 0 where it is worse, 0.5 where it is neither."""
    if answer.reference_text is None:
        raise Ungraded("the reference's answer is not known")
    criteria = str(assertion.value or judge.rubric)
    pair = answer.text, answer.reference_text
    better = await better_of(judge, asker, question=question_of(item), pair=pair, criteria=criteria)
    return {Better.FIRST: 1.0, Better.SECOND: 0.0, Better.NEITHER: TIE}[better]


# --- the embedder --------------------------------------------------------------------------------


async def similar(assertion: Assertion, answer: GradedAnswer, embedder: str, asker: Asker) -> float:
    """The greatest cosine of the output with the value, or with one of the values; 0 for an empty output."""
    if not answer.text.strip():
        return 0.0
    wanted = assertion.value if isinstance(assertion.value, list) else [assertion.value]
    texts = [answer.text, *map(str, wanted)]
    vectors = (await asker.embed(embedder, texts)).vectors
    if len(vectors) != len(texts):
        raise Ungraded("the embedder did not give a vector for each text")
    return max(cosine(vectors[0], vector) for vector in vectors[1:])


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of two vectors in [-1, 1]. Raises Ungraded where there is none."""
    lengths = sqrt(fsum(x * x for x in one)) * sqrt(fsum(x * x for x in other))
    if len(one) != len(other) or not lengths > 0:
        raise Ungraded("the embedder gave vectors without an angle")
    found = fsum(x * y for x, y in zip(one, other, strict=True)) / lengths
    if not isfinite(found):
        raise Ungraded("the embedder gave vectors without an angle")
    return found


def as_vector(value: Any) -> tuple[float, ...]:
    """A list of numbers from JSON as a vector. Raises Ungraded."""
    if not isinstance(value, list) or not all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in value):
        raise Ungraded("the embedder gave no vector")
    return tuple(map(float, value))
