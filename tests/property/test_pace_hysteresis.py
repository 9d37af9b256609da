"""The pressure of a budget: it follows the spend in steps, and does not flap."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.paces import STEP, Pace

LIMIT = 10_000
walks = st.lists(st.integers(0, LIMIT), min_size=1, max_size=60)
elapsed_shares = st.floats(0, 1)


@given(used=walks, elapsed=elapsed_shares)
def test_the_pressure_is_never_more_than_a_step_behind_the_spend(used: list[int], elapsed: float) -> None:
    pace = Pace(LIMIT, 0)

    for now in used:
        pace.used = now
        told, true = pace.pressure(elapsed), now / LIMIT - elapsed

        assert told >= 0
        assert told <= max(true, 0) + STEP + 1e-9
        assert told > true - STEP - 1e-9


@given(used=walks, elapsed=elapsed_shares)
def test_a_swing_of_less_than_a_step_never_changes_the_pressure_back(used: list[int], elapsed: float) -> None:
    pace, last, changes = Pace(LIMIT, 0), 0.0, list[tuple[float, float]]()

    for now in used:
        pace.used = now
        told, true = pace.pressure(elapsed), now / LIMIT - elapsed
        if told != last:
            changes.append((told - last, true))
        last = told

    for (up, at), (down, then) in pairwise(changes):
        if up > 0 > down:
            assert at - then > STEP - 1e-9


@given(used=st.integers(0, LIMIT), window=st.floats(0.01, 1))
def test_a_spend_that_keeps_to_its_window_is_under_no_pressure(used: int, window: float) -> None:
    pace = Pace(LIMIT, used)

    assert pace.pressure(used / LIMIT) == 0.0
    assert pace.pressure(min(used / LIMIT + window, 1.0)) == 0.0
