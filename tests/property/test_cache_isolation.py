"""No two calls that differ in who asks, for what, or what was asked ever share an answer: not stored, not under way."""

from dataclasses import replace
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from cache.epochs import Epochs
from cache.exact import ExactCache
from cache.storable import Storable
from cache.stores.epochs import MemoryEpochs
from cache.stores.memory import MemoryStore
from cache.testing import example_answer, example_call
from farthing.call import CacheControl, Call
from farthing.catalog import Feature
from farthing.value import changed
from gateway.cachedesk import CacheDesk, CacheRules, Lookup
from gateway.tasks import Background
from ledger.testing import ManualClock

RULES = CacheRules(
    exact=True, semantic=False, exact_ttl_s=60, semantic_ttl_s=60, threshold=0.9, max_entry_bytes=1 << 20
)
WORD = st.sampled_from(["a", "b", "A", "a ", "á", "á", "", "1", "ab"])
TAG = st.sampled_from(["acme", "globex", "acm", "acmee", "e-acme"])
TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": WORD})
PARAMETERS = st.dictionaries(
    st.sampled_from(["temperature", "top_p", "seed", "n", "stop", "max_tokens", "tools", "response_format", "own"]),
    st.sampled_from([None, 0, 1, 1.0, 2, 0.5, True, "1", [], {}, ["x"], {"type": "text"}]),
    max_size=3,
)
CALLS = st.fixed_dictionaries(
    {
        "tenant": TAG,
        "feature": TAG,
        "environment": TAG,
        "partition": WORD,
        "tags": st.sampled_from([(), ("x",), ("x", "y")]),
        "model": WORD,
        "messages": st.lists(TURN, min_size=1, max_size=3),
        "parameters": PARAMETERS,
    }
)


def call_of(said: dict[str, Any]) -> Call:
    body = {"model": said["model"], "messages": said["messages"], **said["parameters"]}
    call = example_call(body, raw=orjson.dumps(body), tenant=said["tenant"], feature=said["feature"])
    tags = changed(call.tags, environment=said["environment"])
    return changed(call, tags=tags, cache_control=CacheControl(tags=said["tags"]))


def open_lookup(desk: CacheDesk, said: dict[str, Any]) -> Lookup:
    return desk.open(call_of(said), Feature(name=said["feature"]), said["partition"], RULES)


def meant(said: dict[str, Any]) -> str:
    """A second opinion: the text of all that decides, types told apart, defaults and whole numbers as documented."""
    asked = {name: value for name, value in said["parameters"].items() if value is not None or name == "own"}
    if type(asked.get("n")) is int and asked["n"] == 1:
        del asked["n"]
    asked = {name: 1 if type(value) is float and value == 1 else value for name, value in asked.items()}
    return repr(sorted({**said, "parameters": sorted(asked.items(), key=lambda pair: pair[0])}.items()))


def desk_of() -> CacheDesk:
    clock = ManualClock()
    return CacheDesk(
        exact=ExactCache(MemoryStore(), clock, memory_bytes=1 << 20),
        semantic=None,
        secret=b"s" * 32,
        embedder_version="",
        background=Background(),
        epochs=Epochs(MemoryEpochs(), clock),
    )


@given(CALLS, CALLS, st.lists(st.sampled_from([*"tfe", "partition", "tags", "model", "messages", "parameters"])))
async def test_a_stored_answer_is_given_to_the_very_same_call_alone(
    one: dict[str, Any], other: dict[str, Any], same: list[str]
) -> None:
    names = {"t": "tenant", "f": "feature", "e": "environment"}
    other = {**other, **{names.get(name, name): one[names.get(name, name)] for name in same}}
    desk = desk_of()
    async with open_lookup(desk, one) as lookup:
        assert await lookup.find() is None
        await lookup.store(example_answer(), Storable.EXACT)

    async with open_lookup(desk, other) as lookup:
        found = await lookup.find()

    assert (found is not None) == (meant(one) == meant(other))


@given(CALLS, CALLS)
async def test_nobody_follows_a_call_that_is_not_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    desk = desk_of()
    async with open_lookup(desk, one) as leader:
        assert await leader.find() is None
        if meant(one) == meant(other):
            return
        async with open_lookup(desk, other) as stranger:
            assert await stranger.find() is None
            assert stranger.leads
            assert len(desk.flights) == 2


@given(CALLS)
async def test_another_installation_reads_nothing_of_this_one(said: dict[str, Any]) -> None:
    desk = desk_of()
    async with open_lookup(desk, said) as lookup:
        await lookup.find()
        await lookup.store(example_answer(), Storable.EXACT)

    desk.secret = b"t" * 32
    async with open_lookup(desk, said) as lookup:
        assert await lookup.find() is None


def test_a_feature_without_a_cache_is_never_answered_from_one() -> None:
    said = {"tenant": "a", "feature": "f", "environment": "", "partition": "", "tags": (), "model": "m"}
    call = call_of({**said, "messages": [{"role": "user", "content": "x"}], "parameters": {}})

    lookup = desk_of().open(call, replace(Feature(name="f"), exact_cache=False), "", RULES)

    assert not lookup.leads
