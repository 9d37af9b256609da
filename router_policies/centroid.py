"""Centroid: a classifier that knows each task by the mean of its examples, and abstains where two are nearly as near.

A text is a bag of its words and pairs of neighbouring words, hashed into 2^14 places, weighed by TF-IDF and of length
one; a task is the mean of its examples, of length one as well; the margin of a text is how much greater its cosine
with the nearest task is than that with the next.
"""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final
from zlib import crc32

import numpy as np
import numpy.typing as npt

from farthing.shares import wilson
from router_policies.lowmargin import usual_share
from router_policies.tasks import Guess

PLACES: Final = 1 << 14
TEXT_CHARS: Final = 4_096
"""Of a text that are read."""
FORMAT: Final = 1
_WORD: Final = re.compile(r"[^\W_]+")

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


class BadArtefact(ValueError):
    """The text is no classifier that this version can use; it says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bag:
    """A text: the places of its words and pairs, ascending, and 1 + ln of how often each occurs."""

    places: Places
    counts: Floats


def bag_of(text: str) -> Bag:
    """What the classifier sees of a text."""
    words = [word.encode("utf-8", "surrogatepass") for word in _WORD.findall(text[:TEXT_CHARS].lower())]
    pairs = [first + b" " + second for first, second in pairwise(words)]
    hashed = np.fromiter(map(crc32, [*words, *pairs]), dtype=np.int64) % PLACES
    places, counts = np.unique(hashed, return_counts=True)
    return Bag(places=places, counts=(1 + np.log(counts)).astype(np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Centroids:
    """Means of length one, a column for each task; `rarity` is the IDF of each place."""

    tasks: tuple[str, ...]
    rarity: Floats
    means: Floats

    def guess(self, bag: Bag) -> Guess:
        """The nearest task; with cosine 0 where the text has no word in common with any example."""
        weights = bag.counts * self.rarity[bag.places]
        length = float(np.sqrt(np.dot(weights, weights))) or 1.0
        cosines = (weights @ self.means[bag.places]) / length
        best, next_best = np.argsort(-cosines, kind="stable")[:2]
        return Guess(self.tasks[best], float(cosines[best] - cosines[next_best]), float(cosines[best]))


def fit(bags: Sequence[Bag], labels: Sequence[int], tasks: tuple[str, ...]) -> Centroids:
    """The means of these bags; `labels` are positions in `tasks`, of which there are two at least."""
    seen = np.zeros(PLACES, dtype=np.int64)
    for bag in bags:
        seen[bag.places] += 1
    rarity = _rarity(seen, len(bags))
    means = np.zeros((PLACES, len(tasks)), dtype=np.float32)
    for bag, label in zip(bags, labels, strict=True):
        weights = bag.counts * rarity[bag.places]
        means[bag.places, label] += weights / (np.sqrt(np.dot(weights, weights)) or 1.0)
    lengths = np.linalg.norm(means, axis=0)
    means /= np.where(lengths > 0, lengths, 1.0)
    return Centroids(tasks=tasks, rarity=rarity, means=means)


def _rarity(seen: npt.NDArray[np.int64], items: int) -> Floats:
    return (np.log((1 + items) / (1 + seen)) + 1).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """How examples fared that the means had not seen. Shares in [0, 1]; those without `checked` are of the examples
    by which the threshold was chosen, `checked_` ones of a half by which it was not.

    `low` is, by task, the share that would have been abstained from or taken for another task.
    """

    items: int
    right: float
    covered: float
    right_if_covered: float
    checked_covered: float
    checked_right: float
    low: dict[str, float]
    counts: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CentroidClassifier:
    """Port `Classifier`. A guess is sure from `margin` and `cosine` on; `held` says how often such guesses are right.
    `source` is the SHA-256 of the examples."""

    centroids: Centroids
    margin: float
    cosine: float
    held: Held
    source: str

    def guess(self, text: str) -> Guess:
        """See the port."""
        return self.centroids.guess(bag_of(text))

    def is_sure(self, guess: Guess) -> bool:
        """See the port."""
        return guess.margin >= self.margin and guess.cosine >= self.cosine

    @property
    def tasks(self) -> frozenset[str]:
        """Those that it knows."""
        return frozenset(self.centroids.tasks) - {""}

    def usual_low(self, task: str) -> float:
        """The share of the task's requests that may be of low margin, or be taken for another task's, without that
        being news."""
        count = self.held.counts[task]
        return usual_share(wilson(self.held.low[task], count)[1])


# --- the artefact --------------------------------------------------------------------------------


def to_text(classifier: CentroidClassifier) -> str:
    """JSON, in which people can read all but the numbers of the means."""
    means = classifier.centroids.means
    members = {
        "format": FORMAT,
        "tasks": list(classifier.centroids.tasks),
        "margin": classifier.margin,
        "cosine": classifier.cosine,
        "held": asdict(classifier.held),
        "source": classifier.source,
        "rarity": _packed(classifier.centroids.rarity),
        "means": {
            task: [_packed(np.flatnonzero(column).astype("<u2")), _packed(column[column != 0])]
            for task, column in zip(classifier.centroids.tasks, means.T, strict=True)
        },
    }
    return json.dumps(members, indent=1) + "\n"


def from_text(text: str) -> CentroidClassifier:
    """The classifier that `to_text` wrote. Raises BadArtefact."""
    try:
        members = json.loads(text)
        if members["format"] != FORMAT:
            raise BadArtefact("it was written by another version: run `farthing tasks train` again")
        return CentroidClassifier(
            centroids=_centroids(members),
            margin=float(members["margin"]),
            cosine=float(members["cosine"]),
            held=Held(**members["held"]),
            source=str(members["source"]),
        )
    except (ValueError, KeyError, TypeError, IndexError, binascii.Error) as error:
        if isinstance(error, BadArtefact):
            raise
        raise BadArtefact("it is damaged: run `farthing tasks train` again") from None


def _centroids(members: dict[str, Any]) -> Centroids:
    tasks = tuple(map(str, members["tasks"]))
    rarity = _unpacked(members["rarity"], "<f4")
    means = np.zeros((PLACES, len(tasks)), dtype=np.float32)
    for column, task in enumerate(tasks):
        places, values = members["means"][task]
        means[_unpacked(places, "<u2"), column] = _unpacked(values, "<f4")
    if rarity.shape != (PLACES,) or len(tasks) < 2 or not (np.isfinite(means).all() and np.isfinite(rarity).all()):
        raise BadArtefact("its numbers do not fit: run `farthing tasks train` again")
    return Centroids(tasks=tasks, rarity=rarity, means=means)


def _packed(array: npt.NDArray[Any]) -> str:
    kind = "<u2" if array.dtype.kind == "u" else "<f4"
    return base64.b64encode(array.astype(kind).tobytes()).decode("ascii")


def _unpacked(text: str, kind: str) -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=kind)
