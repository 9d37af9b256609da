"""What a cheap filter before the embedding would avoid, and which hits it would cost. `python -m bench.prefilter`.

The streams of `bench.semantic_cache` are played by Farthing's rule at a budget of 1 %; beside it a filter says for each
request whether any kept question is like it at all. Nothing is filtered: what it would have cut is counted, so that the
figures do not hang on what the rule learns from other hits. The static model is measured where the package wordllama
(not a dependency) is installed. Needs the labelled data; about a minute. The verifier is the one that ships, which has
seen texts of two of the streams: how good the cache is tell other tables, here the hits count that a filter would cut.
"""

import argparse
import importlib.util
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.cacherules import CalibratedRule
from bench.cachestreams import Near, Stream, play
from bench.results import DIRECTORY, write_result
from bench.semantic_cache import QQP_STREAM_PAIRS, order_of
from cache.guards import parse
from cache.verifier import Verifier
from train.data import HOME, Question, banking77_stream, clinc150_stream, qqp_questions, qqp_test
from train.texts import Embedded

COMMAND: Final = "python -m bench.prefilter"
BUDGET: Final = 0.01
SEEDS: Final = range(3)
Likeness = NDArray[np.float32]


def qqp_stream() -> list[Question]:
    """As `bench.semantic_cache` plays it."""
    questions = qqp_questions(qqp_test(QQP_STREAM_PAIRS))
    random.Random(3).shuffle(questions)
    return questions


STREAMS: Final = {"Banking77": banking77_stream, "CLINC150": clinc150_stream, "QQP": qqp_stream}


class Signature(Protocol):
    """Something cheap by which questions are alike."""

    def like(self, asked: int, kept: NDArray[np.intp]) -> Likeness:
        """How much each of those kept is like the one asked, from 0 to 1."""


class Words:
    """The share of content words (stems) that two questions have in common of all that either has."""

    name = "words in common"
    levels = (0.01, 0.2, 0.3, 0.4, 0.5)

    def __init__(self, texts: Sequence[str]) -> None:
        self._stems = [{token.stem for token in parse(text).tokens if token.content} for text in texts]
        self._sizes = np.array([len(stems) for stems in self._stems], np.float32)
        having: defaultdict[str, list[int]] = defaultdict(list)
        for at, stems in enumerate(self._stems):
            for stem in stems:
                having[stem].append(at)
        self._having = {stem: np.array(places, np.intp) for stem, places in having.items()}

    def like(self, asked: int, kept: NDArray[np.intp]) -> Likeness:
        """See the port."""
        shared = np.zeros(len(self._sizes), np.float32)
        for stem in self._stems[asked]:
            shared[self._having[stem]] += 1
        either = self._sizes[asked] + self._sizes[kept] - shared[kept]
        found: Likeness = shared[kept] / np.maximum(either, 1)
        return found


class StaticModel:
    """The cosine of two means of word vectors: wordllama, 256 dimensions, 16 MB."""

    name = "static model"
    levels = (0.5, 0.6, 0.7, 0.75, 0.8)

    def __init__(self, texts: Sequence[str], package: Path) -> None:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(next((package / "tokenizers").glob("*.json"))))
        tokenizer.no_padding()
        table = _table(next((package / "weights").glob("*.safetensors")))
        ids = [tokenizer.encode(text, add_special_tokens=False).ids or [0] for text in texts]
        vectors = np.stack([table[one].mean(axis=0) for one in ids])
        self._vectors: Likeness = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def like(self, asked: int, kept: NDArray[np.intp]) -> Likeness:
        """See the port."""
        found: Likeness = self._vectors[kept] @ self._vectors[asked]
        return found


def _table(file: Path) -> Likeness:
    """The only tensor of a safetensors file."""
    raw = file.read_bytes()
    begin = 8 + int.from_bytes(raw[:8], "little")
    (about,) = [value for name, value in json.loads(raw[8:begin]).items() if name != "__metadata__"]
    kinds = {"F16": np.float16, "F32": np.float32}
    first, last = about["data_offsets"]
    data = np.frombuffer(raw[begin + first : begin + last], kinds[about["dtype"]])
    return data.reshape(about["shape"]).astype(np.float32)


class Watched:
    """Farthing's rule, with a note of how like the likest kept question is to each one asked."""

    def __init__(self, rule: CalibratedRule, signature: Signature, size: int) -> None:
        self._rule, self._signature = rule, signature
        self._kept = np.empty(size, np.intp)
        self._number = 0
        self.seconds = 0.0
        self.likest = np.zeros(size, np.float32)  # by the question asked
        self.compared = np.zeros(size, np.float32)  # by the kept question: with the one most like it that came later

    def serve(self, asked: int, near: Sequence[Near], right: Callable[[Near], bool]) -> Near | None:
        """See the port."""
        kept = self._kept[: self._number]
        started = time.perf_counter()
        like = self._signature.like(asked, kept)
        self.seconds += time.perf_counter() - started
        self.likest[asked] = like.max(initial=0)
        self.compared[kept] = np.maximum(self.compared[kept], like)
        served = self._rule.serve(asked, near, right)
        if served is None:
            self._kept[self._number] = asked
            self._number += 1
        return served


def rows(name: str, stream: Stream, signature: Any) -> list[dict[str, Any]]:
    """One for each level of likeness below which nothing would be embedded; means over the seeds."""
    found: defaultdict[float, list[tuple[float, ...]]] = defaultdict(list)
    for seed in SEEDS:
        order = order_of(stream, seed)
        hits: dict[int, bool] = {}
        watched = Watched(CalibratedRule(BUDGET, seed, certain=Verifier.certain), signature, len(order))

        def watch(number: int, hit: bool, right: bool, hits: dict[int, bool] = hits, order: list[int] = order) -> None:
            if hit:
                hits[order[number]] = right

        play(stream, order, watched, watch)
        right = [asked for asked, is_right in hits.items() if is_right]
        wrong = [asked for asked, is_right in hits.items() if not is_right]
        for level in signature.levels:
            cut = watched.likest < level
            never = cut & (watched.compared < level)
            shares = map(_percent, (cut, never, cut[right], cut[wrong]))
            found[level].append((*shares, 1e6 * watched.seconds / len(order)))
    names = ("not looked up %", "never embedded %", "right hits lost %", "wrong hits avoided %", "µs a lookup")
    return [
        {"stream": name, "filter": signature.name, "least": level}
        | {title: round(fmean(column), 1) for title, column in zip(names, zip(*shares, strict=True), strict=True)}
        for level, shares in found.items()
    ]


def _percent(which: NDArray[np.bool_]) -> float:
    return 100 * float(which.mean()) if len(which) else 0.0


def main() -> None:
    """Run all, or say why not."""
    argparse.ArgumentParser(prog=COMMAND, description=__doc__).parse_args()
    if not HOME.is_dir():
        raise SystemExit(f"The labelled data is not on this machine: {HOME.name} was looked for beside the project.")
    spec = importlib.util.find_spec("wordllama")
    package = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
    embedded, figures = Embedded(), []
    for name, questions in STREAMS.items():
        stream = Stream(questions(), embedded, Verifier.load())
        texts = [question.text for question in stream.questions]
        figures += rows(name, stream, Words(texts))
        if package is not None:
            figures += rows(name, stream, StaticModel(texts, package))
        print(f"{name} is done", flush=True)
    write_result(
        DIRECTORY / "semantic_cache_prefilter.json",
        name="Semantic cache: a filter before the embedding",
        command=COMMAND,
        figures=figures,
        note="The static model: the package wordllama 0.4.0.post1 (MIT), installed beside.",
    )


if __name__ == "__main__":
    main()
