"""Streams of questions played against rules of semantic caches: who is served whose answer, and was it right?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cache.guards import parse, veto
from cache.verifier import Verifier
from train.data import Question
from train.texts import Embedded

NEIGHBOURS: Final = 5
"""As many as the cache itself looks at (`cache.semantic`)."""


class Near(NamedTuple):
    """A kept question near the one that is asked. `score`: the verifier's, None where a guard objects."""

    entry: int
    cosine: float
    score: float | None


class Rule(Protocol):
    """Decides which near question's answer is served."""

    def serve(self, asked: int, near: Sequence[Near], right: Callable[[Near], bool]) -> Near | None:
        """One of `near` (nearest first), or None; a miss is kept as entry `asked`. `right` has an answer graded."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of a stream. `graded_hits` were sent upstream although they were served from the cache."""

    requests: int
    hits: int
    wrong: int
    graded_hits: int

    @property
    def hits_share(self) -> float:
        """Per cent of requests."""
        return 100 * self.hits / self.requests

    @property
    def wrong_share(self) -> float:
        """Per cent of requests."""
        return 100 * self.wrong / self.requests

    @property
    def wrong_per_hit(self) -> float:
        """Per cent of hits."""
        return 100 * self.wrong / max(1, self.hits)


class Stream:
    """Questions with what is known of every two of them; scores are computed when first asked for, and kept."""

    def __init__(self, questions: Sequence[Question], embedded: Embedded, verifier: Verifier) -> None:
        self.questions = list(questions)
        vectors = embedded.of([question.text for question in questions])
        self._cosines: NDArray[np.float32] = vectors @ vectors.T
        self._verifier = verifier
        self._parsed = [parse(question.text) for question in questions]
        self._scores: dict[tuple[int, int], float | None] = {}

    def of(self, questions: Sequence[Question], embedded: Embedded) -> "Stream":
        """A stream of other questions with the same verifier."""
        return Stream(questions, embedded, self._verifier)

    def near(self, asked: int, kept: NDArray[np.intp]) -> list[Near]:
        """The nearest of those kept, nearest first."""
        if not len(kept):
            return []
        cosines = self._cosines[asked, kept]
        if len(kept) > NEIGHBOURS:
            best = np.argpartition(-cosines, NEIGHBOURS)[:NEIGHBOURS]
            kept, cosines = kept[best], cosines[best]
        places = np.argsort(-cosines, kind="stable")
        return [
            Near(int(kept[at]), float(cosines[at]), self._score(asked, int(kept[at]), float(cosines[at])))
            for at in places
        ]

    def same(self, asked: int, entry: int) -> bool:
        """The label: would the answer to one serve the other?"""
        return self.questions[asked].intent == self.questions[entry].intent

    def _score(self, asked: int, entry: int, cosine: float) -> float | None:
        key = (asked, entry)
        if key not in self._scores:
            a, b = self._parsed[asked], self._parsed[entry]
            self._scores[key] = None if veto(a, b) else self._verifier.score(a, [b], [cosine])[0]
        return self._scores[key]


Watch = Callable[[int, bool, bool], None]
"""Called for each request with its number, whether it was served from the cache and whether that was right."""


def play(stream: Stream, order: Sequence[int], rule: Rule, watch: Watch | None = None) -> Tally:
    """Each request looks among those kept before it; a miss is kept, a hit is not."""
    kept = np.empty(len(order), np.intp)
    size = hits = wrong = graded_hits = 0
    for number, asked in enumerate(order):
        graded: list[Near] = []
        near = stream.near(asked, kept[:size])
        served = rule.serve(asked, near, _grader(stream, asked, graded))
        right = served is not None and stream.same(asked, served.entry)
        if served is None:
            kept[size] = asked
            size += 1
        else:
            hits += 1
            wrong += not right
            graded_hits += bool(graded)
        if watch is not None:
            watch(number, served is not None, right)
    return Tally(len(order), hits, wrong, graded_hits)


def _grader(stream: Stream, asked: int, graded: list[Near]) -> Callable[[Near], bool]:
    def right(near: Near) -> bool:
        graded.append(near)
        return stream.same(asked, near.entry)

    return right
