"""How much semantic caches save, and how often they are wrong. `python -m bench.semantic_cache`.

Reads the labelled data beside the project (`train.data.HOME`), writes docs/results/semantic_cache*.json and the plot
docs/semantic_cache.svg. Embedding all questions takes minutes once; they are kept under build/. `--part` makes a part
of it, so that an interruption loses little.
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
SEEDS: Final = range(10)
HOSTILE_SEEDS: Final = range(5)
"""Fewer, for each has thousands of traps to embed."""
SNAPSHOT_EVERY: Final = 2000
"""Requests."""
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


def rule_rows(streams: Streams) -> Rows:
    """Rules of others, and ours before there is evidence, on each stream."""
    rows = []
    for name, stream in streams.all.items():
        for label, seeds, make in _rules():
            tallies = [play(stream, order_of(stream, seed), make(seed)) for seed in seeds]
            rows.append({"stream": name, "rule": label} | _summed(tallies))
            print(rows[-1], flush=True)
    return rows


def stream_rows(streams: Streams, points: list[Point]) -> Rows:
    """Ours on each stream."""
    rows = []
    for name, stream in streams.all.items():
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
        label = f"per entry, after vCache's paper, {100 * delta:g} %"
        yield label, (0, 1), lambda seed, d=delta: VCacheRule(d, seed)  # type: ignore[misc]
        label = f"the same, slope of 64 known, {100 * delta:g} %"
        yield label, (0, 1), lambda seed, d=delta: VCacheRule(d, seed, (64.0,), least=2)  # type: ignore[misc]


def _calibrated(name: str, stream: Stream, budget: float, seed: int, points: list[Point]) -> Tally:
    """Also notes what would be published along the way, beside the truth."""
    rule = CalibratedRule(budget, seed, certain=Verifier.certain)
    hits = wrong = 0

    def watch(number: int, hit: bool, right: bool) -> None:
        nonlocal hits, wrong
        hits += hit
        wrong += hit and not right
        if (number + 1) % SNAPSHOT_EVERY == 0 or number + 1 == len(stream.questions):
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
        for kind, turn in TURNS.items():
            for budget in BUDGETS[:2]:
                tallies = [_hostile(streams, name, turn, budget, seed) for seed in HOSTILE_SEEDS]
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


def _creeping(streams: Streams, stream: Stream, early: Sequence[int], late: Sequence[int]) -> tuple[Stream, list[int]]:
    """One question in twenty wants an answer of its own: too few to be seen at once."""
    return _relabelled(stream, late, lambda at, intent: intent if at % 20 else f"own {at}"), [*early, *late]


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


TURNS: Final[dict[str, Turn]] = {
    "no answer serves another": _all_own,
    "traps": _traps,
    "answers changed": _renewed,
    "one answer in 20 serves no other": _creeping,
}


# --- all -----------------------------------------------------------------------------------------


def main() -> None:
    """Run all or a part, or say why not."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--part", choices=sorted(PARTS), help="all of them in turn, if none is named")
    part = parser.parse_args().part
    if not HOME.is_dir():
        raise SystemExit(f"The labelled data is not on this machine: {HOME.name} was looked for beside the project.")
    streams = Streams(Embedded())
    for name, write in PARTS.items():
        if part in (None, name):
            write(streams)


def _write_pairs(streams: Streams) -> None:
    _write("_pairs", "pairs", pair_rows(streams.embedded))


def _write_rules(streams: Streams) -> None:
    _write("_rules", "streams, other rules", rule_rows(streams))


def _write_streams(streams: Streams) -> None:
    points: list[Point] = []
    _write("", "streams", stream_rows(streams, points))
    _write("_estimates", "published estimates against labels", estimate_rows(points))
    PLOT.write_text(plot(points))


def _write_hostile(streams: Streams) -> None:
    _write("_hostile", "streams that turn hostile halfway", hostile_rows(streams))


def _write(suffix: str, name: str, rows: Rows) -> None:
    write_result(
        DIRECTORY / f"semantic_cache{suffix}.json", name=f"Semantic cache: {name}", command=COMMAND, figures=rows
    )


PARTS: Final[dict[str, Callable[[Streams], None]]] = {
    "pairs": _write_pairs,
    "rules": _write_rules,
    "streams": _write_streams,
    "hostile": _write_hostile,
}


def estimate_rows(points: Sequence[Point]) -> Rows:
    """At the end of each stream and seed, which are independent: how often the interval that is published holds the
    truth, and how far the estimate is off on average. The same stream's earlier snapshots are told apart."""
    ends = [max(some, key=lambda point: point.requests) for some in _by(points, lambda p: (p.stream, p.budget, p.seed))]
    rows = []
    for some in _by(ends, lambda p: (p.stream, p.budget)):
        early = [p for p in points if (p.stream, p.budget) == (some[0].stream, some[0].budget) and p not in some]
        rows.append({"stream": some[0].stream, "budget %": 100 * some[0].budget} | _agreement(some, early))
    return [*rows, {"stream": "all", "budget %": None} | _agreement(ends, [p for p in points if p not in ends])]


def _by(points: Sequence[Point], key: Callable[[Point], object]) -> list[list[Point]]:
    found: dict[object, list[Point]] = {}
    for point in points:
        found.setdefault(key(point), []).append(point)
    return list(found.values())


def _agreement(ends: Sequence[Point], early: Sequence[Point]) -> dict[str, Any]:
    return {
        "seeds": len(ends),
        "true wrong % of all": round(100 * fmean(point.true for point in ends), 2),
        "estimated %": round(100 * fmean(point.told for point in ends), 2),
        "intervals that hold the truth": sum(_holds(point) for point in ends),
        "upper ends above it": sum(point.high >= point.true for point in ends),
        "earlier snapshots %": round(100 * fmean(_holds(point) for point in early), 1) if early else None,
    }


def _holds(point: Point) -> bool:
    return point.low <= point.true <= point.high


if __name__ == "__main__":
    main()
