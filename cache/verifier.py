"""The verifier: how sure it is, from 0 to 1, that one answer serves two prompts.

A gradient boosting of small trees over `cache.likeness`, trained by `train/verifier.py` (docs/verifier.md). Pure: no
training, no network, the same score for the same prompts everywhere.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from math import log
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from cache.guards import ParsedPrompt
from cache.likeness import FEATURES, Weights, compare

MODEL: Final = "verifier.json"
MODEL_SHA256: Final = "cf7640483656abc5c697602d3ec60e09166a287b70a274787e3d67be75958212"
"""Also in docs/verifier.md, with what the model was trained on and how good it is."""
_MOST_LEAVES: Final = 16
"""Of a tree: what fits the bits of its mask."""


class Frequencies:
    """How much a word says, by its rank among words in the order of their frequency."""

    def __init__(self, words: Sequence[str]) -> None:
        self._weights = {word: log(1 + rank / 20) for rank, word in enumerate(words)}
        self._rare = log(1 + len(words) / 20)

    def __call__(self, word: str) -> float:
        """ln(1 + rank/20): 0 for "the", 2.4 for the 200th word, 7 for one that is not among them."""
        return self._weights.get(word, self._rare)


def packaged_frequencies() -> Frequencies:
    """Of the words of MiniLM's vocabulary, which lists them by frequency."""
    text = files("cache.embedders").joinpath("data", "minilm-tokenizer.json").read_text("utf-8")
    vocabulary: dict[str, int] = json.loads(text)["model"]["vocab"]
    words = [word for word in vocabulary if re.fullmatch("[a-z]{2,}", word)]
    return Frequencies(sorted(words, key=vocabulary.__getitem__))


class Forest:
    """Trees evaluated side by side: each node that says "right" strikes out the leaves on its left.

    `masks` has a bit a leaf, the leftmost lowest; after all nodes of a tree its lowest bit left is the leaf.
    """

    def __init__(self, model: Mapping[str, Any]) -> None:
        if tuple(model["features"]) != FEATURES:
            raise ValueError("the verifier's model was trained for other features: run python -m train.verifier")
        self._features = np.array(model["node_features"], np.intp)
        self._thresholds = np.array(model["node_thresholds"], np.float64)
        self._masks = np.array(model["node_masks"], np.uint16)
        self._starts = np.array(model["tree_starts"], np.intp)
        self._leaves = np.array(model["leaves"], np.float64)  # trees x _MOST_LEAVES
        self._base = float(model["base"])
        self._tree = np.arange(len(self._starts))
        self._lowest = np.array([(bits & -bits).bit_length() - 1 for bits in range(1 << _MOST_LEAVES)], np.int8)

    def probabilities(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """One value a row of features."""
        right = rows[:, self._features] > self._thresholds
        struck = np.where(right, self._masks, np.uint16(0xFFFF))
        left = np.bitwise_and.reduceat(struck, self._starts, axis=1)
        raw = self._base + self._leaves[self._tree, self._lowest[left]].sum(axis=1)
        found: NDArray[np.float64] = 1 / (1 + np.exp(-raw))
        return found


class Verifier:
    """Scores candidates against what was asked."""

    version = MODEL_SHA256[:12]
    """Scores of different versions mean different things."""
    certain = 0.98
    """Score from which a pair may be served where nothing has been graded yet; how often that is wrong is measured in
    docs/verifier.md."""

    def __init__(self, forest: Forest, weights: Weights) -> None:
        self._forest = forest
        self._weights = weights

    @classmethod
    def load(cls) -> Self:
        """The packaged model; takes about 30 ms. Raises ValueError where the file is not the published one."""
        raw = files("cache").joinpath("data", MODEL).read_bytes()
        if hashlib.sha256(raw).hexdigest() != MODEL_SHA256:
            raise ValueError(f"{MODEL} is not the model of this release: install Farthing anew")
        return cls(Forest(json.loads(raw)), packaged_frequencies())

    def score(self, asked: ParsedPrompt, kept: Sequence[ParsedPrompt], cosines: Sequence[float]) -> Sequence[float]:
        """For each kept prompt, with its cosine to what is asked, how likely its answer serves; 0 if numbers differ."""
        if not kept:
            return []
        rows = [compare(asked, other, cosine, self._weights) for other, cosine in zip(kept, cosines, strict=True)]
        # No likeness makes up for another number; what the model has learned about rare cases is not asked.
        return [
            0.0 if asked.numbers != other.numbers else value
            for other, value in zip(kept, self.probabilities(rows), strict=True)
        ]

    def probabilities(self, rows: Sequence[Sequence[float]]) -> list[float]:
        """What the model alone says to rows of features."""
        return [float(value) for value in self._forest.probabilities(np.array(rows, np.float64))]
