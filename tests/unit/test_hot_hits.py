"""Hot hits: the same bytes from the same caller are understood at once, and never those of anybody else."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.epochs import Epochs, Purge
from cache.exact import ExactCache
from cache.stores.epochs import MemoryEpochs
from cache.stores.memory import MemoryStore
from cache.testing import example_answer, example_call
from farthing.answer import StoredAnswer
from farthing.call import CacheControl, Endpoint
from farthing.catalog import Replay, VirtualKey
from farthing.record import Record
from farthing.value import changed
from gateway.hothits import LONGEST_BYTES, MOST, HotHits, Understood
from gateway.pipeline import serve
from gateway.request import NOT_ASKED, Request
from gateway.runtime import Generation
from ledger.testing import ManualClock
from tests.scripted_pipeline import Stair, completion, headers_of, plain, usage

EXACT_KEY = b"k" * 32
ANSWER = example_answer()
REQUEST = Request(
    id="req-1", endpoint=Endpoint.CHAT, body=b"{}", received_ns=10, started=0.0, secret=b"s", cache_control=NOT_ASKED
)
OTHERS = {
    "endpoint": Endpoint.RESPONSES,
    "body": b"{} ",
    "secret": b"S",
    "feature": "chat",
    "task": "t",
    "run": "r",
    "environment": "prod",
}


class House:
    """An exact cache that holds one answer, and the hits remembered before it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.exact = ExactCache(MemoryStore(), self.clock, memory_bytes=1 << 20)
        self.epochs = Epochs(MemoryEpochs(), self.clock)
        self.hot = HotHits(self.exact, self.epochs)
        self.generation = Stair().open().runtime.generation

    async def keep(self, ttl_s: int = 60) -> None:
        await self.exact.put(EXACT_KEY, b"scope", ANSWER, ttl_s=ttl_s)

    def understood(self, expires_ns: int | None = None) -> Understood:
        call = example_call({})
        return Understood(
            key=VirtualKey(id="k", sha256=b"", tenant=call.tags.tenant, expires_ns=expires_ns),
            call=call,
            tags=call.tags,
            task_source="",
            reference_tier="large",
            replay=Replay.INSTANT,
            exact_key=EXACT_KEY,
            cache_tags=("manual",),
            stamp=self.epochs.stamp(call.tags.tenant, call.tags.feature, ("manual",)),
        )

    def remember(self, request: Request = REQUEST, expires_ns: int | None = None) -> None:
        self.hot.remember(request, self.generation, self.understood(expires_ns))

    def find(self, request: Request = REQUEST, generation: Generation | None = None) -> StoredAnswer | None:
        found = self.hot.find(request, generation or self.generation)
        return found[1] if found else None


@pytest.fixture
async def house() -> House:
    house = House()
    await house.keep()
    return house


async def test_the_same_bytes_of_the_same_caller_are_understood_again(house: House) -> None:
    house.remember()

    later = changed(REQUEST, id="req-2", received_ns=20, started=3.0)
    found = house.hot.find(later, house.generation)

    assert found is not None
    understood, answer = found
    call = understood.again(later)
    assert answer == ANSWER
    assert (call.id, call.received_ns, call.started) == ("req-2", 20, 3.0)


@given(st.sets(st.sampled_from(sorted(OTHERS)), min_size=1))
async def test_a_request_that_differs_in_anything_is_another_one(names: set[str]) -> None:
    house = House()
    await house.keep()
    house.remember()

    assert house.find(changed(REQUEST, **{name: OTHERS[name] for name in names})) is None


@pytest.mark.parametrize("asked", [CacheControl(no_cache=True), CacheControl(max_age_s=5), CacheControl(tags=("v7",))])
async def test_who_asks_the_caches_for_something_special_is_neither_remembered_nor_found(
    house: House, asked: CacheControl
) -> None:
    special = changed(REQUEST, cache_control=asked)

    house.remember(special)
    nobody = house.find()
    house.remember()

    assert (nobody, house.find(special)) == (None, None)


@pytest.mark.parametrize("what", [Purge(), Purge(tenant="acme"), Purge(feature="search"), Purge(tag="manual")])
async def test_what_was_purged_is_not_found(house: House, what: Purge) -> None:
    house.remember()
    assert house.find() == ANSWER

    await house.epochs.purge(what)

    assert house.find() is None


async def test_a_purge_of_something_else_changes_nothing(house: House) -> None:
    house.remember()

    await house.epochs.purge(Purge(tenant="globex"))

    assert house.find() == ANSWER


async def test_an_answer_that_has_expired_is_not_found(house: House) -> None:
    house.remember()

    house.clock.advance(61)

    assert house.find() is None


async def test_a_key_that_has_expired_finds_nothing(house: House) -> None:
    house.remember(expires_ns=15)

    before = house.find()
    after = house.find(changed(REQUEST, received_ns=15))

    assert (before, after) == (ANSWER, None)


async def test_another_generation_of_the_configuration_finds_nothing(house: House) -> None:
    house.remember()

    assert house.find(generation=Stair().open().runtime.generation) is None


async def test_memory_is_bounded(house: House) -> None:
    house.remember(changed(REQUEST, body=b" " * (LONGEST_BYTES + 1)))
    house.remember()
    for number in range(MOST):
        house.remember(changed(REQUEST, body=b"%d" % number))

    assert house.find(changed(REQUEST, body=b" " * (LONGEST_BYTES + 1))) is None
    assert house.find() is None  # the oldest left
    assert house.find(changed(REQUEST, body=b"0")) == ANSWER


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hot_hit_leaves_the_same_record_and_headers_as_one_that_was_read(stream: bool) -> None:
    stair = Stair()
    stair.upstream.add(plain(completion(**usage(9, 2))))
    stair.open()
    answers = []
    for asked in (False, stream, stream):
        request = changed(stair.request(task="triage", stream=asked), cache_control=NOT_ASKED, task="triage")
        async with await serve(request, stair.runtime) as answer:
            answers.append(answer)

    def seen(record: Record) -> Record:
        return changed(record, id="", received_ns=0, seconds=0.0)

    _, read, hot = stair.records
    _, read_answer, hot_answer = answers
    ids = {"x-request-id": "", "x-farthing-request-id": ""}
    assert seen(hot) == seen(read)
    assert {**headers_of(hot_answer), **ids} == {**headers_of(read_answer), **ids}
    assert stair.runtime.caches.hot.find(request, stair.runtime.generation) is not None
    if not stream:
        bodies = [orjson.loads(answer.body) for answer in (read_answer, hot_answer)]
        assert bodies[0].pop("id") != bodies[1].pop("id")
        assert bodies[0] == bodies[1]
