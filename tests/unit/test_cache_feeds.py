"""Feeds: everybody gets everything in order, or is told that it is gone."""

import asyncio

import pytest

from cache.feeds import Feed, Segment, TooSlow
from cache.testing import example_answer

ABOUT = example_answer()


def feed(window_bytes: int = 100) -> Feed:
    return Feed(ABOUT, lambda error: str(error).encode(), window_bytes=window_bytes)


async def test_readers_get_all_that_has_come_at_once_and_then_each_part_as_it_comes() -> None:
    shared = feed()
    shared.publish(Segment(b"a"))
    shared.publish(Segment(b"b"))

    assert await shared.after(0) == [Segment(b"a"), Segment(b"b")]
    waiting = [asyncio.ensure_future(shared.after(2)) for _ in range(2)]
    await asyncio.sleep(0)
    shared.publish(Segment(b"c", is_usage=True))
    shared.end()

    assert await asyncio.gather(*waiting) == [[Segment(b"c", is_usage=True)]] * 2
    assert await shared.after(3) == ()


async def test_a_window_holds_the_latest_bytes_and_nobody_joins_without_the_first() -> None:
    shared = feed(window_bytes=10)
    assert not shared.is_whole
    for at in range(5):
        shared.publish(Segment(b"%d" % at * 3))
        assert shared.is_whole is (at < 3)

    assert [one.data for one in await shared.after(2)] == [b"222", b"333", b"444"]
    with pytest.raises(TooSlow):
        await shared.after(1)


async def test_a_part_larger_than_the_window_is_kept_until_the_next() -> None:
    shared = feed(window_bytes=10)
    shared.publish(Segment(b"x" * 50))

    assert [one.data for one in await shared.after(0)] == [b"x" * 50]
    shared.publish(Segment(b"y"))
    assert [one.data for one in await shared.after(1)] == [b"y"]


async def test_a_reader_that_is_cancelled_disturbs_nobody() -> None:
    shared = feed()
    leaving, staying = (asyncio.ensure_future(shared.after(0)) for _ in range(2))
    await asyncio.sleep(0)

    leaving.cancel()
    shared.publish(Segment(b"a"))

    assert await staying == [Segment(b"a")]
