"""The labelled data and its splits, fixed here before anything is trained or chosen.

Every split goes by a hash of the text's own component, so no text, nor a text paired with it, is on both sides.
"""

import csv
import gzip
import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from train.traps import Pair

HOME: Final = Path(__file__).parents[2] / "shared" / "data" / "semantic-cache"
"""Beside the project; data/semantic-cache/README.md there has sources and licences."""


@dataclass(frozen=True, slots=True)
class Question:
    """A text of a stream; texts of one intent are served by one answer."""

    text: str
    intent: str


class Half(StrEnum):
    """PAWS: one half to train with (and to choose by, cross-validated), one that only figures are read from."""

    TRAIN = "train"
    TEST = "test"


def number(text: str) -> int:
    """A number that depends on the text alone, the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


# --- PAWS ----------------------------------------------------------------------------------------


def paws(half: Half, home: Path = HOME) -> list[Pair]:
    """Half of the development pairs. Sentences recur in many pairs: components are split, not pairs."""
    rows = _paws_rows(home)
    component = _components([(pair.a, pair.b) for pair in rows] + [(s, _bag(s)) for p in rows for s in (p.a, p.b)])
    wanted = 0 if half is Half.TRAIN else 1
    return [pair for pair in rows if number("paws" + component(pair.a)) % 2 == wanted]


def paws_folds(pairs: Sequence[Pair], folds: int = 5) -> list[int]:
    """The fold of each pair, by component, for cross-validation."""
    component = _components([(pair.a, pair.b) for pair in pairs])
    return [number("fold" + component(pair.a)) % folds for pair in pairs]


def _paws_rows(home: Path) -> list[Pair]:
    with (home / "paws_wiki_dev.csv").open(encoding="utf-8", newline="") as file:
        return [Pair(row["sentence1"], row["sentence2"], row["label"] == "1", "paws") for row in csv.DictReader(file)]


def _bag(text: str) -> str:
    return "#" + " ".join(sorted(text.lower().split()))


def _components(links: Iterable[tuple[str, str]]) -> Callable[[str], str]:
    """Union-find; a component is named by its least member."""
    parent: dict[str, str] = {}

    def root(text: str) -> str:
        while parent.setdefault(text, text) != text:
            parent[text] = parent[parent[text]]
            text = parent[text]
        return text

    for a, b in links:
        x, y = sorted((root(a), root(b)))
        parent[y] = x
    return root


# --- intents -------------------------------------------------------------------------------------


def banking77(home: Path = HOME) -> list[Question]:
    """10,003 questions to a bank, in file order."""
    with (home / "banking77_train.csv").open(encoding="utf-8", newline="") as file:
        return [Question(row["text"], row["category"]) for row in csv.DictReader(file)]


def clinc150(home: Path = HOME) -> list[Question]:
    """23,700 questions to an assistant; each out-of-scope one is an intent of its own."""
    data = json.loads((home / "clinc150_data_full.json").read_text("utf-8"))
    rows = [Question(text, intent) for part in ("train", "val", "test") for text, intent in data[part]]
    strangers = [text for part in ("oos_train", "oos_val", "oos_test") for text, _ in data[part]]
    return rows + [Question(text, f"out of scope {at}") for at, text in enumerate(strangers)]


def banking77_stream(home: Path = HOME) -> list[Question]:
    """The reported stream: seed 1, first 8,000."""
    return _shuffled(banking77(home), 1)[:8000]


def clinc150_stream(home: Path = HOME) -> list[Question]:
    """The reported stream: seed 2, first 9,000."""
    return _shuffled(clinc150(home), 2)[:9000]


def clinc150_choices(home: Path = HOME) -> list[Question]:
    """Rows that the reported stream leaves over, to choose the calibration's constants by."""
    return _shuffled(clinc150(home), 2)[9000:18000]


def _shuffled(rows: list[Question], seed: int) -> list[Question]:
    random.Random(seed).shuffle(rows)
    return rows


# --- for measuring only: nothing that ships is trained on these -----------------------------------


def qqp_test(pairs: int, home: Path = HOME) -> list[Pair]:
    """The first pairs of the test part: components shuffled with seed 7, the 16,000 pairs after the first 16,000."""
    with gzip.open(home / "gptcache_qqp_pairs.json.gz", "rt", encoding="utf-8") as file:
        rows = [
            Pair(" ".join(row["text_a"].split()), " ".join(row["text_b"].split()), int(row["label"]) == 1, "qqp")
            for row in json.load(file)
        ]
    component = _components((row.a, row.b) for row in rows)
    groups: dict[str, list[Pair]] = defaultdict(list)
    for row in rows:
        groups[component(row.a)].append(row)
    roots = sorted(groups)
    random.Random(7).shuffle(roots)
    return [row for root in roots for row in groups[root]][16000 : 16000 + pairs]


def qqp_questions(pairs: Sequence[Pair]) -> list[Question]:
    """Their distinct questions; questions that labels join are one intent."""
    cluster = _components((pair.a, pair.b) for pair in pairs if pair.same)
    return [
        Question(text, cluster(text)) for text in dict.fromkeys(text for pair in pairs for text in (pair.a, pair.b))
    ]


def synthetic_traps(home: Path = HOME) -> list[Pair]:
    """Made by other rules than ours, from QQP questions."""
    lines = (home / "synthetic_traps.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [Pair(row["a"], row["b"], bool(row["same"]), row["kind"]) for row in rows]
