"""Train the cache's verifier: `python -m train.verifier` writes cache/data/verifier.json.

Only data whose licence lets us ship what was learned: PAWS (one half), Banking77, CLINC150, and traps made by rule
from those. `train_without` leaves a data set out, for figures about that set.
"""

import argparse
import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache.guards import parse
from cache.likeness import FALLING, FEATURES, RISING, Weights, compare
from cache.verifier import MODEL, Forest, Verifier, packaged_frequencies
from train.data import HOME, Half, Question, banking77, clinc150, number, paws
from train.texts import Embedded
from train.traps import Pair, make_pairs

DATA: Final = Path(__file__).parents[1] / "cache" / "data"
TREES: Final = 200
SEED: Final = 11
TRAP_SOURCES: Final = {"paws": 1500, "banking77": 3000, "clinc150": 3000}
"""Texts of each that traps are made from."""
NEIGHBOURS: Final = 6
INTENT_WEIGHT: Final = 0.3
"""Of a pair of questions to one intent: looser than a paraphrase, so it may not outvote the other kinds."""


@dataclass(frozen=True, slots=True)
class Example:
    """A pair and how much it counts in training."""

    pair: Pair
    weight: float


def examples(embedded: Embedded, home: Path = HOME, *, without: Collection[str] = ()) -> list[Example]:
    """The training mix. `without`: names of data sets ("paws", "banking77", "clinc150") of which nothing is taken."""
    sources = {
        "paws": [text for pair in paws(Half.TRAIN, home) for text in (pair.a, pair.b)],
        "banking77": [question.text for question in banking77(home)],
        "clinc150": [question.text for question in clinc150(home)],
    }
    found = [Example(pair, 1.0) for pair in paws(Half.TRAIN, home) if "paws" not in without]
    for name, texts in sources.items():
        if name not in without:
            chosen = sorted(set(texts), key=number)[: TRAP_SOURCES[name]]
            found += [Example(pair, 1.0) for pair in make_pairs(chosen, SEED)]
    for name, questions, pairs in (("banking77", banking77(home), 6000), ("clinc150", clinc150(home), 8000)):
        if name not in without:
            found += [Example(pair, INTENT_WEIGHT) for pair in near_pairs(questions, pairs, embedded)]
    return found


def near_pairs(questions: Sequence[Question], wanted: int, embedded: Embedded) -> Iterator[Pair]:
    """Half of the questions ask, half are kept; each asking one with a near kept one, as a cache would find it."""
    dice = np.random.default_rng(SEED)
    distinct = list({question.text: question for question in questions}.values())
    order = dice.permutation(len(distinct))
    asking, kept = order[: len(order) // 2][:wanted], order[len(order) // 2 :]
    vectors = embedded.of([question.text for question in distinct])
    for at in asking:
        cosines = vectors[kept] @ vectors[at]
        near = np.argsort(-cosines)[:NEIGHBOURS]
        one, other = distinct[at], distinct[kept[near[min(NEIGHBOURS - 1, int(dice.exponential(1.4)))]]]
        yield Pair(one.text, other.text, one.intent == other.intent, "intent")


def features_of(pairs: Sequence[Pair], embedded: Embedded, weights: Weights) -> NDArray[np.float64]:
    """One row a pair."""
    ours = embedded.of([pair.a for pair in pairs])
    theirs = embedded.of([pair.b for pair in pairs])
    cosines = (ours * theirs).sum(axis=1)
    return np.array(
        [
            compare(parse(pair.a), parse(pair.b), float(cosine), weights)
            for pair, cosine in zip(pairs, cosines, strict=True)
        ]
    )


def fit(mix: Sequence[Example], embedded: Embedded, weights: Weights) -> dict[str, Any]:
    """A model as `cache.verifier.Forest` reads it."""
    pairs = [example.pair for example in mix]
    return fit_rows(
        features_of(pairs, embedded, weights),
        np.array([pair.same for pair in pairs]),
        np.array([example.weight for example in mix]),
    )


def fit_rows(rows: NDArray[np.float64], same: NDArray[np.bool_], counts: NDArray[np.float64]) -> dict[str, Any]:
    """The boosting itself; monotone where it is known which way a feature must point."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=TREES,
        learning_rate=0.06,
        max_leaf_nodes=12,
        min_samples_leaf=40,
        l2_regularization=1.0,
        monotonic_cst=[1 if name in RISING else -1 if name in FALLING else 0 for name in FEATURES],
        early_stopping=False,
        random_state=0,
    ).fit(rows, same, sample_weight=counts)
    trees = [_Tree(trees[0].nodes) for trees in model._predictors]
    return _exported(trees, base=float(np.ravel(model._baseline_prediction)[0]))


def train_without(embedded: Embedded, weights: Weights, *names: str, home: Path = HOME) -> Verifier:
    """A verifier that never saw a text of these data sets."""
    return Verifier(Forest(fit(examples(embedded, home, without=names), embedded, weights)), weights)


# --- the file ------------------------------------------------------------------------------------


class _Tree:
    """One tree with its leaves numbered from left to right, as `Forest` wants it."""

    def __init__(self, nodes: Any) -> None:
        self.leaves: list[float] = []
        self.nodes: list[tuple[int, float, int]] = []
        self._walk(nodes, 0)
        if not self.nodes:  # a single leaf: a node that never strikes out anything
            self.nodes.append((0, float("inf"), 0xFFFF))

    def _walk(self, nodes: Any, at: int) -> None:
        node = nodes[at]
        if node["is_leaf"]:
            self.leaves.append(round(float(node["value"]), 6))
            return
        first = len(self.leaves)
        self._walk(nodes, int(node["left"]))
        struck = sum(1 << leaf for leaf in range(first, len(self.leaves)))
        self.nodes.append((int(node["feature_idx"]), round(float(node["num_threshold"]), 6), 0xFFFF & ~struck))
        self._walk(nodes, int(node["right"]))


def _exported(trees: Sequence[_Tree], *, base: float) -> dict[str, Any]:
    nodes = [node for tree in trees for node in tree.nodes]
    return {
        "features": list(FEATURES),
        "base": round(base, 6),
        "tree_starts": [sum(len(tree.nodes) for tree in trees[:at]) for at in range(len(trees))],
        "node_features": [feature for feature, _, _ in nodes],
        "node_thresholds": [threshold for _, threshold, _ in nodes],
        "node_masks": [mask for _, _, mask in nodes],
        "leaves": [tree.leaves + [0.0] * (16 - len(tree.leaves)) for tree in trees],
    }


def main() -> None:
    """Train on all that is allowed and write the model."""
    argparse.ArgumentParser(prog="python -m train.verifier", description=__doc__).parse_args()
    embedded = Embedded()
    model = fit(examples(embedded), embedded, packaged_frequencies())
    text = json.dumps(model, separators=(",", ":")) + "\n"
    DATA.mkdir(exist_ok=True)
    (DATA / MODEL).write_text(text)
    print(MODEL, hashlib.sha256(text.encode()).hexdigest(), "goes into cache/verifier.py and docs/verifier.md")


if __name__ == "__main__":
    main()
