"""How well requests are told by examples: accuracy and share of the sure guesses, by the number of examples."""

import csv
import gzip
import json
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from router_policies.centroid import CentroidClassifier
from router_policies.training import CannotTell, Example, train

SIZES: Final = (10, 25, 50, 100)
SEEDS: Final = 10
TESTED: Final = 100
"""Requests of each type that no example is."""
SUBJECTS: Final = (
    "professional_law",
    "miscellaneous",
    "professional_psychology",
    "high_school_macroeconomics",
    "nutrition",
)
STRANGERS: Final = (
    "prehistory",
    "security_studies",
    "conceptual_physics",
    "marketing",
    "professional_accounting",
)
"""MMLU subjects that no task has examples of."""
OTHERS: Final = 100
NOTE: Final = """Ten types of requests, wrappers stripped: GSM8K, MATH level 5 and CRUXEval (ZeroEval), five MMLU
subjects (RouteLLM), Banking77, CLINC150. Mean of ten draws: so many examples of each type, tested on a hundred others
of each. `right` of all guesses; `top 80 %` of those with the largest margin; `sure` the share above the learned limits
and `right if sure`; `strangers sure`: of requests of no type (five more MMLU subjects, CLINC150's out of scope) the
share that is taken for one all the same, and with a hundred of them as examples of no task (none of which is tested).
`refused`: draws whose training found no margin. Microseconds are CPU of one guess."""
Row = Mapping[str, Any]


def task_figures(data: Path) -> list[Row]:
    """A row for each number of examples; `data` is the folder of recorded outcomes, beside that of labelled texts."""
    types, strangers = read_types(data)
    return [_row(size, types, strangers) for size in SIZES]


def read_types(data: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Texts by type, and texts of none."""
    types: dict[str, list[str]] = defaultdict(list)
    strangers = []
    for row in _lines(data / "zeroeval" / "prompts.jsonl.gz"):
        types[row["task"]].append(_stripped(row["prompt"]))
    for row in _lines(data / "routellm" / "outcomes.jsonl.gz"):
        if row["task"] in SUBJECTS:
            types[row["task"]].append(row["prompt"])
        elif row["task"] in STRANGERS:
            strangers.append(row["prompt"])
    labelled = data.parent / "semantic-cache"
    with (labelled / "banking77_train.csv").open(encoding="utf-8", newline="") as file:
        types["banking"] = [row["text"] for row in csv.DictReader(file)]
    clinc = json.loads((labelled / "clinc150_data_full.json").read_text(encoding="utf-8"))
    types["assistant"] = [text for text, _ in clinc["train"]]
    strangers += [text for text, _ in clinc["oos_test"]]
    return {name: sorted(set(texts)) for name, texts in types.items()}, sorted(set(strangers))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _stripped(prompt: str) -> str:
    """ZeroEval's question without what stands around every one of them."""
    question = prompt.partition("## Question:")[2].partition("## Instruction")[0].strip()
    return question.partition("[PYTHON]")[2].partition("[/PYTHON]")[0] or question


def _row(size: int, types: Mapping[str, Sequence[str]], strangers: Sequence[str]) -> Row:
    draws = [_draw(size, types, strangers, seed) for seed in range(SEEDS)]
    told = [draw for draw in draws if draw]
    means = {name: round(float(np.mean([draw[name] for draw in told])), 3) for name in told[0]}
    return {"examples": size, **means, "refused": len(draws) - len(told)}


def _draw(
    size: int, types: Mapping[str, Sequence[str]], strangers: Sequence[str], seed: int
) -> dict[str, float] | None:
    dice = random.Random(seed)
    examples, tested = [], []
    for name in sorted(types):
        texts = dice.sample(list(types[name]), size + TESTED)
        examples += [Example(name, text) for text in texts[:size]]
        tested += [Example(name, text) for text in texts[size:]]
    unknown = dice.sample(list(strangers), OTHERS + 500)
    try:
        plain = train(examples)
        warned = train([*examples, *(Example("", text) for text in unknown[:OTHERS])])
    except CannotTell:
        return None
    return {**_fared(plain, tested), **_mistaken(plain, warned, unknown[OTHERS:]), **_microseconds(plain, tested)}


def _fared(classifier: CentroidClassifier, tested: Sequence[Example]) -> dict[str, float]:
    guesses = [(example.task, classifier.guess(example.text)) for example in tested]
    widest = sorted(guesses, key=lambda pair: -pair[1].margin)[: int(0.8 * len(guesses))]
    sure = [pair for pair in guesses if classifier.is_sure(pair[1])]
    return {
        "right": _share([task == guess.task for task, guess in guesses]),
        "top 80 %": _share([task == guess.task for task, guess in widest]),
        "sure": len(sure) / len(guesses),
        "right if sure": _share([task == guess.task for task, guess in sure]),
    }


def _mistaken(plain: CentroidClassifier, warned: CentroidClassifier, unknown: Sequence[str]) -> dict[str, float]:
    def taken(classifier: CentroidClassifier) -> float:
        guesses = [classifier.guess(text) for text in unknown]
        return _share([bool(guess.task) and classifier.is_sure(guess) for guess in guesses])

    return {"strangers sure": taken(plain), "with examples of none": taken(warned)}


def _microseconds(classifier: CentroidClassifier, tested: Sequence[Example]) -> dict[str, float]:
    times = []
    for example in tested:
        began = time.thread_time()
        classifier.guess(example.text)
        times.append((time.thread_time() - began) * 1e6)
    return {"cpu us": float(np.quantile(times, 0.5)), "cpu us, p99": float(np.quantile(times, 0.99))}


def _share(holds: Sequence[bool]) -> float:
    return sum(holds) / len(holds) if holds else 0.0
