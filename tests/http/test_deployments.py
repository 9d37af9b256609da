"""Deployments of a tier through the whole pipeline: who is tried, who is left out, and who comes back."""

import asyncio
import logging
from dataclasses import replace

import orjson
import pytest

from farthing.catalog import Balance
from gateway.pipeline import serve
from gateway.upstreams import failures
from gateway.upstreams.testing import Ending, Scripted
from router_policies.breaker import State
from tests.deployments_farm import Farm, ask, barn, farm_of, lines, tried
from tests.scripted_pipeline import Stair, completion, headers_of, plain, usage

DEAD = Scripted(ending=Ending.REFUSED)
SICK = plain({"error": {"message": "overloaded"}}, 503)


def balanced(*weights: int) -> Stair:
    """A pipeline whose small tier balances by calls under way."""
    stair = Stair()
    stair.balance = Balance.LEAST_OUTSTANDING
    return barn(*weights, stair=stair)


async def test_a_refused_connection_takes_a_deployment_out_at_once_and_an_answer_brings_it_back() -> None:
    stair = barn(1, 1)
    farm = farm_of(stair)
    farm.says["p0/small-model"] = DEAD

    died = [tried(await ask(stair)) for _ in range(6)]
    stair.clock.advance(10)
    del farm.says["p0/small-model"]
    recovered = [tried(await ask(stair)) for _ in range(4)]

    assert sorted(map(tuple, died)).count(("p0", "p1")) == 1
    assert died.count(["p1"]) == 5
    assert {tuple(one) for one in recovered} == {("p0",), ("p1",)}
    assert [record.status for record in stair.records] == [200] * 10


async def test_one_failed_call_takes_nobody_out_and_five_in_a_row_do() -> None:
    stair = barn(1, 1)
    farm = farm_of(stair)
    farm.says["p0/small-model"] = SICK

    for _ in range(20):
        await ask(stair)

    assert farm.sent["p0/small-model"] == 5
    assert {record.status for record in stair.records} == {200}


async def test_a_status_that_is_not_tried_elsewhere_counts_all_the_same() -> None:
    stair = barn(1, 1)
    farm = farm_of(stair)
    farm.says["p0/small-model"] = plain({"error": {"message": "a timeout behind it: it may be billed"}}, 524)

    for _ in range(20):
        await ask(stair)

    assert [record.status for record in stair.records].count(524) == farm.sent["p0/small-model"] == 5


async def test_only_one_call_tries_whether_a_deployment_has_recovered() -> None:
    stair = barn(1, 1)
    farm = farm_of(stair)
    farm.says["p0/small-model"] = DEAD
    await asyncio.gather(*(ask(stair) for _ in range(4)))
    stair.clock.advance(10)
    del farm.says["p0/small-model"]
    release = farm.hangs["p0/small-model"] = asyncio.Event()
    before = farm.sent["p0/small-model"]

    calls = [asyncio.ensure_future(ask(stair)) for _ in range(20)]
    for _ in range(50):
        await asyncio.sleep(0)
    probes = farm.sent["p0/small-model"] - before
    release.set()
    await asyncio.gather(*calls)

    assert probes == 1
    assert lines(stair)[0].breaker.is_closed
    assert {record.status for record in stair.records} == {200}


async def test_a_probe_that_fails_costs_its_caller_nothing_but_time_and_doubles_the_cooldown() -> None:
    stair = barn(1, 1)
    farm = farm_of(stair)
    farm.says["p0/small-model"] = DEAD
    for _ in range(2):
        await ask(stair)

    stair.clock.advance(10)
    answers = [await ask(stair) for _ in range(4)]
    stair.clock.advance(19)

    assert {record.status for record in answers} == {200}
    assert sorted(map(len, map(tried, answers))) == [1, 1, 1, 2]
    assert lines(stair)[0].breaker.state(stair.clock.monotonic()) is State.OPEN
    stair.clock.advance(1)
    assert lines(stair)[0].breaker.state(stair.clock.monotonic()) is State.HALF_OPEN


async def test_when_all_are_left_out_they_are_tried_all_the_same_the_soonest_due_first() -> None:
    stair = barn(1, 1)
    farm = farm_of(stair)
    farm.says[""] = DEAD
    await ask(stair)
    stair.clock.advance(1)

    farm.says.clear()
    record = await ask(stair)

    assert (record.status, len(record.attempts)) == (200, 1)


async def test_a_provider_that_names_a_time_is_left_alone_for_it() -> None:
    stair = barn(1, 1)
    farm = farm_of(stair)
    farm.says["p0/small-model"] = plain({"error": {"message": "slow down"}}, 429, **{"retry-after": "3"})
    for _ in range(8):
        await ask(stair)
    first = farm.sent["p0/small-model"]

    stair.clock.advance(3)
    for _ in range(8):
        await ask(stair)

    assert (first, farm.sent["p0/small-model"]) == (1, 2)


@pytest.mark.parametrize("status", [401, 402])
async def test_a_key_that_a_provider_refuses_is_logged_once_and_no_concern_of_the_caller(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    stair = barn(1, 1)
    farm = farm_of(stair)
    farm.says["p0/small-model"] = plain({"error": {"message": "no"}}, status)

    with caplog.at_level(logging.INFO, "farthing.deployments"):
        for _ in range(6):
            await ask(stair)
            stair.clock.advance(100)

    assert {record.status for record in stair.records} == {200}
    (line,) = caplog.records
    assert (line.levelname, "check `api_key` of provider 'p0'" in line.message) == ("ERROR", True)
    assert farm.sent["p0/small-model"] <= 3


async def test_a_forbidden_prompt_takes_nobody_out() -> None:
    stair = barn(1, 1)
    farm = farm_of(stair)
    farm.says["p0/small-model"] = plain({"error": {"message": "flagged"}}, 403)

    await ask(stair)
    await ask(stair)

    assert lines(stair)[0].breaker.is_closed
    assert {record.status for record in stair.records} == {200}


async def test_a_row_of_them_is_about_the_key_and_told_as_that(caplog: pytest.LogCaptureFixture) -> None:
    stair = barn(1, 1)
    farm_of(stair).says["p0/small-model"] = plain({"error": {"message": "not yours"}}, 403)

    with caplog.at_level(logging.INFO, "farthing.deployments"):
        for _ in range(12):
            await ask(stair)

    (line,) = caplog.records
    assert (line.levelname, "check `api_key` of provider 'p0'" in line.message) == ("ERROR", True)


async def test_a_refused_key_is_not_tried_for_want_of_another_where_others_fail() -> None:
    stair = barn(1, 1)
    farm = farm_of(stair)
    farm.says["p0/small-model"] = plain({"error": {"message": "no"}}, 401)
    for _ in range(2):
        await ask(stair)
    farm.says["p1/small-model"] = SICK

    answer, _ = await stair.ask()

    assert (answer.status, tried(stair.records[-1])) == (503, ["p1"])


async def test_the_one_with_fewer_calls_under_way_gets_the_next_ones() -> None:
    stair = balanced(1, 1)
    farm = farm_of(stair)
    release = farm.hangs["p0/small-model"] = asyncio.Event()
    stuck = [asyncio.ensure_future(ask(stair)) for _ in range(2)]
    for _ in range(20):
        await asyncio.sleep(0)

    for _ in range(10):
        await ask(stair)
    shares = farm.sent["p0/small-model"], farm.sent["p1/small-model"]
    release.set()
    await asyncio.gather(*stuck)

    assert shares == (1, 11)
    assert [line.outstanding for line in lines(stair)] == [0, 0]


async def test_a_crowd_that_comes_at_once_is_spread_by_what_is_under_way_when_each_is_sent() -> None:
    stair = balanced(1, 3)
    farm = farm_of(stair)
    for name in ("p0/small-model", "p1/small-model"):
        farm.hangs[name] = asyncio.Event()

    crowd = [asyncio.ensure_future(ask(stair)) for _ in range(40)]
    for _ in range(50):
        await asyncio.sleep(0)
    counts = [line.outstanding for line in lines(stair)]
    for event in farm.hangs.values():
        event.set()
    await asyncio.gather(*crowd)

    assert counts == [10, 30]
    assert [line.outstanding for line in lines(stair)] == [0, 0]


async def test_clients_that_give_up_on_a_server_that_hangs_take_it_out_and_impatient_ones_do_not() -> None:
    stair = barn(1, 1)
    farm = farm_of(stair)
    farm.hangs["p0/small-model"] = asyncio.Event()

    for seconds in (9, 10):
        for _ in range(10):
            call = asyncio.ensure_future(ask(stair))
            for _ in range(20):
                await asyncio.sleep(0)
            stair.clock.advance(seconds)
            call.cancel()
            await asyncio.wait((call,))
        assert lines(stair)[0].breaker.is_closed is (seconds < 10)

    assert farm.sent["p0/small-model"] == 10  # half of them, in turns
    assert [line.outstanding for line in lines(stair)] == [0, 0]


async def test_a_pool_of_ours_that_is_full_is_no_dead_server() -> None:
    stair = barn(1, 1)
    farm = farm_of(stair)
    farm.raises["p0/small-model"] = failures.none_free(stair.small[0].provider)

    records = [await ask(stair) for _ in range(2)]

    assert {record.status for record in records} == {200}
    assert lines(stair)[0].breaker.is_closed


async def test_a_stream_counts_as_under_way_until_its_end() -> None:
    stair = balanced(1, 1)

    answer = await serve(stair.request(stream=True), stair.runtime)
    async with answer:
        during = sum(line.outstanding for line in lines(stair))
        async for _ in answer.chunks():
            pass

    assert (during, sum(line.outstanding for line in lines(stair))) == (1, 0)


async def test_streams_that_break_off_take_their_deployment_out_though_their_heads_were_well() -> None:
    stair = barn(1, 1)
    farm = farm_of(stair)
    farm.says["p0/small-model"] = replace(farm_stream(), ending=Ending.CUT)

    for _ in range(20):
        await ask(stair, stream=True)

    assert farm.sent["p0/small-model"] == 5


def farm_stream() -> Scripted:
    """A stream whose end is missing."""
    body = b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": {"content": "a"}}]}) + b"\n\n"
    return Scripted(chunks=(body,), headers={"content-type": "text/event-stream"})


async def test_deployments_without_a_choice_are_not_watched() -> None:
    stair = Stair().open()
    stair.upstream.add(plain(completion(usage=usage(1, 1))))

    answer, _ = await stair.ask()

    assert headers_of(answer)["x-farthing-tier"] == "small"
    assert not stair.runtime.forwarder.balancer.lines


async def test_a_deployment_with_another_key_is_known_anew_and_one_that_stays_is_not() -> None:
    stair = barn(1, 1)
    farm = farm_of(stair)
    farm.says[""] = DEAD
    await ask(stair)
    first, second = stair.small
    rekeyed = replace(first, provider=replace(first.provider, api_key="new"))
    catalog = stair.runtime.generation.catalog
    tier = replace(catalog.tiers[0], deployments=(rekeyed, second))

    stair.runtime.forwarder.balancer.take_up(replace(catalog, tiers=(tier,), models={}))

    assert [line.breaker.is_closed for line in lines(stair)] == [True, False]


def test_a_farm_is_a_fake_that_says_what_it_is_told() -> None:
    assert Farm().sent == {}
