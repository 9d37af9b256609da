"""Text checks: what an output says, as pure functions to a score in [0, 1]."""

import re
import string
from bisect import bisect_left
from decimal import Decimal, InvalidOperation
from typing import Final

from evals.answers import GradedAnswer
from evals.suite import Assertion

REGEX_MAX: Final = 512
REGEX_TEXT_MAX: Final = 8_192
"""A pattern that backtracks is bounded by what it runs on; it still comes from the suite's author alone."""


def contains(assertion: Assertion, answer: GradedAnswer) -> float:
    """1 where the value is in the output."""
    return float(str(assertion.value) in answer.text)


def icontains(assertion: Assertion, answer: GradedAnswer) -> float:
    """1 where the value is in the output in any case."""
    return float(str(assertion.value).casefold() in answer.text.casefold())


def starts_with(assertion: Assertion, answer: GradedAnswer) -> float:
    """1 where the output begins with the value, leading white space aside."""
    return float(answer.text.lstrip().startswith(str(assertion.value)))


def contains_any(assertion: Assertion, answer: GradedAnswer) -> float:
    """1 where one of the values is in the output."""
    return float(any(text in answer.text for text in assertion.value))


def contains_all(assertion: Assertion, answer: GradedAnswer) -> float:
    """The share that is found, so that a threshold below 1 means something."""
    return sum(text in answer.text for text in assertion.value) / len(assertion.value)


def icontains_any(assertion: Assertion, answer: GradedAnswer) -> float:
    """1 where one of the values is in the output in any case."""
    output = answer.text.casefold()
    return float(any(text.casefold() in output for text in assertion.value))


def icontains_all(assertion: Assertion, answer: GradedAnswer) -> float:
    """The share that is found in any case."""
    output = answer.text.casefold()
    return sum(text.casefold() in output for text in assertion.value) / len(assertion.value)


def regex(assertion: Assertion, answer: GradedAnswer) -> float:
    """1 where the pattern is found."""
    return float(re.search(assertion.value, answer.text[:REGEX_TEXT_MAX]) is not None)


# --- normalised ----------------------------------------------------------------------------------

_ARTICLES: Final = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)


def normalized(assertion: Assertion, answer: GradedAnswer) -> float:
    """1 where the output is the value, or one of the values, once both are normalised."""
    accepted = assertion.value if isinstance(assertion.value, list) else [assertion.value]
    return float(normalize(answer.text) in {normalize(str(text)) for text in accepted})


def normalize(text: str) -> str:
    """The text without case, punctuation, the articles a, an, the, and white space but single spaces: as SQuAD's
    own evaluate-v1.1.py compares answers (Rajpurkar et al., 1606.05250)."""
    return " ".join(_ARTICLES.sub(" ", text.casefold().translate(_PUNCTUATION)).split())


# --- labels and numbers --------------------------------------------------------------------------


def label(assertion: Assertion, answer: GradedAnswer) -> float:
    """1 where the first label in the output is the value."""
    found = first_label(assertion.labels, answer.text)
    return float(found is not None and found.casefold() == str(assertion.value).casefold())


def first_label(labels: tuple[str, ...], output: str) -> str | None:
    """The label that appears first in the output as a whole word, in any case; the longest of those at one place."""
    # A label need not begin or end with a letter, so "whole word" is: no word character beside it.
    words = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    found = re.search(rf"(?<!\w)(?:{words})(?!\w)", output, re.IGNORECASE)
    return found[0] if found else None


# A minus counts only where no digit stands before it ("10-5" is not "-5"); commas only between groups of three.
_NUMBER: Final = re.compile(r"(?<![\w.])-?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])|(?:(?<![\w.])-)?\d+(?:\.\d+)?")
_ANSWER: Final = re.compile(r"\banswer\b", re.IGNORECASE)


def is_final_number(assertion: Assertion, answer: GradedAnswer) -> float:
    """1 where the output's final number is the value, give or take the greater of the two tolerances."""
    found, wanted = final_number(answer.text), to_number(str(assertion.value))
    if found is None or wanted is None:
        return 0.0
    return float(abs(found - wanted) <= max(assertion.tolerance, assertion.relative * abs(wanted)))


def final_number(output: str) -> Decimal | None:
    """The first number after the last word "answer" that has one after it, else the last number, else None."""
    numbers = list(_NUMBER.finditer(output))
    if not numbers:
        return None
    starts = [number.start() for number in numbers]
    marks = [found.end() for found in _ANSWER.finditer(output) if found.end() <= starts[-1]]
    chosen = bisect_left(starts, marks[-1]) if marks else -1
    return to_number(numbers[chosen][0])


def to_number(text: str) -> Decimal | None:
    """The number that the text is, with or without commas between thousands; None if it is none."""
    try:
        number = Decimal(text.strip().replace(",", ""))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
