"""How much semantic caches save, and how often they are wrong. `python -m bench.semantic_cache`.

Reads the labelled data beside the project (`train.data.HOME`), writes docs/results/semantic_cache*.json and the plot
docs/semantic_cache.svg. Embedding all questions takes minutes once; they are kept under build/.
"""

import argparse
import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.cacheplot import Point, plot
from bench.cacherules import CalibratedRule, CertainRule, StaticRule, VCacheRule
from bench.cachestreams import Rule, Stream, Tally, play
from bench.results import DIRECTORY, write_result
from cache.guards import parse, veto
from cache.verifier import Verifier, packaged_frequencies
from train.data import (
    HOME,
    Half,
    Question,
    banking77_stream,
    clinc150_stream,
    paws,
    qqp_questions,
    qqp_test,
    synthetic_traps,
)
from train.texts import Embedded
from train.traps import Pair, make_traps
from train.verifier import train_without

COMMAND: Final = "python -m bench.semantic_cache"
SEEDS: Final = range(5)
BUDGETS: Final = (0.005, 0.01, 0.02)
SHARES: Final = (0.01, 0.02, 0.05)
QQP_PAIRS: Final = 4000
QQP_STREAM_PAIRS: Final = 6000
PLOT: Final = DIRECTORY.parent / "semantic_cache.svg"
Rows = list[dict[str, Any]]


# --- pairs ---------------------------------------------------------------------------------------


def pair_rows(embedded: Embedded) -> Rows:
    """Equivalent pairs served while so many of the others are."""
    sets = {"QQP test": qqp_test(QQP_PAIRS), "PAWS test half": paws(Half.TEST), "rule-made traps": synthetic_traps()}
    return [row for name, pairs in sets.items() for row in _pair_set(name, pairs, embedded)]


def _pair_set(name: str, pairs: Sequence[Pair], embedded: Embedded) -> Iterator[dict[str, Any]]:
    same = np.array([pair.same for pair in pairs])
    different = int((~same).sum())
    for scorer, scores in _scores(pairs, embedded).items():
        shares = {f"at {share:.0%}": round(served_at(scores, same, share), 1) for share in SHARES}
        yield (
            {"pairs": name, "same": int(same.sum()), "different": different, "1 % is": int(different * 0.01)}
            | {"scorer": scorer}
            | shares
        )


def _scores(pairs: Sequence[Pair], embedded: Embedded) -> dict[str, NDArray[np.float64]]:
    verifier = Verifier.load()
    cosines = (embedded.of([pair.a for pair in pairs]) * embedded.of([pair.b for pair in pairs])).sum(axis=1)
    parsed = [(parse(pair.a), parse(pair.b)) for pair in pairs]
    passed = np.array([not veto(a, b) for a, b in parsed])
    scores = np.array(
        [verifier.score(a, [b], [float(cosine)])[0] for (a, b), cosine in zip(parsed, cosines, strict=True)]
    )
    return {
        "cosine": cosines.astype(np.float64),
        "cosine, guards": np.where(passed, cosines, -1),
        "verifier": scores,
        "verifier, guards": np.where(passed, scores, -1),
    }


def served_at(scores: NDArray[np.float64], same: NDArray[np.bool_], share: float) -> float:
    """Per cent of the same pairs above the score that no more than so large a share of the others exceeds."""
    others = np.sort(scores[~same])[::-1]
    return float(100 * (scores[same] > others[int(len(others) * share)]).mean())


# --- streams -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Streams:
    """The three streams, each with a verifier that never saw a text of it."""

    embedded: Embedded

    @cached_property
    def all(self) -> dict[str, Stream]:
        """By name."""
        weights = packaged_frequencies()
        return {
            "Banking77": Stream(banking77_stream(), self.embedded, train_without(self.embedded, weights, "banking77")),
            "CLINC150": Stream(clinc150_stream(), self.embedded, train_without(self.embedded, weights, "clinc150")),
            "QQP": Stream(self._qqp(), self.embedded, Verifier.load()),
        }

    @staticmethod
    def _qqp() -> list[Question]:
        questions = qqp_questions(qqp_test(QQP_STREAM_PAIRS))
        random.Random(3).shuffle(questions)
        return questions


def order_of(stream: Stream, seed: int) -> list[int]:
    """Seed 0: as the data's README defines it; others shuffle the same questions."""
    order = list(range(len(stream.questions)))
    if seed:
        random.Random(seed).shuffle(order)
    return order


def stream_rows(streams: Streams, points: list[Point]) -> Rows:
    """Each rule on each stream."""
    rows = []
    for name, stream in streams.all.items():
        for label, seeds, make in _rules():
            tallies = [play(stream, order_of(stream, seed), make(seed)) for seed in seeds]
            rows.append({"stream": name, "rule": label} | _summed(tallies))
        for budget in BUDGETS:
            tallies = [_calibrated(name, stream, budget, seed, points) for seed in SEEDS]
            rows.append({"stream": name, "rule": f"Farthing, budget {100 * budget:g} %"} | _summed(tallies))
            print(rows[-1], flush=True)
    return rows


def _rules() -> Iterator[tuple[str, Sequence[int], Callable[[int], Rule]]]:
    for threshold in (0.8, 0.85, 0.9, 0.95):
        for guards in (False, True):
            label = f"cosine {threshold:g}{', guards' if guards else ''}"
            yield label, (0,), lambda _, t=threshold, g=guards: StaticRule(t, g)  # type: ignore[misc]
    yield f"verifier {Verifier.certain:g} (before evidence)", (0,), lambda _: CertainRule(Verifier.certain)
    for delta in (0.01, 0.02, 0.05):
        yield f"per entry, after vCache's paper, {100 * delta:g} %", (0, 1), lambda seed, d=delta: VCacheRule(d, seed)  # type: ignore[misc]


def _calibrated(name: str, stream: Stream, budget: float, seed: int, points: list[Point]) -> Tally:
    """Also notes what would be published along the way, beside the truth."""
    rule = CalibratedRule(budget, seed, certain=Verifier.certain)
    hits = wrong = 0

    def watch(number: int, hit: bool, right: bool) -> None:
        nonlocal hits, wrong
        hits += hit
        wrong += hit and not right
        if (number + 1) % 2000 == 0:
            told = rule.calibration.estimate().wrong_per_request
            points.append(
                Point(name, budget, seed, number + 1, wrong / (number + 1), told.estimate, told.low, told.high)
            )

    return play(stream, order_of(stream, seed), rule, watch)


def _summed(tallies: Sequence[Tally]) -> dict[str, Any]:
    return {
        "seeds": len(tallies),
        "hits %": round(fmean(tally.hits_share for tally in tallies), 1),
        "wrong % of all": round(fmean(tally.wrong_share for tally in tallies), 2),
        "most wrong % of a seed": round(max(tally.wrong_share for tally in tallies), 2),
        "wrong % of hits": round(fmean(tally.wrong_per_hit for tally in tallies), 2),
        "hits graded %": round(fmean(100 * tally.graded_hits / max(1, tally.hits) for tally in tallies), 1),
    }


# --- hostile streams -----------------------------------------------------------------------------


def hostile_rows(streams: Streams) -> Rows:
    """The first half as it was, then a second half of another kind."""
    rows = []
    for name in ("Banking77", "CLINC150"):
        for kind, turn in (("no answer serves another", _all_own), ("traps", _traps), ("answers changed", _renewed)):
            for budget in BUDGETS[:2]:
                tallies = [_hostile(streams, name, turn, budget, seed) for seed in SEEDS]
                rows.append({"stream": name, "second half": kind, "budget %": 100 * budget} | _summed(tallies))
                print(rows[-1], flush=True)
    return rows


Turn = Callable[[Streams, Stream, Sequence[int], Sequence[int]], tuple[Stream, list[int]]]
"""From a stream and the halves of its order to another stream and its order."""


def _hostile(streams: Streams, name: str, turn: Turn, budget: float, seed: int) -> Tally:
    stream = streams.all[name]
    order = order_of(stream, seed)
    half = len(order) // 2
    turned, turned_order = turn(streams, stream, order[:half], order[half:])
    return play(turned, turned_order, CalibratedRule(budget, seed, certain=Verifier.certain))


def _all_own(streams: Streams, stream: Stream, early: Sequence[int], late: Sequence[int]) -> tuple[Stream, list[int]]:
    """Questions as near as ever, but every one wants an answer of its own."""
    return _relabelled(stream, late, lambda at, _: f"own {at}"), [*early, *late]


def _renewed(streams: Streams, stream: Stream, early: Sequence[int], late: Sequence[int]) -> tuple[Stream, list[int]]:
    """All answers have changed: those kept in the first half are wrong, those kept since are right."""
    return _relabelled(stream, late, lambda _, intent: f"new {intent}"), [*early, *late]


def _relabelled(stream: Stream, late: Sequence[int], label: Callable[[int, str], str]) -> Stream:
    turned = copy.copy(stream)
    turned.questions = list(stream.questions)
    for at in late:
        question = stream.questions[at]
        turned.questions[at] = Question(question.text, label(at, question.intent))
    return turned


def _traps(streams: Streams, stream: Stream, early: Sequence[int], late: Sequence[int]) -> tuple[Stream, list[int]]:
    """Every question is one of the first half with one thing changed that changes the answer."""
    texts = [stream.questions[at].text for at in early]
    traps = [pair.b for pair in make_traps(texts, 99)]
    questions = [stream.questions[at] for at in early] + [Question(text, f"trap {at}") for at, text in enumerate(traps)]
    return stream.of(questions, streams.embedded), list(range(len(questions)))


# --- all -----------------------------------------------------------------------------------------


def main() -> None:
    """Run all, or say why not."""
    argparse.ArgumentParser(prog=COMMAND, description=__doc__).parse_args()
    if not HOME.is_dir():
        raise SystemExit(f"The labelled data is not on this machine: {HOME.name} was looked for beside the project.")
    embedded = Embedded()
    write_result(
        DIRECTORY / "semantic_cache_pairs.json",
        name="Semantic cache: pairs",
        command=COMMAND,
        figures=pair_rows(embedded),
    )
    streams = Streams(embedded)
    points: list[Point] = []
    write_result(
        DIRECTORY / "semantic_cache.json", name="Semantic cache: streams", command=COMMAND,
        figures=stream_rows(streams, points),
    )  # fmt: skip
    PLOT.write_text(plot(points))
    write_result(
        DIRECTORY / "semantic_cache_estimates.json", name="Semantic cache: published estimates against labels",
        command=COMMAND, figures=estimate_rows(points),
    )  # fmt: skip
    write_result(
        DIRECTORY / "semantic_cache_hostile.json", name="Semantic cache: streams that turn hostile halfway",
        command=COMMAND, figures=hostile_rows(streams),
    )  # fmt: skip


def estimate_rows(points: Sequence[Point]) -> Rows:
    """How often the interval that is published holds the truth, and how far the estimate is off on average."""
    rows = []
    for name in dict.fromkeys(point.stream for point in points):
        for budget in BUDGETS:
            some = [point for point in points if point.stream == name and point.budget == budget]
            rows.append(
                {
                    "stream": name,
                    "budget %": 100 * budget,
                    "estimates": len(some),
                    "true wrong % of all": round(100 * fmean(point.true for point in some), 2),
                    "estimated %": round(100 * fmean(point.told for point in some), 2),
                    "interval holds the truth %": round(100 * fmean(p.low <= p.true <= p.high for p in some), 1),
                }
            )
    return rows


if __name__ == "__main__":
    main()
