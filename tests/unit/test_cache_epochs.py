"""Epochs: a purge changes the keys of all calls that it names, and of no others."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cache.epochs
from cache.epochs import EVERYTHING, Epochs, Purge
from cache.stores.epochs import MemoryEpochs, SQLiteEpochs
from ledger.testing import ManualClock

NAMES = ("", "a", "b")
PURGES = [Purge(tenant=t, feature=f, tag=g) for t, f, g in product(NAMES, repeat=3)]
CALLS = [(t, f, tags) for t, f in product("ab", repeat=2) for tags in ((), ("a",), ("b",), ("a", "b"))]


def epochs() -> Epochs:
    return Epochs(MemoryEpochs(), ManualClock())


def names(what: Purge, call: tuple[str, str, tuple[str, ...]]) -> bool:
    tenant, feature, tags = call
    return what.tenant in ("", tenant) and what.feature in ("", feature) and what.tag in ("", *tags)


@given(st.lists(st.sampled_from(PURGES), min_size=1, max_size=6))
async def test_exactly_the_calls_that_a_purge_names_get_new_keys(purges: list[Purge]) -> None:
    kept = epochs()
    seen: dict[tuple[str, str, tuple[str, ...]], set[str]] = {call: {kept.stamp(*call)} for call in CALLS}

    for what in purges:
        before = {call: kept.stamp(*call) for call in CALLS}
        await kept.purge(what)
        for call in CALLS:
            stamp = kept.stamp(*call)
            if names(what, call):
                assert stamp not in seen[call]
            else:
                assert stamp == before[call]
            seen[call].add(stamp)


def test_calls_with_other_tags_have_other_keys() -> None:
    kept = epochs()

    assert len({kept.stamp("a", "b", tags) for tags in ((), ("x",), ("y",), ("x", "y"))}) == 4


async def test_beyond_the_bound_everything_is_purged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.epochs, "MOST", 2)
    kept = epochs()
    await kept.purge(Purge(tenant="a"))
    await kept.purge(Purge(tenant="b"))
    untouched = kept.stamp("z", "z", ())

    done = await kept.purge(Purge(tenant="c"))

    assert done == Purge()
    assert kept.stamp("z", "z", ()) != untouched
    assert kept.purges == 1


async def test_rows_that_cannot_be_read_leave_what_is_known() -> None:
    class Broken(MemoryEpochs):
        async def newer(self, than: int) -> Sequence[tuple[str, int]]:
            raise OSError

    kept = Epochs(Broken(), ManualClock())
    before = kept.stamp("a", "b", ())

    await kept.refresh()

    assert kept.errors == 1
    assert kept.stamp("a", "b", ()) == before


async def test_a_file_that_was_lost_brings_no_purged_answer_back(tmp_path: Path) -> None:
    clock = ManualClock()
    kept = Epochs(SQLiteEpochs.open(tmp_path / "cache.db", clock), clock)
    await kept.refresh()
    first = kept.stamp("a", "b", ())
    await kept.purge(Purge(tenant="a"))
    await kept.close()
    clock.advance(1)

    anew = Epochs(SQLiteEpochs.open(tmp_path / "another.db", clock), clock)
    await anew.refresh()

    assert anew.stamp("a", "b", ()) not in (first, kept.stamp("a", "b", ()))
    await anew.close()


async def test_purges_are_still_known_after_a_restart(tmp_path: Path) -> None:
    stamps = []
    for _ in range(2):
        kept = Epochs(SQLiteEpochs.open(tmp_path / "cache.db", ManualClock()), ManualClock())
        await kept.refresh()
        if not stamps:
            await kept.purge(Purge(feature="b"))
        stamps.append(kept.stamp("a", "b", ()))
        await kept.close()

    assert stamps[0] == stamps[1]


@pytest.mark.parametrize(
    ("what", "text", "name"),
    [
        (Purge(), "everything", EVERYTHING),
        (Purge(tenant="a", tag="t"), "tenant=a tag=t", "a||t"),
    ],
)
def test_a_purge_says_what_it_is(what: Purge, text: str, name: str) -> None:
    assert (str(what), what.name) == (text, name)
