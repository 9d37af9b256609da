"""Guards: vetoes that keep apart two questions which an embedding finds alike. Pure functions of parsed prompts.

They err on the side of the veto, which costs one upstream call; what they let pass wrongly costs a wrong answer.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from cache.words import (
    ALSO_COMMON,
    ANTONYMS,
    CARDINALS,
    COMPARATIVES,
    CONVERSION,
    DEMONYMS,
    MONTHS,
    NEGATORS,
    ORDINALS,
    STOP_WORDS,
)

Role = tuple[str, str]
"""Two stems in their order: from first to second."""


class Token(NamedTuple):
    """A word in its place, lower case, aliases resolved."""

    word: str
    stem: str
    content: bool
    """Neither a stop word nor a negator."""
    name: bool
    """A capitalised word inside a sentence, a word with digits, or a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedPrompt:
    """What guards and verifier look at. `forms` are all words, lower case, with their stems; `tokens` their order."""

    numbers: tuple[tuple[str, int], ...]
    negations: int
    entities: frozenset[str]
    forms: frozenset[str]
    dates: frozenset[str]
    roles: frozenset[Role]
    tokens: tuple[Token, ...]
    trigrams: frozenset[str]
    """Of the characters of the text: what typos and inflections leave in common."""


def veto(a: ParsedPrompt, b: ParsedPrompt) -> str:
    """The name of the first guard that keeps the two apart, or empty. Symmetric."""
    for name, differs in _GUARDS:
        if differs(a, b):
            return name
    return ""


def disagreements(a: ParsedPrompt, b: ParsedPrompt) -> tuple[bool, ...]:
    """What each guard says, in the order number, negation, entity, antonym, date, swap."""
    return tuple(differs(a, b) for _, differs in _GUARDS)


def parse(text: str) -> ParsedPrompt:
    """Read a prompt once, about 0.1 ms; keep the result beside the entry."""
    words = list(_words(text))
    lowered = [word.lower for word in words]
    forms = frozenset(lowered)
    stems = [stem(word) for word in lowered]
    return ParsedPrompt(
        numbers=_numbers(words),
        negations=sum(map(_negates, lowered)),
        entities=frozenset(stem(word.lower) for word in words if _is_entity(word)),
        forms=forms.union(stems),
        dates=frozenset(_dates(words)),
        roles=frozenset(_roles(lowered, stems)),
        tokens=tuple(map(_token, words, stems)),
        trigrams=_trigrams(" ".join(lowered)),
    )


def stem(word: str) -> str:
    """The word without one common English ending, at least three letters of it."""
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) + len(instead) >= 3:
            return word[: -len(ending)] + instead
    return word


_ENDINGS: Final = (
    ("sses", "ss"),
    ("ies", "y"),
    ("ing", ""),
    ("edly", ""),
    ("ed", ""),
    ("ly", ""),
    ("es", ""),
    ("ss", "ss"),
    ("s", ""),
    ("e", ""),
)


# --- words ---------------------------------------------------------------------------------------


class _Word(NamedTuple):
    written: str
    lower: str
    opens: bool
    """First of its sentence."""


_LATIN: Final = "A-Za-zÀ-ÖØ-öø-ɏ"
_TOKEN: Final = re.compile(
    rf"(?P<number>\d+(?:[.,:/\-]\d+)*%?(?![{_LATIN}\d]))"
    rf"|(?P<word>[{_LATIN}\d]+(?:'[{_LATIN}]+)*|[^\W_]+)"
    r"|(?P<symbol>[^\w\s]|\n|_)"
)
_ENDS_SENTENCE: Final = frozenset(".!?:;\n•")
_ALIASES: Final = (
    # Capitals matter: "us" is a pronoun.
    (re.compile(r"\bU\.S\.A\.|\bU\.S\.|\b(?:the )?United States(?: of America)?\b|\bUS\b|\bUSA\b"), "USA"),
    (re.compile(r"\bU\.K\.|\b(?:the )?United Kingdom\b|\bGreat Britain\b|\bUK\b"), "UK"),
    (re.compile(r"\bU\.N\.|\b(?:the )?United Nations\b"), "UN"),
    (re.compile(r"(?<=\d)\s+per\s?cent\b"), "%"),
    (re.compile(r"(?i)\b(twenty|thirty|forty|fifty)[- ](first|second|third|fourth|fifth|sixth|seventh|eighth|ninth)\b"),
     lambda match: _tens_ordinal(match.group(1).lower(), match.group(2).lower())),
)  # fmt: skip


def _tens_ordinal(tens: str, ones: str) -> str:
    units = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
    number = int(CARDINALS[tens]) + units.index(ones) + 1
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def _words(text: str) -> Iterator[_Word]:
    text = text.replace("’", "'")
    for pattern, instead in _ALIASES:
        text = pattern.sub(instead, text)
    opens = True
    for match in _TOKEN.finditer(text):
        written = match.group()
        if match.lastgroup == "symbol":
            opens = opens or written in _ENDS_SENTENCE
            continue
        lower = written.lower()
        lower = ORDINALS.get(lower) or DEMONYMS.get(lower) or lower
        yield _Word(written, lower.removesuffix("'s") if lower not in STOP_WORDS else lower, opens)
        opens = False


def _negates(word: str) -> bool:
    return word in NEGATORS or word.endswith("n't")


def _is_content(word: str) -> bool:
    return word not in STOP_WORDS and not _negates(word)


def _token(word: _Word, stemmed: str) -> Token:
    lower = word.lower
    named = _is_entity(word) or lower in CARDINALS or any(map(str.isdigit, lower))
    return Token(lower, stemmed, _is_content(lower), named)


def _trigrams(text: str) -> frozenset[str]:
    padded = f" {text} "
    return frozenset(padded[at : at + 3] for at in range(len(padded) - 2))


# --- numbers, names, dates -----------------------------------------------------------------------


def _numbers(words: Sequence[_Word]) -> tuple[tuple[str, int], ...]:
    found: list[str] = []
    before = ""
    for word in words:
        lower = word.lower
        if any(map(str.isdigit, lower)):
            found.append(lower.replace(",", ""))
        elif lower in CARDINALS and not (lower == "two" and before in _THE):
            found.append(CARDINALS[lower])
        before = lower
    return tuple(sorted(Counter(found).items()))


_THE: Final = frozenset({"the", "these", "those"})  # "the two" counts what was named already


def _is_entity(word: _Word) -> bool:
    written = word.written
    if not written[0].isupper() or word.lower in STOP_WORDS:
        return False
    return not word.opens or (written.isupper() and len(written) > 1)


def _dates(words: Sequence[_Word]) -> Iterator[str]:
    for word in words:
        name = MONTHS.get(word.lower)
        if name and (word.lower not in ALSO_COMMON or (word.written[0].isupper() and not word.opens)):
            yield name


# --- roles ---------------------------------------------------------------------------------------

_FROM_TO_REACH: Final = 8


def _roles(lowered: Sequence[str], stems: Sequence[str]) -> Iterator[Role]:
    directed = not CONVERSION.isdisjoint(lowered)
    for at, word in enumerate(lowered):
        left = right = None
        if word in ("to", "into"):
            start = _from_before(lowered, at)
            if start is not None:
                left, right = _content_after(lowered, start, at), _content_after(lowered, at)
            elif directed:
                left, right = _content_before(lowered, at), _content_after(lowered, at)
        elif word == "than" and at and _compares(lowered[at - 1]):
            left, right = _content_before(lowered, at - 1), _content_after(lowered, at)
        elif word in ("before", "after", "over") or (word == "of" and at and lowered[at - 1] == "instead"):
            left = _content_before(lowered, at - (word == "of"))
            right = _content_after(lowered, at)
        if left is not None and right is not None and stems[left] != stems[right]:
            yield stems[left], stems[right]


def _from_before(lowered: Sequence[str], at: int) -> int | None:
    for start in range(at - 1, max(-1, at - 1 - _FROM_TO_REACH), -1):
        if lowered[start] == "from":
            return start
    return None


def _compares(word: str) -> bool:
    return word.endswith("er") or word in COMPARATIVES


def _content_before(lowered: Sequence[str], at: int) -> int | None:
    return next((i for i in range(at - 1, -1, -1) if _is_content(lowered[i])), None)


def _content_after(lowered: Sequence[str], at: int, end: int | None = None) -> int | None:
    stop = len(lowered) if end is None else end
    return next((i for i in range(at + 1, stop) if _is_content(lowered[i])), None)


# --- the guards ----------------------------------------------------------------------------------


def _number(a: ParsedPrompt, b: ParsedPrompt) -> bool:
    return a.numbers != b.numbers


def _negation(a: ParsedPrompt, b: ParsedPrompt) -> bool:
    return (a.negations - b.negations) % 2 == 1


def _entity(a: ParsedPrompt, b: ParsedPrompt) -> bool:
    return not (a.entities <= b.forms and b.entities <= a.forms)


def _antonym(a: ParsedPrompt, b: ParsedPrompt) -> bool:
    only_b = b.forms - a.forms
    if not only_b:
        return False
    return any(not _OPPOSITES[word].isdisjoint(only_b) for word in (a.forms - b.forms) & _OPPOSITES.keys())


def _date(a: ParsedPrompt, b: ParsedPrompt) -> bool:
    return a.dates != b.dates


def _swap(a: ParsedPrompt, b: ParsedPrompt) -> bool:
    return any((y, x) in b.roles and (y, x) not in a.roles and (x, y) not in b.roles for x, y in a.roles)


_GUARDS: Final[tuple[tuple[str, Callable[[ParsedPrompt, ParsedPrompt], bool]], ...]] = (
    ("number", _number),
    ("negation", _negation),
    ("entity", _entity),
    ("antonym", _antonym),
    ("date", _date),
    ("swap", _swap),
)


def _inflected(word: str) -> tuple[str, ...]:
    base = word.removesuffix("e")
    return (word, stem(word), word + "s", base + "ing", base + "ed")


def _opposites() -> dict[str, frozenset[str]]:
    pairs: dict[str, set[str]] = {}
    for x, y in ANTONYMS:
        for here, there in ((x, y), (y, x)):
            for form in _inflected(here):
                pairs.setdefault(form, set()).update(_inflected(there))
    return {word: frozenset(others) - {word} for word, others in pairs.items()}


_OPPOSITES: Final = _opposites()
