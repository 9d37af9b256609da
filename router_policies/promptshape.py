"""The shape of a prompt as numbers: length, marks, kinds of words, options; no model and no vocabulary is needed.

Which of them tell something is for the router to learn. None knows a benchmark's wrapping: a router that did would
shine there and nowhere else.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log1p
from typing import Final

import numpy as np
from numpy.typing import NDArray

CHARACTERS_MAX: Final = 20_000
"""Of a prompt that are looked at: bounds the time; what lies beyond changes a logarithm by little."""
_WORD: Final = re.compile(r"[^\W\d_]+(?:'[a-z]+)?|\d+(?:[.,]\d+)*")
_OPTION: Final = re.compile(r"\s*(?:\(?[A-Ja-j1-9]\)|[A-Ja-j1-9][.:])\s")
_SENTENCE_END: Final = re.compile(r"[.!?]\s")
_ENUMERATED: Final = re.compile(r"\b(?:I|II|III|IV)\b")
_DIGITS: Final = frozenset("0123456789")
_MATHS: Final = frozenset("+-*/=^<>()[]{}\\|_~√∑∫≤≥≠−×÷π∞")
_LONG: Final = 10
"""Letters from which a word is long."""
_OPTIONS_MAX: Final = 8
_KINDS: Final[tuple[frozenset[str], ...]] = tuple(
    frozenset(words.split())
    for words in (
        "not no never none nor neither without except false incorrect least cannot unless wrong",
        "all both every always only any each either most some",
        "i me my mine we you your",
        "because therefore since thus hence so then if suppose assume given let would should",
    )
)
"""Negation, quantity, persons, reasoning."""
_ASKED: Final = {
    word: at
    for at, words in enumerate(
        ("what", "which", "how", "why", "who when where", "if", "calculate find compute solve evaluate determine")
    )
    for word in words.split()
}
SIZE: Final = 40
"""Numbers of a shape."""


@dataclass(frozen=True)
class _Parts:
    """A prompt cut into what is asked and the options to choose from, each also as words."""

    text: str

    @cached_property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    @cached_property
    def options(self) -> list[str]:
        return [line[found.end() :] for line in self.lines if (found := _OPTION.match(line))]

    @cached_property
    def stem(self) -> str:
        return "\n".join(line for line in self.lines if not _OPTION.match(line))

    @cached_property
    def written(self) -> list[str]:
        return _WORD.findall(self.text)

    @cached_property
    def words(self) -> list[str]:
        return [word.lower() for word in self.written]

    @cached_property
    def stem_words(self) -> set[str]:
        return {word.lower() for word in _WORD.findall(self.stem)}


def shape(prompt: str) -> NDArray[np.float64]:
    """SIZE numbers; counts as logarithms, so that long prompts differ little."""
    parts = _Parts(prompt[:CHARACTERS_MAX])
    return np.array([*_sizes(parts), *_options(parts), *_marks(parts), *_wording(parts)], np.float64)


def shapes(prompts: Sequence[str]) -> NDArray[np.float64]:
    """One row a prompt."""
    return np.array([shape(prompt) for prompt in prompts]).reshape(len(prompts), SIZE)


def _sizes(parts: _Parts) -> Iterator[float]:
    count = max(len(parts.words), 1)
    yield log1p(len(parts.text))
    yield log1p(len(parts.words))
    yield log1p(len(parts.lines))
    yield log1p(len(parts.stem))
    yield sum(map(len, parts.words)) / count
    yield len(set(parts.words)) / count
    yield sum(len(word) >= _LONG for word in parts.words) / count
    yield log1p(len(_SENTENCE_END.findall(parts.stem)))


def _options(parts: _Parts) -> Iterator[float]:
    options = parts.options
    number = max(len(options), 1)
    mean = sum(map(len, options)) / number
    spread = (sum((len(option) - mean) ** 2 for option in options) / number) ** 0.5
    each = [{word.lower() for word in _WORD.findall(option)} for option in options]
    together = set().union(*each)
    yield min(len(options), _OPTIONS_MAX)
    yield log1p(mean)
    yield spread / (1 + mean)
    yield 1 - len(together) / max(1, sum(map(len, each)))
    yield len(together & parts.stem_words) / max(1, len(together))
    yield sum(not _DIGITS.isdisjoint(option) for option in options) / number


def _marks(parts: _Parts) -> Iterator[float]:
    text, size = parts.text, max(len(parts.text), 1)
    digits = sum(map(text.count, _DIGITS))
    yield digits / size
    yield log1p(digits)
    yield log1p(sum(map(text.count, _MATHS)))
    yield "\\" in text or "$$" in text
    yield "$" in text or "€" in text
    yield "%" in text
    yield sum(map(str.isupper, text)) / size
    yield log1p(100 * sum(character > "\x7f" for character in text) / size)
    yield min(text.count("?"), 3)
    yield "__" in text
    yield text[:1].isspace()
    yield log1p(text.count(","))
    yield log1p(text.count('"') + text.count("“"))


def _wording(parts: _Parts) -> Iterator[float]:
    for kind in _KINDS:
        yield log1p(sum(word in kind for word in parts.words))
    yield log1p(sum(word.isupper() and len(word) > 1 for word in parts.written))
    yield len(_ENUMERATED.findall(parts.text)) > 1
    asked = {_ASKED[word] for word in parts.stem_words if word in _ASKED}
    yield from (kind in asked for kind in range(1 + max(_ASKED.values())))
