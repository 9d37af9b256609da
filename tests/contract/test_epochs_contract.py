"""The rows of purges keep the same promises, whatever they are made of."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cache.epochs import EVERYTHING, EpochRows, Epochs, Purge
from cache.stores.epochs import MemoryEpochs, SQLiteEpochs
from ledger.testing import ManualClock

if TYPE_CHECKING:
    from cache.stores.redis import RedisLink

Open = Callable[[], Awaitable[EpochRows]]
NOW_US = 1_800_000_000 * 10**6


@pytest.fixture(params=["memory", "sqlite", "valkey", "postgres"])
async def another(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens the same rows once more, as another process does."""
    opened: list[EpochRows] = []
    shared = MemoryEpochs()
    link = _link(request.getfixturevalue("valkey_url")) if request.param == "valkey" else None
    database = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""

    async def again() -> EpochRows:
        if link is not None:
            from cache.stores.redis import RedisEpochs

            return RedisEpochs(link, ManualClock())
        rows: EpochRows = shared
        if request.param == "sqlite":
            rows = SQLiteEpochs.open(tmp_path / "cache.db", ManualClock())
        elif database:
            from cache.stores.postgres_epochs import PostgresEpochs

            rows = PostgresEpochs.open(database, ManualClock())
        opened.append(rows)
        return rows

    yield again
    for rows in opened:
        await rows.close()
    if link is not None:
        await link.close()


def _link(url: str) -> "RedisLink":
    from cache.stores.redis import RedisLink

    return RedisLink(url)


async def test_what_one_process_advances_the_others_read(another: Open) -> None:
    here, there = await another(), await another()

    number = await here.advance("acme||", NOW_US * 2)

    assert ("acme||", number) in await there.newer(0)
    assert await there.newer(number) == []


async def test_numbers_only_grow_also_where_the_clock_goes_back(another: Open) -> None:
    here, there = await another(), await another()

    first = await here.advance("a||", NOW_US * 2)
    second = await there.advance("b||", 5)
    third = await here.advance("a||", 5)

    assert first == NOW_US * 2
    assert first < second < third
    assert set(await here.newer(first)) == {("b||", second), ("a||", third)}


async def test_no_two_purges_of_one_moment_share_a_number(another: Open) -> None:
    rows = [await another() for _ in range(4)]

    numbers = await asyncio.gather(*(one.advance(f"t{at}||", 7) for at, one in enumerate(rows)))

    assert len(set(numbers)) == 4


async def test_purging_everything_forgets_the_rest(another: Open) -> None:
    rows = await another()
    await rows.advance("a||", NOW_US)

    number = await rows.advance(EVERYTHING, NOW_US)

    assert await rows.newer(0) == [(EVERYTHING, number)]


async def test_a_process_learns_at_its_next_look_what_another_purged(another: Open) -> None:
    here, there = Epochs(await another(), ManualClock()), Epochs(await another(), ManualClock())
    await there.refresh()
    before = there.stamp("acme", "search", ("t",)), there.stamp("globex", "search", ("t",))

    await here.purge(Purge(tenant="acme"))
    await here.purge(Purge(tag="u"))
    assert (there.stamp("acme", "search", ("t",)), there.stamp("globex", "search", ("t",))) == before
    await there.refresh()

    assert there.stamp("acme", "search", ("t",)) != before[0]
    assert there.stamp("globex", "search", ("t",)) == before[1]
    assert there.stamp("acme", "search", ("t",)) == here.stamp("acme", "search", ("t",))
