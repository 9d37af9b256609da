"""Likeness: what two parsed prompts share and where they differ, as the numbers that the verifier weighs."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence, Set
from itertools import pairwise
from typing import Final, NamedTuple, Protocol

from cache.guards import ParsedPrompt, Token, disagreements

FEATURES: Final = (
    "cosine",
    "stems", "trigrams", "bigrams", "bag",
    "number", "negation", "entity", "antonym", "date", "swap", "guard", "named_both", "named_one",
    "question",
    "shortest", "length_gap",
    "order", "order_names", "moved", "moved_idf", "in_place", "left", "left_names", "right", "neighbours",
    "first",
    "unmatched_least", "unmatched_most", "typo",
    "residual_asked", "residual_kept", "residual_most", "residual_share", "heaviest",
)  # fmt: skip
"""In the order of the vector that `compare` gives."""

RISING: Final = frozenset({"cosine", "stems", "trigrams", "bigrams", "bag"})
"""More of it never makes two prompts less alike."""
FALLING: Final = frozenset(
    {"number", "negation", "entity", "antonym", "date", "swap", "guard", "named_both",
     "residual_asked", "residual_kept", "residual_most", "residual_share", "heaviest"}
)  # fmt: skip
"""More of it never makes two prompts more alike."""

_QUESTIONS: Final = frozenset({"what", "how", "why", "when", "where", "who", "whom", "whose", "which", "can", "is"})
_TYPO: Final = 0.75
"""Dice coefficient of two words' character pairs from which one is taken for a misspelling of the other."""


class Weights(Protocol):
    """How much words say."""

    def __call__(self, word: str) -> float:
        """Inverse frequency, natural logarithm; 0 for the most frequent word."""


def compare(a: ParsedPrompt, b: ParsedPrompt, cosine: float, weight: Weights) -> list[float]:
    """The features of two prompts, in the order of `FEATURES`. About 0.1 ms."""
    content_a, content_b = _content(a), _content(b)
    return [
        cosine,
        *_overlaps(a, b, content_a, content_b),
        *_vetoes(a, b),
        *_lengths(a, b),
        *_order(a.tokens, b.tokens, weight),
        float(bool(content_a) and bool(content_b) and content_a[0].stem == content_b[0].stem),
        *_unmatched(content_a, content_b, weight),
    ]


def _content(prompt: ParsedPrompt) -> list[Token]:
    return [token for token in prompt.tokens if token.content]


def _jaccard(a: Set[object], b: Set[object]) -> float:
    shared = len(a & b)
    union = len(a) + len(b) - shared
    return shared / union if union else 1.0


def _overlaps(a: ParsedPrompt, b: ParsedPrompt, content_a: list[Token], content_b: list[Token]) -> list[float]:
    stems_a, stems_b = [token.stem for token in a.tokens], [token.stem for token in b.tokens]
    bag_a, bag_b = Counter(stems_a), Counter(stems_b)
    shared = (bag_a & bag_b).total()
    return [
        _jaccard({token.stem for token in content_a}, {token.stem for token in content_b}),
        _jaccard(a.trigrams, b.trigrams),
        _jaccard(set(pairwise(stems_a)), set(pairwise(stems_b))),
        2 * shared / max(1, len(stems_a) + len(stems_b)),
    ]


def _vetoes(a: ParsedPrompt, b: ParsedPrompt) -> list[float]:
    differ = disagreements(a, b)
    only_a, only_b = _has_own_name(a, b), _has_own_name(b, a)
    return [
        *map(float, differ),
        float(any(differ)),
        float(only_a and only_b),
        float(only_a or only_b),
        float(_question(a) == _question(b)),
    ]


def _has_own_name(prompt: ParsedPrompt, other: ParsedPrompt) -> bool:
    return any(t.name and t.stem not in other.forms and t.word not in other.forms for t in prompt.tokens)


def _question(prompt: ParsedPrompt) -> str:
    return next((t.word for t in prompt.tokens if t.word in _QUESTIONS), "")


def _lengths(a: ParsedPrompt, b: ParsedPrompt) -> list[float]:
    shorter, longer = sorted((len(a.tokens), len(b.tokens)))
    return [float(shorter), (longer - shorter) / max(1, longer)]


# --- order ---------------------------------------------------------------------------------------


class _Shared(NamedTuple):
    """A word of both: its places."""

    at: int
    to: int


def _order(a: Sequence[Token], b: Sequence[Token], weight: Weights) -> list[float]:
    """How the words of both stand: in another order, moved, beside other words."""
    shared = _pair_up(a, b)
    content = [pair for pair in shared if a[pair.at].content]
    names = [pair for pair in content if a[pair.at].name]
    stays = _longest_rising([pair.to for pair in content])
    moved = [pair for place, pair in enumerate(content) if place not in stays]
    partner = dict(shared)
    return [
        1 - len(stays) / len(content) if content else 0.0,
        1 - len(_longest_rising([pair.to for pair in names])) / len(names) if names else 0.0,
        float(len(moved)),
        sum(weight(a[pair.at].word) for pair in moved),
        sum(pair.at == pair.to for pair in shared) / max(1, len(a), len(b)),
        _share(content, lambda pair: _same_at(a, b, pair.at - 1, pair.to - 1)),
        _share(names, lambda pair: _same_at(a, b, pair.at - 1, pair.to - 1)),
        _share(content, lambda pair: _same_at(a, b, pair.at + 1, pair.to + 1)),
        _share(moved, lambda pair: partner.get(pair.at - 1) == pair.to - 1 or partner.get(pair.at + 1) == pair.to + 1),
    ]


def _pair_up(a: Sequence[Token], b: Sequence[Token]) -> list[_Shared]:
    """The first of a stem with the first, the second with the second, in the order of `a`."""
    places: dict[str, list[int]] = {}
    for to in range(len(b) - 1, -1, -1):
        places.setdefault(b[to].stem, []).append(to)
    return [_Shared(at, left.pop()) for at, token in enumerate(a) if (left := places.get(token.stem))]


def _longest_rising(values: Sequence[int]) -> set[int]:
    """Places of a longest rising subsequence."""
    tails: list[int] = []
    places: list[int] = []
    before: list[int] = []
    for place, value in enumerate(values):
        length = bisect_left(tails, value)
        before.append(places[length - 1] if length else -1)
        tails[length : length + 1] = [value]
        places[length : length + 1] = [place]
    found: set[int] = set()
    place = places[-1] if places else -1
    while place >= 0:
        found.add(place)
        place = before[place]
    return found


def _share(pairs: Sequence[_Shared], holds: Callable[[_Shared], bool]) -> float:
    return sum(map(holds, pairs)) / len(pairs) if pairs else 1.0


def _same_at(a: Sequence[Token], b: Sequence[Token], at: int, to: int) -> bool:
    inside = 0 <= at < len(a), 0 <= to < len(b)
    return a[at].stem == b[to].stem if all(inside) else not any(inside)


# --- words of one side ---------------------------------------------------------------------------


def _unmatched(a: list[Token], b: list[Token], weight: Weights) -> list[float]:
    """Content words that the other side lacks, less what looks like a misspelling of one that it has."""
    stems_a, stems_b = {token.stem for token in a}, {token.stem for token in b}
    only_a = list({token.stem: token for token in a if token.stem not in stems_b}.values())
    only_b = list({token.stem: token for token in b if token.stem not in stems_a}.values())
    left_a, left_b = _left(only_a, b, weight), _left(only_b, a, weight)
    total = sum(weight(token.word) for token in (*a, *b))
    return [
        float(min(len(only_a), len(only_b))),
        float(max(len(only_a), len(only_b))),
        float(any(misspelt for _, misspelt in (*left_a, *left_b))),
        residual_a := sum(value for value, _ in left_a),
        residual_b := sum(value for value, _ in left_b),
        max(residual_a, residual_b),
        (residual_a + residual_b) / total if total else 0.0,
        max((value for value, _ in (*left_a, *left_b)), default=0.0),
    ]


def _left(words: Sequence[Token], others: Sequence[Token], weight: Weights) -> list[tuple[float, bool]]:
    """For each word the weight that no other word makes up for, and whether it is taken for a misspelling."""
    found = []
    for token in words:
        dice = max((_dice(token.word, other.word) for other in others), default=0.0)
        misspelt = dice >= _TYPO
        found.append((weight(token.word) * (1 - dice if misspelt else 1.0), misspelt))
    return found


def _dice(a: str, b: str) -> float:
    """Of the words' character pairs; 0 for short words and for those with digits, where a letter is the meaning."""
    if len(a) <= 3 or len(b) <= 3 or abs(len(a) - len(b)) > 3 or not (a.isalpha() and b.isalpha()):
        return 0.0
    pairs_a, pairs_b = _pairs(a), _pairs(b)
    return 2 * len(pairs_a & pairs_b) / (len(pairs_a) + len(pairs_b))


def _pairs(word: str) -> set[str]:
    return {word[at : at + 2] for at in range(len(word) - 1)}
