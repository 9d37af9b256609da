"""Grading: whether two answers to two questions say the same. Off the path of any request."""

import re
from typing import Final, Protocol

import numpy as np

from cache.guards import ParsedPrompt, disagreements, parse
from farthing.ports import Embedder

SAME_COSINE: Final = 0.90
"""From here on two answers that no guard keeps apart say the same; measured in docs/cache.md, like the next."""
DIFFERENT_COSINE: Final = 0.50
"""Up to here they do not."""
SHORT_DIFFERENT_COSINE: Final = 0.80
"""The same for short answers, where other words say other things. Erring on this side costs hits, and the other would
hide wrong answers: what stays open counts for neither."""
_SHORT: Final = 12
"""Words up to which an answer is one statement, so that another number or name in it is another answer."""
_MOST: Final = 4000
"""Characters of an answer that are looked at; the embedder reads less."""
_MARKS: Final = re.compile(r"[^\w%$€£+-]+")
_VERDICTS: Final = frozenset({"yes", "no"})


class Grader(Protocol):
    """Compares answers."""

    async def same(self, question_a: str, answer_a: str, question_b: str, answer_b: str) -> bool | None:
        """True if whoever asked b is served as well by answer a; None where that cannot be told."""


class LocalGrader:
    """Decides what can be decided by words, numbers and one embedding; all else is left open.

    Equal but for case and punctuation: the same. Short answers that differ in number, negation, date or by an
    antonym: different. Otherwise near in meaning without any such difference: the same; far: different.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def same(self, question_a: str, answer_a: str, question_b: str, answer_b: str) -> bool | None:
        """See the port. Raises what the embedder raises."""
        a, b = answer_a[:_MOST], answer_b[:_MOST]
        words_a, words_b = _words(a), _words(b)
        if words_a == words_b:
            return True
        if not words_a or not words_b:
            return None
        asked = _stems(parse(question_a)) | _stems(parse(question_b))
        compared = _Compared(parse(a), parse(b))
        verdict = _by_words(words_a, words_b, compared, asked)
        if verdict is not None:
            return verdict
        cosine = await self._cosine(a, b)
        if cosine <= (SHORT_DIFFERENT_COSINE if _are_short(words_a, words_b) else DIFFERENT_COSINE):
            return False
        return True if cosine >= SAME_COSINE and not compared.are_apart and compared.in_order else None

    async def _cosine(self, a: str, b: str) -> float:
        first, second = await self._embedder.embed([a, b])
        return float(np.dot(first, second))


def _words(text: str) -> list[str]:
    return _MARKS.sub(" ", text.casefold()).split()


class _Compared:
    """Two answers side by side."""

    def __init__(self, a: ParsedPrompt, b: ParsedPrompt) -> None:
        self.a, self.b = a, b
        self._number, self._negation, _, self._antonym, self._date, self.swapped = disagreements(a, b)

    @property
    def are_apart(self) -> bool:
        """True where they say different things in a way that words show."""
        # "No." and "No, it is not." differ in their number of negations only.
        negated = self._negation and not self._same_verdict
        return self._number or negated or self._antonym or self._date or self._name_others

    @property
    def _same_verdict(self) -> bool:
        first_a, first_b = (one.tokens[0].word if one.tokens else "" for one in (self.a, self.b))
        return first_a == first_b and first_a in _VERDICTS

    @property
    def _name_others(self) -> bool:
        """True where each names something that the other does not."""
        return not self.a.entities <= self.b.forms and not self.b.entities <= self.a.forms

    @property
    def in_order(self) -> bool:
        """True where the words of both stand in the same order: who does what to whom is in no embedding."""
        stems_a, stems_b = _stems(self.a), _stems(self.b)
        return not self.swapped and list(_firsts(self.a, stems_b)) == list(_firsts(self.b, stems_a))

    def is_echo(self, asked: set[str]) -> bool:
        """True where one says what the other says, and beyond it only repeats the question."""
        a, b = _stems(self.a), _stems(self.b)
        says_something = bool(a and b) or self._same_verdict
        return says_something and (a <= b or b <= a) and a ^ b <= asked and not self.swapped


def _by_words(a: list[str], b: list[str], compared: _Compared, asked: set[str]) -> bool | None:
    """What can be told without an embedding: other verdicts, and statements that are short enough to be one."""
    if a[0] != b[0] and {a[0], b[0]} <= _VERDICTS:
        return False
    if not _are_short(a, b):
        return None
    if compared.are_apart:
        return False
    return True if compared.is_echo(asked) else None


def _are_short(a: list[str], b: list[str]) -> bool:
    return max(len(a), len(b)) <= _SHORT


def _firsts(prompt: ParsedPrompt, among: set[str]) -> dict[str, None]:
    """Those of the stems that the prompt has, in the order in which they first come."""
    return dict.fromkeys(token.stem for token in prompt.tokens if token.content and token.stem in among)


def _stems(prompt: ParsedPrompt) -> set[str]:
    return {token.stem for token in prompt.tokens if token.content}
