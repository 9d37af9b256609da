"""Flights: the first caller flies, the others wait a while."""

import asyncio

import pytest

from cache.flights import Flights
from cache.testing import example_answer

KEY = b"k" * 32
ANSWER = example_answer()


async def test_the_first_to_join_leads_and_the_others_follow() -> None:
    flights = Flights()

    assert [flights.join(KEY).leads for _ in range(3)] == [True, False, False]
    assert flights.join(b"other").leads


async def test_followers_get_the_leaders_answer() -> None:
    flights = Flights()
    leader, *followers = [flights.join(KEY) for _ in range(4)]
    waits = [asyncio.ensure_future(follower.landed(5)) for follower in followers]
    await asyncio.sleep(0)

    leader.land(ANSWER)

    assert await asyncio.gather(*waits) == [ANSWER] * 3


async def test_after_the_landing_the_next_one_leads_anew() -> None:
    flights = Flights()
    flights.join(KEY).land(ANSWER)

    assert flights.join(KEY).leads
    assert len(flights) == 1


async def test_a_leaders_failure_sends_followers_on_their_own_way() -> None:
    flights = Flights()
    leader, follower = flights.join(KEY), flights.join(KEY)

    with pytest.raises(ZeroDivisionError), leader:
        raise ZeroDivisionError

    assert await follower.landed(5) is None
    assert len(flights) == 0


async def test_a_follower_waits_no_longer_than_it_said() -> None:
    flights = Flights()
    leader, follower = flights.join(KEY), flights.join(KEY)

    assert await follower.landed(0.001) is None

    leader.land(ANSWER)
    assert await follower.landed(0.001) == ANSWER


async def test_landing_twice_changes_nothing() -> None:
    flights = Flights()
    leader, follower = flights.join(KEY), flights.join(KEY)

    leader.land(ANSWER)
    leader.land(None)

    assert await follower.landed(5) == ANSWER


async def test_a_late_landing_does_not_end_the_next_flight() -> None:
    flights = Flights()
    first = flights.join(KEY)
    first.land(None)
    second, third = flights.join(KEY), flights.join(KEY)

    first.land(ANSWER)
    second.land(None)

    assert await third.landed(5) is None


async def test_a_follower_cannot_land_the_flight() -> None:
    flights = Flights()
    leader, follower, other = flights.join(KEY), flights.join(KEY), flights.join(KEY)

    follower.land(None)
    leader.land(ANSWER)

    assert await other.landed(5) == ANSWER


async def test_a_follower_that_is_cancelled_disturbs_nobody() -> None:
    flights = Flights()
    leader, leaving, staying = flights.join(KEY), flights.join(KEY), flights.join(KEY)
    wait = asyncio.ensure_future(leaving.landed(5))
    await asyncio.sleep(0)

    wait.cancel()
    await asyncio.wait((wait,))
    leader.land(ANSWER)

    assert await staying.landed(5) == ANSWER


async def test_a_flight_that_never_left_was_called_off() -> None:
    flights = Flights()
    early, first = flights.join(b"a" * 32), flights.join(b"a" * 32)
    late, second = flights.join(b"b" * 32), flights.join(b"b" * 32)

    late.depart()
    early.land(None)
    late.land(None)

    assert (first.was_called_off, second.was_called_off) == (True, False)


async def test_a_leader_knows_how_many_follow() -> None:
    flights = Flights()
    leader, follower, other = (flights.join(KEY) for _ in range(3))
    waits = [asyncio.ensure_future(one.landed(5)) for one in (follower, other)]
    await asyncio.sleep(0)
    assert leader.followers == 2

    waits[0].cancel()
    await asyncio.wait(waits[:1])
    assert leader.followers == 1

    leader.land(ANSWER)
    await asyncio.wait(waits)
    assert leader.followers == 0
