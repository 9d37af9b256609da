"""Drift replayed: how soon the detector sees it, how often it is wrong, and what a broken deployment costs."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from evals.drift import ALARM, Floats, items_until_alarm

RUNS: Final = 4_000
HEALTHY_ITEMS: Final = 5_000
MOST_ITEMS: Final = 40_000
SEED: Final = 20_261_124
BARS: Final = ((0.85, 0.92, (0.80, 0.75, 0.65)), (0.90, 0.95, (0.85, 0.80, 0.70)))
"""The bar, the share that is right while all is well, and shares after the drift."""
BROKEN: Final = (0.785, 0.915, 0.15)
"""gpt-4o-2024-08-06 with and without its function-calling mode (HuanzhiMao/BFCL-Result b4adfc9). The bar is what
`gateway.livegrading` promises of a model that scored .915 beside a reference of .92, at a margin of .05."""
Detector = Callable[[float, Iterator[Floats]], Floats]
Row = Mapping[str, Any]
NOTE: Final = """Graded items until the alarm, counted from the first item after the drift, with nothing seen before (a
healthy past only shortens it), median and 95 % quantile of 4,000 runs of independent items; and the share of 4,000
healthy runs with a false alarm within 5,000 items. `e-SR` is `evals.drift`, `e-CUSUM` the detector it replaces (bets
j/8 * .95/(1 - bar), restarted at 1), fed with draws of the same rates. Both raise a false alarm after 1,000 items or
more in the mean even where the tier is exactly at its bar; the last rows measure that, too."""


def drift_figures(_data: Path | None = None) -> list[Row]:
    """Two rows, one for each detector, for each drift and each healthy tier; it needs no recorded data."""
    rows: list[Row] = []
    for bar, _, rates in BARS:
        for now in rates:
            rows += _delays(f"bar {bar:g}, {now:g} right", bar, now)
    bar, before, broken = BROKEN
    rows += _delays(f"bar {bar:g}, broken deployment, {broken:g} right", bar, broken)
    for bar_, healthy in [*((bar, healthy) for bar, healthy, _ in BARS), (bar, before)]:
        rows += _false_alarms(f"bar {bar_:g}, healthy, {healthy:g} right", bar_, healthy)
    for bar, _, _ in BARS:
        rows += _at_the_bar(f"bar {bar:g}, {bar:g} right", bar)
    return rows


def _delays(what: str, bar: float, now: float) -> Iterator[Row]:
    for name, detector in DETECTORS.items():
        items = _run(detector, bar, now, MOST_ITEMS)
        yield _row(what, name, median=float(np.median(items)), p95=float(np.ceil(np.quantile(items, 0.95))))


def _false_alarms(what: str, bar: float, healthy: float) -> Iterator[Row]:
    for name, detector in DETECTORS.items():
        share = float(np.isfinite(_run(detector, bar, healthy, HEALTHY_ITEMS)).mean())
        yield _row(what, name, false=round(100 * share, 2))


def _at_the_bar(what: str, bar: float) -> Iterator[Row]:
    """At least so many items in the mean: a run without an alarm counts as if it had one at its end."""
    for name, detector in DETECTORS.items():
        items = _run(detector, bar, bar, MOST_ITEMS, runs=RUNS // 10)
        yield _row(what, name, mean=round(float(np.minimum(items, MOST_ITEMS).mean())))


def _row(
    what: str,
    detector: str,
    *,
    median: float | None = None,
    p95: float | None = None,
    false: float | None = None,
    mean: float | None = None,
) -> Row:
    return {
        "what": what,
        "detector": detector,
        "median": median,
        "p95": p95,
        "false alarms in 5,000, %": false,
        "mean items to a false alarm": mean,
    }


def _run(detector: Detector, bar: float, share: float, most: int, runs: int = RUNS) -> Floats:
    dice = np.random.default_rng((SEED, round(1000 * bar), round(1000 * share)))
    return detector(bar, ((dice.random(runs) < share).astype(np.float64) for _ in range(most)))


def cusum_until_alarm(bound: float, columns: Iterator[Floats]) -> Floats:
    """The e-CUSUM that ours is compared with; see `items_until_alarm`."""
    bets = np.arange(1, 9)[:, None] / 8 * 0.95 / (1 - bound)
    wealth: Floats = np.ones((8, 1))
    found: Floats = np.full(1, np.inf)
    for item, column in enumerate(columns, start=1):
        wealth = np.minimum(np.maximum(wealth, 1) * (1 + bets * (bound - column)), 1e12)
        found = np.where(np.isinf(found) & (wealth.mean(axis=0) >= ALARM), item, found)
        if np.isfinite(found).all():
            break
    return found


DETECTORS: Final[Mapping[str, Detector]] = {"e-SR": items_until_alarm, "e-CUSUM": cusum_until_alarm}
