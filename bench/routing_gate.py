"""The gate replayed: whom it promotes, how many items that takes, and how often it is wrong at worst."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.routing_records import PRICED, Outcomes, ladder, read_outcomes, tasks_of
from bench.routing_trials import Run, Test, fixed_size, gate, mixture, share_interval
from evals.betting import Floats
from evals.gate import Rule

Rows = list[dict[str, Any]]

BARS: Final = (0.7, 0.8, 0.9)
ITEMS: Final = 400
SAMPLES: Final = 200
SEED: Final = 20261124
BINS: Final = ((-1.0, -0.10), (-0.10, -0.05), (-0.05, 0.0), (0.0, 0.02), (0.02, 0.05), (0.05, 0.10), (0.10, 1.0))
"""True accuracy minus bar."""
GATE_NOTE: Final = """Each (task, model, bar) of ZeroEval's outcomes is a population of right and wrong answers; 200
samples of 400 are drawn from it with replacement. `mixture` is the gate of the figures to beat (101 of 400 items, 0.409
promoted between 2 and 5 points above the bar), `fixed` the exact binomial test of all 400. `worst` is the cell with the
most promotions."""


def gate_figures(data: Path) -> Rows:
    """Promotions and items of the gate, by how far a model's true accuracy is from the bar."""
    populations = _populations(read_outcomes(data))
    runs: dict[str, list[tuple[float, Run]]] = {"gate": [], "mixture": [], "fixed": []}
    tests: Mapping[str, Test] = {"gate": gate, "mixture": mixture, "fixed": fixed_size}
    dice = np.random.default_rng(SEED)
    for population in populations:
        for bar in BARS:
            scores = population[dice.integers(0, len(population), (SAMPLES, ITEMS))]
            rule = Rule(items=ITEMS, bar=bar)
            for name, test in tests.items():
                runs[name].append((float(population.mean()) - bar, test(rule, scores, None)))
    rows = [_bin_row(runs, low, high) for low, high in BINS]
    return [*rows, _bin_row(runs, -1.0, 1.0)]


def _populations(outcomes: Outcomes) -> list[Floats]:
    return [np.array([answer.score for answer in known.values()]) for _, known in sorted(outcomes.items())]


def _bin_row(runs: Mapping[str, Sequence[tuple[float, Run]]], low: float, high: float) -> dict[str, Any]:
    name = "all" if high - low == 2 else f"{100 * low:+.0f} to {100 * high:+.0f} points"
    row: dict[str, Any] = {"accuracy minus bar": name, "cells": 0}
    for test, found in runs.items():
        cells = [run for gap, run in found if low <= gap < high]
        promoted = [float(run.promoted.mean()) for run in cells]
        row["cells"] = len(cells)
        row[f"{test} promotes"] = round(float(np.mean(promoted)), 3)
        if test != "fixed":
            row[f"{test} items"] = round(float(np.mean([run.items.mean() for run in cells])), 1)
        if test == "gate":
            row["gate worst"] = round(max(promoted), 3)
    return row


# --- how often it is wrong -----------------------------------------------------------------------

NULL_PAIRS: Final = 200
NULL_SAMPLES: Final = 200
DIFFER_LEAST: Final = 0.02
"""Share of items on which two models must differ, for their pair to be bent to the bound."""
ERROR_NOTE: Final = """The worst case: candidates whose true mean is exactly at the bound, where every promotion is a
false one. `bar`: coins. `pairs of models`: 200 of all pairs of priced models on a task; outcomes are drawn from their
joint record, with wins and losses reweighted such that the candidate is worse by exactly the margin. alpha is 0.05 for
one candidate; with K candidates each has alpha / K. `low` and `high` are Clopper and Pearson's 95% interval."""


def error_figures(data: Path) -> Rows:
    """The share of false promotions at the bound, with its interval."""
    dice = np.random.default_rng(SEED)
    rows = [_coins(bar, dice) for bar in BARS]
    records = _joint_records(read_outcomes(data))
    records = [records[number] for number in dice.permutation(len(records))[:NULL_PAIRS]]
    return [
        *rows,
        *(_pairs(records, margin, candidates, dice) for margin in (0.05, 0.03) for candidates in (1, 4)),
    ]


def _coins(bar: float, dice: np.random.Generator) -> dict[str, Any]:
    scores = (dice.random((20_000, ITEMS)) < bar).astype(np.float64)
    return _error_row(f"bar {bar:g}", 0.05, [gate(Rule(items=ITEMS, bar=bar), scores)])


def _joint_records(outcomes: Outcomes) -> list[tuple[float, float]]:
    """(share of wins, share of losses) of each pair of priced models on each task."""
    found = []
    for task in tasks_of(outcomes):
        models = [model for model in PRICED if (task, model) in outcomes]
        for number, one in enumerate(models):
            for other in models[number + 1 :]:
                scores = ladder(outcomes, task, (one, other)).scores
                wins, losses = float((scores[0] > scores[1]).mean()), float((scores[0] < scores[1]).mean())
                if wins + losses >= DIFFER_LEAST:
                    found.append((wins, losses))
    return found


def _pairs(
    records: Sequence[tuple[float, float]], margin: float, candidates: int, dice: np.random.Generator
) -> dict[str, Any]:
    rule = Rule(items=ITEMS, margin=margin, candidates=candidates)
    runs = []
    for wins, losses in records:
        differ = max(wins + losses, margin)
        win, loss = (differ - margin) / 2, (differ + margin) / 2
        drawn = dice.random((NULL_SAMPLES, ITEMS))
        differences = (drawn < win).astype(np.float64) - ((drawn >= win) & (drawn < win + loss))
        runs.append(gate(rule, differences, np.zeros_like(differences)))
    return _error_row(f"{len(runs)} pairs of models, margin {margin:g}, K = {candidates}", 0.05 / candidates, runs)


def _error_row(name: str, alpha: float, runs: Sequence[Run]) -> dict[str, Any]:
    hits, samples = sum(int(run.promoted.sum()) for run in runs), sum(len(run.promoted) for run in runs)
    low, high = share_interval(hits, samples)
    return {
        "at the bound": name,
        "samples": samples,
        "alpha": alpha,
        "promoted": round(hits / samples, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "items": round(float(np.mean([run.items.mean() for run in runs])), 1),
    }


# --- power against the reference -----------------------------------------------------------------

POWER_NOTE: Final = """Simulated: a candidate exactly as good as the reference, that differs from it on a share of the
items (as many wins as losses). The share promoted within 400 and 1,500 items, one candidate, and the items used; `fixed
needs` is what a one-sided test at 5% with power 0.8 would take (6.185 * share / margin squared)."""


def power_figures(data: Path) -> Rows:
    """How likely an equally good candidate is promoted."""
    del data
    dice = np.random.default_rng(SEED)
    rows = []
    for margin in (0.05, 0.03):
        for differ in (0.1, 0.2, 0.3):
            row: dict[str, Any] = {"margin": margin, "differ on": differ}
            for items, samples in ((400, 2_000), (1_500, 500)):
                drawn = dice.random((samples, items))
                differences = (drawn < differ / 2).astype(np.float64) - ((drawn >= differ / 2) & (drawn < differ))
                zeros, rule = np.zeros_like(differences), Rule(items=items, margin=margin)
                for name, test in (("gate", gate), ("mixture", mixture)):
                    run = test(rule, differences, zeros)
                    row[f"{name} of {items}"] = round(float(run.promoted.mean()), 2)
                    row[f"{name} items of {items}"] = round(float(run.items.mean()))
            rows.append(row | {"fixed needs": round(6.185 * differ / margin**2)})
    return rows
