"""Evidence on prefixes: what comes again while it is kept, and when it pays to have it kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.prefix_evidence import KEPT_S, Evidence, Seen, pays

FIVE_MINUTES = {"uncached": 100, "read": 10, "write": 125}
AN_HOUR = {"uncached": 100, "read": 10, "write": 200}
FREE_TO_WRITE = {"uncached": 100, "read": 50, "write": 100}


def evidence(again: int, of: int) -> Evidence:
    made = Evidence()
    for number in range(of):
        made.note(again=number < again)
    return made


def test_a_prefix_comes_again_while_it_would_be_kept() -> None:
    seen = Seen()

    assert not seen.came_again(b"a", (), 0)
    assert seen.came_again(b"a", (), KEPT_S - 1)
    assert seen.came_again(b"a", (), 2 * KEPT_S - 2)  # each read begins the time anew
    assert not seen.came_again(b"a", (), 4 * KEPT_S)
    assert not seen.came_again(b"b", (), 4 * KEPT_S)


def test_a_prefix_goes_on_from_a_shorter_one() -> None:
    seen = Seen()
    seen.came_again(b"one turn", (), 0)

    assert seen.came_again(b"two turns", (b"nothing", b"one turn"), 200)
    assert seen.came_again(b"another second turn", (b"one turn",), 450)
    assert not seen.came_again(b"three turns", (b"somebody else's",), 450)


def test_only_so_many_are_remembered() -> None:
    seen = Seen(most=2)

    for name in (b"a", b"b", b"c"):
        seen.came_again(name, (), 0)

    assert len(seen) == 2
    assert not seen.came_again(b"a", (), 1)


def test_nothing_pays_without_evidence() -> None:
    for rates in (FIVE_MINUTES, AN_HOUR, FREE_TO_WRITE):
        assert not pays(Evidence(), **rates)
        assert not pays(evidence(0, 1), **rates)


@pytest.mark.parametrize(
    ("again", "of", "rates", "expected"),
    [
        (2, 3, FIVE_MINUTES, False),  # the interval begins at 0.208, and 25 / 115 is 0.217
        (3, 4, FIVE_MINUTES, True),  # 0.301
        (30, 100, FIVE_MINUTES, True),  # 0.219
        (29, 100, FIVE_MINUTES, False),  # 0.210
        (60, 100, AN_HOUR, False),  # 0.502, and 100 / 190 is 0.526
        (64, 100, AN_HOUR, True),  # 0.542
        (1, 100, FREE_TO_WRITE, True),
        (100, 100, {"uncached": 100, "read": 100, "write": 100}, False),
        (100, 100, {"uncached": 100, "read": 100, "write": 125}, False),
    ],
)
def test_it_pays_above_the_break_even_even_at_the_lower_end(
    again: int, of: int, rates: dict[str, int], expected: bool
) -> None:
    assert pays(evidence(again, of), **rates) is expected


@given(st.integers(1, 150), st.data(), st.integers(101, 400), st.integers(0, 99))
def test_where_it_pays_the_traffic_seen_would_have_cost_less(
    of: int, data: st.DataObject, write: int, read: int
) -> None:
    again = data.draw(st.integers(0, of))

    if pays(evidence(again, of), uncached=100, read=read, write=write):
        assert again * read + (of - again) * write < of * 100


def test_what_was_long_ago_weighs_less() -> None:
    made = evidence(200, 200)

    for _ in range(1000):
        made.note(again=False)

    assert not pays(made, **FIVE_MINUTES)
    assert made.all <= 201
