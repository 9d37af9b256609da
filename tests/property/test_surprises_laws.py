"""Laws of the detectors: any hours are borne, quiet ones tell nothing, and what follows changes nothing told before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops.findings import What
from finops.hours import DAY, FIGURES, WEEK, Hours, Key
from finops.surprises import DETECTORS, surprises
from finops.watch import Watch

KEYS = (Key("a", "t", "production", "m"), Key("a", "t", "dev", "m"), Key("evals", "", "ci", "n"), Key("b", "", "", "e"))
SPANS = (0, 1, 2, 3 * DAY, 2 * WEEK + 1, 5 * WEEK)


def hours(seed: int, span: int, top: int) -> Hours:
    """Hours of whole numbers below `top`, a part of them 0."""
    dice = np.random.default_rng(seed)
    shape = (len(FIGURES), span)
    tables = {key: dice.integers(0, top, shape) * (dice.random(shape) < dice.random()) * 1.0 for key in KEYS}
    return Hours(1_000_000, tables)


@given(st.integers(0, 10**6), st.sampled_from(SPANS), st.sampled_from((1, 2, 1_000, 10**15)))
@settings(max_examples=60)
def test_any_hours_are_borne_and_what_is_told_is_whole(seed: int, span: int, top: int) -> None:
    for finding in surprises(hours(seed, span, top), Watch()):
        assert finding.what in What
        assert isinstance(finding.per_day, int)
        assert 1_000_000 - span <= finding.since < 1_000_000


@pytest.mark.parametrize("what", DETECTORS)
@pytest.mark.parametrize("span", SPANS)
def test_nothing_is_told_of_nothing(what: What, span: int) -> None:
    assert DETECTORS[what](Hours(1_000_000), Watch()) == []
    assert DETECTORS[what](Hours(1_000_000, {key: np.zeros((len(FIGURES), span)) for key in KEYS}), Watch()) == []


@given(st.integers(1, 10**6), st.sampled_from(SPANS))
@settings(max_examples=30)
def test_production_that_never_changes_is_no_surprise(value: int, span: int) -> None:
    tables = {Key("a", "t", "production", "m"): np.full((len(FIGURES), span), float(value))}

    found = surprises(Hours(1_000_000, tables), Watch(owned=frozenset({"a"})))

    # As many failed as were asked is what is usual there.
    assert found == []


@given(st.integers(0, 10**6))
@settings(max_examples=20)
def test_what_is_known_before_an_hour_does_not_hang_on_what_follows(seed: int) -> None:
    long, short = hours(seed, 5 * WEEK, 1_000), 4 * WEEK
    cut = Hours(1_000_000 - WEEK, {key: table[:, :short] for key, table in long.tables.items()})

    assert surprises(long.before(1_000_000 - WEEK), Watch()) == surprises(cut, Watch())
