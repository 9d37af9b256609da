"""Identical streams, while one is under way: a single upstream call, seen live by all, paid once, whoever leaves."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest

from farthing.call import Endpoint
from farthing.catalog import Deployment, HangUp
from farthing.errors import UpstreamBroken, UpstreamUnreachable
from farthing.record import CacheOutcome, Outcome, Record
from farthing.usage import UsageSource
from gateway.answer import Answer
from gateway.pipeline import serve
from tests.gateway import until
from tests.scripted_pipeline import CHAT, STREAM, Stair, chunk, completion, frames, headers_of, usage, usage_chunk

ONE, TWO, THREE, USAGE, DONE = frames(chunk("one "), chunk("two "), chunk("three", "stop"), usage_chunk(5, 7))
COST = 5 * 1000 + 7 * 2000


class Gate:
    """A provider that says what the test gives it, when the test gives it; ports Upstream and UpstreamResponse."""

    status = 200

    def __init__(self, *, lasts: bool = False, headers: Mapping[str, str] = STREAM) -> None:
        self.headers = headers
        self.lasts = lasts
        self.sent = self.closed = self.readers = 0
        self.head = asyncio.Event()
        self._queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()

    def say(self, *parts: bytes | Exception | None) -> None:
        for part in parts:
            self._queue.put_nowait(part)

    async def send(self, deployment: Deployment, operation: str, body: bytes, *, stream: bool) -> "Gate":
        self.sent += 1
        await self.head.wait()
        return self

    async def read(self) -> bytes:
        return b"".join([data async for data in self.chunks()])

    def chunks(self) -> AsyncIterator[bytes]:
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        assert self.readers == 0, "two readers at one time"
        self.readers += 1
        try:
            part = await self._queue.get()
        finally:
            self.readers -= 1
        if part is None:
            raise StopAsyncIteration
        if isinstance(part, Exception):
            raise part
        return part

    async def close(self) -> None:
        self.closed += 1


class Client:
    """One streamed call; `got` is what it has read so far. Where it does not `listen`, it reads nothing of it."""

    def __init__(self, stair: Stair, *, listens: bool = True, **body: Any) -> None:
        self.got = b""
        self.answer: Answer | None = None
        self.listening = asyncio.Event()
        if listens:
            self.listening.set()
        self.task = asyncio.ensure_future(self._call(stair, {"stream": True, **body}))

    async def _call(self, stair: Stair, body: dict[str, Any]) -> None:
        async with await serve(stair.request(**body), stair.runtime) as self.answer:
            if not self.answer.streams:
                self.got = self.answer.body
                return
            async for data in self.answer.chunks():
                self.got += data
                await self.listening.wait()

    @property
    def cache(self) -> str:
        assert self.answer is not None
        return headers_of(self.answer)["x-farthing-cache"]

    @property
    def text(self) -> str:
        events = [orjson.loads(line[5:]) for line in self.got.split(b"\n") if line.startswith(b"data: {")]
        return "".join(choice["delta"].get("content", "") for event in events for choice in event.get("choices", ()))

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def gated(gate: Gate, **feature: Any) -> Stair:
    stair = Stair(feature=replace(CHAT, **feature)).open()
    stair.runtime.forwarder.upstream = gate  # type: ignore[assignment]
    return stair


async def turns(number: int = 20) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def by_cost(stair: Stair) -> list[Record]:
    assert not stair.ledger.holds
    assert stair.runtime.books.open_pages == 0
    assert len(stair.runtime.caches.flights) == 0
    return sorted(stair.records, key=lambda record: -record.cost)


@pytest.fixture(params=[False, True], ids=["pumped", "lasting"])
def gate(request: pytest.FixtureRequest) -> Gate:
    return Gate(lasts=request.param)


async def test_a_follower_sees_what_has_come_and_then_the_rest_as_it_comes(gate: Gate) -> None:
    stair = gated(gate)
    leader = Client(stair)
    gate.head.set()
    gate.say(ONE)
    await until(lambda: leader.text == "one ")
    follower = Client(stair)

    await until(lambda: follower.text == "one ")
    gate.say(TWO)
    await until(lambda: (leader.text, follower.text) == ("one two ", "one two "))
    gate.say(THREE, USAGE, DONE, None)
    await asyncio.gather(leader.task, follower.task)

    assert gate.sent == 1
    assert (leader.cache, follower.cache) == ("miss", "coalesced")
    assert leader.text == follower.text == "one two three"
    assert b"usage" not in follower.got
    assert follower.got.endswith(b"data: [DONE]\n\n")
    paid, free = by_cost(stair)
    assert (paid.outcome, paid.cache, paid.cost) == (Outcome.SUCCESS, CacheOutcome.MISS, COST)
    assert (free.outcome, free.cache, free.cost, free.avoided_cache) == (Outcome.HIT, CacheOutcome.COALESCED, 0, COST)
    assert free.first_byte_seconds is not None
    answer, _ = await stair.ask()
    assert headers_of(answer)["x-farthing-cache"] == "exact"


async def test_each_follower_has_an_id_of_its_own_and_the_usage_if_it_asked_for_it(gate: Gate) -> None:
    stair = gated(gate)
    leader = Client(stair)
    followers = [Client(stair, stream_options={"include_usage": wants}) for wants in (True, False)]
    gate.head.set()

    gate.say(ONE, TWO + THREE + USAGE + DONE, None)
    await asyncio.gather(leader.task, *(follower.task for follower in followers))

    assert [b'"prompt_tokens":5' in one.got for one in (leader, *followers)] == [False, True, False]
    ids = [
        {orjson.loads(line[6:])["id"] for line in one.got.splitlines() if b"{" in line} for one in (leader, *followers)
    ]
    assert [len(one) for one in ids] == [1, 1, 1]
    assert len(set.union(*ids)) == 3
    assert gate.sent == 1


async def test_a_leader_that_wants_usage_is_followed_by_one_that_does_not(gate: Gate) -> None:
    stair = gated(gate)
    leader, follower = Client(stair, stream_options={"include_usage": True}), Client(stair)
    gate.head.set()

    gate.say(ONE + TWO + THREE + USAGE + DONE, None)
    await asyncio.gather(leader.task, follower.task)

    assert [b'"prompt_tokens":5' in one.got for one in (leader, follower)] == [True, False]


async def test_plain_and_streamed_followers_share_a_stream(gate: Gate) -> None:
    stair = gated(gate)
    leader = Client(stair)
    followers = [Client(stair, stream=at % 2 == 0) for at in range(6)]
    gate.head.set()

    gate.say(ONE, TWO, THREE, USAGE, DONE, None)
    await asyncio.gather(leader.task, *(follower.task for follower in followers))

    assert gate.sent == 1
    assert {follower.cache for follower in followers} == {"coalesced"}
    assert all(b"one two three" in one.got for one in followers[1::2])
    assert all(one.text == "one two three" for one in followers[::2])
    assert [record.cost for record in by_cost(stair)] == [COST, 0, 0, 0, 0, 0, 0]


async def test_a_plain_leader_serves_streamed_followers_when_it_lands() -> None:
    gate = Gate(headers={"content-type": "application/json"})
    stair = gated(gate)
    leader = Client(stair, stream=False)
    await turns()
    follower = Client(stair)
    gate.head.set()

    gate.say(orjson.dumps(completion("Hello.", usage=usage(5, 7))), None)
    await asyncio.gather(leader.task, follower.task)

    assert (gate.sent, follower.cache, follower.text) == (1, "coalesced", "Hello.")


@pytest.mark.parametrize("before", ["head", "first", "second"])
@pytest.mark.parametrize("on_hang_up", list(HangUp))
async def test_a_leader_that_leaves_takes_nothing_from_its_followers(
    gate: Gate, before: str, on_hang_up: HangUp
) -> None:
    stair = gated(gate, on_hang_up=on_hang_up)
    leader = Client(stair)
    await turns()
    followers = [Client(stair), Client(stair, stream=False)]
    await turns()
    if before != "head":
        gate.head.set()
        await turns()
    if before == "second":
        gate.say(ONE)
        await until(lambda: leader.text == "one ")

    await leader.leave()
    gate.head.set()
    gate.say(*((ONE,) if before != "second" else ()), TWO, THREE, USAGE, DONE, None)
    await asyncio.gather(*(follower.task for follower in followers))
    await stair.runtime.drains.settle()

    assert (gate.sent, followers[0].text) == (1, "one two three")
    assert b"one two three" in followers[1].got
    paid, *free = by_cost(stair)
    assert (paid.outcome, paid.cost, paid.usage.source) == (Outcome.ABORTED, COST, UsageSource.PROVIDER)
    assert [(one.outcome, one.cost, one.avoided_cache) for one in free] == [(Outcome.HIT, 0, COST)] * 2


async def test_a_stream_that_everybody_has_left_is_stopped(gate: Gate) -> None:
    stair = gated(gate)
    leader, follower = Client(stair), Client(stair)
    gate.head.set()
    gate.say(ONE)
    await until(lambda: follower.text == "one ")

    await leader.leave()
    await turns()
    assert not gate.closed
    await follower.leave()
    await until(lambda: gate.closed == 1)
    await stair.runtime.drains.settle()

    paid, free = by_cost(stair)
    assert (paid.outcome, paid.usage.source) == (Outcome.ABORTED, UsageSource.ESTIMATED)
    assert paid.cost > 0
    assert (free.outcome, free.cache, free.cost) == (Outcome.ABORTED, CacheOutcome.COALESCED, 0)


async def test_followers_that_leave_disturb_nobody(gate: Gate) -> None:
    stair = gated(gate)
    leader = Client(stair)
    followers = [Client(stair) for _ in range(4)]
    gate.head.set()
    gate.say(ONE)
    await until(lambda: all(one.text == "one " for one in followers))

    await asyncio.gather(*(one.leave() for one in followers[1:]))
    gate.say(TWO, THREE, USAGE, DONE, None)
    await asyncio.gather(leader.task, followers[0].task)

    assert leader.text == followers[0].text == "one two three"
    assert [record.outcome for record in by_cost(stair)].count(Outcome.ABORTED) == 3


async def test_a_failure_before_the_first_byte_sends_the_followers_on_their_own_way(gate: Gate) -> None:
    stair = gated(gate)
    leader, follower = Client(stair), Client(stair)
    gate.head.set()
    gate.say(UpstreamBroken("gone"))
    await leader.task

    await until(lambda: gate.sent == 2)
    gate.say(ONE, TWO, THREE, USAGE, DONE, None)
    await follower.task

    assert b"upstream_broken" in leader.got
    assert (follower.cache, follower.text) == ("miss", "one two three")


async def test_a_failure_after_the_first_byte_is_everybodys(gate: Gate) -> None:
    stair = gated(gate)
    leader, follower = Client(stair), Client(stair)
    gate.head.set()

    gate.say(ONE, UpstreamBroken("gone"))
    await asyncio.gather(leader.task, follower.task)

    assert (leader.text, follower.text) == ("one ", "one ")
    assert [one.got.count(b'"upstream_broken"') for one in (leader, follower)] == [1, 1]
    assert [b"[DONE]" in one.got for one in (leader, follower)] == [False, False]
    paid, free = by_cost(stair)
    assert paid.outcome is free.outcome is Outcome.UPSTREAM_ERROR
    assert paid.error_code == free.error_code == "upstream_broken"
    assert (free.cost, free.avoided_cache) == (0, 0)


async def test_a_provider_that_is_unreachable_for_the_leader_is_asked_by_the_follower() -> None:
    class Unreachable(Gate):
        async def send(self, deployment: Deployment, operation: str, body: bytes, *, stream: bool) -> Gate:
            await super().send(deployment, operation, body, stream=stream)
            raise UpstreamUnreachable("no")

    gate = Unreachable()
    stair = gated(gate)
    leader, follower = Client(stair), Client(stair)
    await turns()

    gate.head.set()
    await asyncio.gather(leader.task, follower.task)

    assert gate.sent == 2
    assert [record.outcome for record in by_cost(stair)] == [Outcome.UPSTREAM_ERROR] * 2


async def test_a_slow_leader_holds_up_no_follower(gate: Gate) -> None:
    stair = gated(gate)
    leader = Client(stair, listens=False)
    gate.head.set()
    gate.say(ONE)
    await until(lambda: leader.text == "one ")
    follower = Client(stair)

    gate.say(TWO, THREE, USAGE, DONE, None)
    await follower.task

    assert (leader.text, follower.text) == ("one ", "one two three")
    leader.listening.set()
    await leader.task
    assert leader.text == "one two three"
    assert leader.got.count(b"[DONE]") == 1
    assert [record.outcome for record in by_cost(stair)] == [Outcome.SUCCESS, Outcome.HIT]


async def test_a_follower_that_falls_too_far_behind_is_cut_off_with_an_error(gate: Gate) -> None:
    stair = gated(gate)
    leader, slow = Client(stair), Client(stair, listens=False)
    gate.head.set()
    gate.say(ONE)
    await until(lambda: slow.text == "one ")

    gate.say(*frames(*[chunk("x" * 100_000)] * 7, done=False), THREE, USAGE, DONE, None)
    await leader.task
    slow.listening.set()
    await slow.task

    assert len(leader.text) > 700_000
    assert (slow.text, slow.got.count(b'"upstream_broken"')) == ("one ", 1)
    assert [(one.outcome, one.cost > 0) for one in by_cost(stair)] == [
        (Outcome.SUCCESS, True),
        (Outcome.ABORTED, False),
    ]


async def test_one_that_comes_when_the_beginning_is_gone_goes_alone(gate: Gate) -> None:
    stair = gated(gate)
    leader = Client(stair)
    gate.head.set()
    gate.say(*frames(*[chunk("x" * 100_000)] * 7, done=False))
    await until(lambda: len(leader.text) == 700_000)

    late = Client(stair)

    await until(lambda: gate.sent == 2)
    await late.leave()
    await leader.leave()


async def test_every_moment_at_which_a_leader_can_leave_leaves_books_that_add_up(gate: Gate) -> None:
    for moment in range(0, 40, 2):
        again = Gate(lasts=gate.lasts)
        stair = gated(again)
        again.head.set()
        again.say(ONE, TWO, THREE, USAGE, DONE, None)
        leader = Client(stair)
        follower = Client(stair)
        await turns(moment)

        await leader.leave()
        again.say(ONE, TWO, THREE, USAGE, DONE, None)
        await follower.task
        await stair.runtime.drains.settle()

        assert follower.text == "one two three"
        records = by_cost(stair)
        sent = sum(bool(record.attempts) for record in records)
        assert again.sent == sent
        assert len(records) <= 2
        assert all(record.cost == 0 for record in records if record.cache.is_hit)


async def test_a_responses_stream_is_followed_too(gate: Gate) -> None:
    stair = gated(gate)
    body = {"endpoint": Endpoint.RESPONSES, "model": "auto", "input": "hello"}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": []}
    item["content"] = [{"type": "output_text", "text": "Hi.", "annotations": []}]
    response = {"id": "resp_1", "object": "response", "status": "completed", "store": False, "output": [item]}
    usage_ = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    events = [
        {"type": "response.created", "sequence_number": 0, "response": {**response, "status": "in_progress"}},
        {"type": "response.output_text.delta", "sequence_number": 1, "delta": "Hi."},
        {"type": "response.completed", "sequence_number": 2, "response": {**response, "usage": usage_}},
    ]
    said = [f"event: {one['type']}\n".encode() + b"data: " + orjson.dumps(one) + b"\n\n" for one in events]
    leader, follower = Client(stair, **body), Client(stair, **body)
    gate.head.set()

    gate.say(said[0], said[1] + said[2], None)
    await asyncio.gather(leader.task, follower.task)

    assert gate.sent == 1
    assert leader.got.count(b'"resp_1"') == 2
    assert follower.got.count(b'"resp_1"') == 0
    assert b"response.completed" in follower.got
    assert [record.cost for record in by_cost(stair)] == [COST, 0]
